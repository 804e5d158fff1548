"""Schedules that call the denoiser more often than asked: steps are those asked for, calls are counted apart."""

import threading

import pytest
from diffusers import (
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    HeunDiscreteScheduler,
    KDPM2DiscreteScheduler,
    LCMScheduler,
    PNDMScheduler,
)

from lad_rllib.edge import DiffusersEngine, EdgeServer, InvalidRequest
from lad_rllib.edge.engines.noise_schedule import NoiseSchedule
from tests.edge.engines import task
from tests.edge.tiny_pipeline import make_tiny_unet_pipeline

# diffusers asks numpy for arrays in the old way, 50,000 times.
pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")

CALLS = {
    "euler": (EulerDiscreteScheduler, {}, lambda steps: steps),
    "multistep": (DPMSolverMultistepScheduler, {}, lambda steps: steps),
    "pndm": (PNDMScheduler, {"skip_prk_steps": True}, lambda steps: steps + 1),
    "pndm, warming up": (PNDMScheduler, {}, lambda steps: steps + 9),  # 12 calls for its first 3 steps
    "heun": (HeunDiscreteScheduler, {}, lambda steps: 2 * steps - 1),
    "dpm2": (KDPM2DiscreteScheduler, {}, lambda steps: 2 * steps - 1),
}


@pytest.fixture(scope="module", params=CALLS)
def case(request, tmp_path_factory):
    make, arguments, calls = CALLS[request.param]
    folder = make_tiny_unet_pipeline(tmp_path_factory.mktemp("pipeline"), scheduler=make(**arguments))
    return folder, calls


@pytest.fixture
def server(case):
    with EdgeServer("s1", DiffusersEngine(case[0], device="cpu")) as server:
        yield server


def test_an_image_has_the_steps_asked_for_and_counts_calls_apart(case, server):
    record = server.generate(task(steps=6)).record
    assert (record.steps_asked, record.steps_done) == (6, 6)
    assert record.denoiser_calls == case[1](6)
    assert NoiseSchedule(server.engine.pipeline.scheduler).calls(6) == case[1](6)
    assert record.per_step_s == pytest.approx(record.denoise_s / 6)


def test_progress_never_goes_back_nor_beyond_the_steps_asked(case):
    engine = DiffusersEngine(case[0], device="cpu")
    engine.load()
    for has_callback in (True, False):
        seen = []
        engine.current.facts.accepted -= set() if has_callback else {"callback_on_step_end"}
        engine.generate(task(steps=5), seen.append)
        assert seen == sorted(seen) and seen[-1] == 5 and len(seen) == case[1](5)


def test_the_delay_model_counts_the_steps_that_it_predicts_with(server):
    fit = server.profile([2, 4, 8], repeats=3)  # noise may outweigh the steps of a single tiny image
    assert fit.step_counts[-1] - fit.step_counts[0] == 6  # raised alike where the schedule needs more
    assert server.fit().step_counts == fit.step_counts
    assert server.predict_computing_s(task(steps=8)) == pytest.approx(server.fit().predict_s(8))


def test_a_server_warms_up_with_steps_that_its_schedule_takes(case, server):
    server.generate(task(steps=4))
    assert server.status().state == "ready" and server.status().tasks_failed == 0


def test_a_number_of_steps_without_a_plan_is_refused_at_the_door_and_says_what_works(tmp_path):
    folder = make_tiny_unet_pipeline(tmp_path, scheduler=PNDMScheduler())
    with EdgeServer("s1", DiffusersEngine(folder, device="cpu")) as server:
        assert server.generate(task("load", steps=4)).record.steps_done == 4
        with pytest.raises(InvalidRequest, match="denoising_steps 3: PNDMScheduler .* ask for at least 4") as caught:
            server.generate(task(steps=3))
        assert "\n" not in str(caught.value) and server.describe().min_steps == 4
    lcm = NoiseSchedule(LCMScheduler())
    assert lcm.calls(50) == 50
    with pytest.raises(InvalidRequest, match="denoising_steps 60: LCMScheduler .*ask for another number"):
        lcm.calls(60)


def test_a_schedule_that_only_its_pipeline_can_plan_takes_any_number():
    schedule = NoiseSchedule(FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True))  # needs the image's size
    assert (schedule.calls(7), schedule.min_steps()) == (7, 1)


def test_asking_a_schedule_does_not_disturb_an_image_that_is_being_made(case):
    engine = DiffusersEngine(case[0], device="cpu")
    engine.load()
    alone = engine.generate(task(steps=6), lambda step: None).png
    others = threading.Thread(target=lambda: [engine.check(task(steps=n)) for n in range(4, 30)])
    others.start()
    beside = engine.generate(task(steps=6), lambda step: None).png
    others.join()
    assert alone == beside
