"""Emulated servers take as long as their profile says; tolerances leave room for a busy machine."""

import io

import numpy as np
import pytest
from PIL import Image

from lad_rllib.edge import DeviceProfile, EdgeServer, EmulatedEngine, InvalidRequest
from lad_rllib.edge.clock import ScaledClock
from lad_rllib.errors import ConfigurationError
from tests.edge.engines import task

BOX = DeviceProfile(
    name="box",
    overhead_s=2.0,
    per_step_s=1.0,
    origin="assumption",
    source="for tests",
    cold_start_s=3.0,
    width=64,
    height=64,
)
SCALE = 0.01  # a second takes 10 ms; a late wake-up of 1 ms counts 0.1 s
LATE_S = 3.0  # 30 ms: most by which the median of several images may be late on a busy machine


def computing_s(server, name, **others):
    return np.median([server.generate(task(f"{name}{i}", **others)).record.computing_s for i in range(5)])


def test_the_service_time_is_overhead_and_steps_and_never_less():
    with EdgeServer("s1", EmulatedEngine(BOX, time_scale=SCALE)) as server:
        for steps in (1, 10):
            expected = 2.0 + steps
            assert expected <= computing_s(server, f"z{steps}-", steps=steps) <= expected + LATE_S


def test_steps_grow_with_the_pixels():
    with EdgeServer("s1", EmulatedEngine(BOX, time_scale=SCALE)) as server:
        assert 10.0 <= computing_s(server, "wide", steps=2, width=128, height=128) <= 10.0 + LATE_S


def test_the_jitter_has_mean_one_and_the_profiles_variation_and_repeats_with_its_seed():
    box = DeviceProfile(name="box", overhead_s=2.0, per_step_s=1.0, origin="assumption", source="for tests", jitter=0.2)
    factors = [EmulatedEngine(box, seed=1)._jitter() for _ in range(2)]
    assert factors[0] == factors[1]
    engine = EmulatedEngine(box)
    drawn = np.array([engine._jitter() for _ in range(20_000)])
    assert drawn.mean() == pytest.approx(1.0, abs=0.006) and drawn.std() == pytest.approx(0.2, abs=0.006)
    assert EmulatedEngine(BOX)._jitter() == 1.0


def test_profiling_recovers_the_profile():
    with EdgeServer("s1", EmulatedEngine(BOX, time_scale=SCALE)) as server:
        fit = server.profile([1, 10, 30], repeats=2)
        assert fit.per_step_s == pytest.approx(1.0, rel=0.1)
        assert fit.overhead_s == pytest.approx(2.0, abs=LATE_S)
        assert fit.step_counts == (1, 10, 30) and fit.num_points == 6
        assert server.fit().origin == "fitted"


def test_a_server_predicts_by_its_profile_from_the_first_task_on():
    with EdgeServer("s1", EmulatedEngine(BOX, time_scale=SCALE), link_rate_mbit_per_s=1) as server:
        first = server.submit(task("a", steps=8, input_mbit=4))
        second = server.submit(task("b", steps=3, input_mbit=4))
        assert first.result(30).record.predicted_delay_s == pytest.approx(4 + 10)
        assert second.result(30).record.predicted_delay_s == pytest.approx(10 + 5)
        assert server.status().work_queued_s == 0


def test_a_prediction_asks_the_engine_no_more_often_when_many_tasks_wait(monkeypatch):
    engine, asked = EmulatedEngine(BOX, time_scale=SCALE), []
    describe = engine.describe
    monkeypatch.setattr(engine, "describe", lambda: asked.append(True) or describe())
    with EdgeServer("s1", engine, queue_limit=300) as server:
        for number in range(300):
            if number == 200:
                asked.clear()
            server.submit(task(f"t{number}", steps=4 + number % 2))
        assert len(asked) < 10 * 100
        assert server.status().work_queued_s == pytest.approx(300 * (2 + 4.5), rel=0.05)


def test_a_cold_start_takes_the_profiles_time_before_the_server_is_ready():
    engine = EmulatedEngine(BOX, time_scale=SCALE, cold_start=True)
    with EdgeServer("s1", engine, load_at_start=False) as server:
        record = server.generate(task("a")).record
        assert record.cold_start and record.load_s >= 3.0 and record.computing_s >= 6.0


def test_the_picture_depends_on_prompt_seed_and_steps_only():
    pngs = []
    for name in ("s1", "s2"):
        with EdgeServer(name, EmulatedEngine(BOX, time_scale=1e-4)) as server:
            pngs.append(server.generate(task(name, steps=3, seed=1)).png)
            pngs.append(server.generate(task(name, steps=3, seed=2)).png)
    assert pngs[0] == pngs[2] != pngs[1] == pngs[3]
    assert Image.open(io.BytesIO(pngs[0])).size == (64, 64)
    with EdgeServer("s1", EmulatedEngine(BOX, time_scale=1e-4, make_png=False)) as server:
        assert server.generate(task()).png is None


@pytest.mark.parametrize("scale", [0, -1, float("inf"), float("nan")])
def test_a_time_scale_that_cannot_be_is_refused(scale):
    with pytest.raises(ConfigurationError, match="time_scale"):
        ScaledClock(scale)


def test_a_swap_takes_the_profiles_time_and_the_models_used_last_stay():
    box = BOX.model_copy(update={"swap_s": 20.0, "lora_swap_s": 10.0})
    with EdgeServer("s1", EmulatedEngine(box, time_scale=SCALE, models_in_memory=2)) as server:

        def swap_s(name, model, *loras):
            return server.generate(task(name, model=model, loras=loras)).record.swap_s

        assert swap_s("a", None) == 0.0
        assert 20.0 <= swap_s("b", "flux") <= 20.0 + LATE_S
        assert 10.0 <= swap_s("c", "flux", "ink") <= 10.0 + LATE_S
        assert swap_s("d", None) == 0.0
        assert 20.0 <= swap_s("e", "sdxl") <= 20.0 + LATE_S
        assert server.status().resident == {"box": [], "sdxl": []}
        assert 30.0 <= swap_s("f", "flux", "ink") <= 30.0 + LATE_S


def test_an_emulated_server_refuses_a_model_that_is_not_on_its_list():
    with EdgeServer("s1", EmulatedEngine(BOX, time_scale=SCALE, models=["flux", "sdxl"], loras=["ink"])) as server:
        assert server.generate(task("a", loras=["ink"])).record.model == "flux"
        with pytest.raises(InvalidRequest, match="no model 'sd3'; valid: flux, sdxl"):
            server.generate(task("b", model="sd3"))
        with pytest.raises(InvalidRequest, match="no LoRA 'inks'; did you mean 'ink'"):
            server.generate(task("c", loras=["inks"]))


def test_images_at_once_and_guidance_count_as_the_profile_says():
    box = BOX.model_copy(update={"further_image": 0.5})
    with EdgeServer("s1", EmulatedEngine(box, time_scale=SCALE)) as server:
        assert server.predict_computing_s(task(steps=10, images=3)) == pytest.approx(24.0)
        assert server.predict_computing_s(task(steps=10, guidance=1.0)) == pytest.approx(7.0)
        result = server.generate(task("a", 10, images=3))
        assert 24.0 <= result.record.computing_s <= 24.0 + LATE_S
        assert len({result.png, *result.more_pngs}) == 3 == result.record.images
