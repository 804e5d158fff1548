"""An engine paced to a slower device: the same images, parts that add up, and a stop at each step."""

import time

import pytest

from lad_rllib.edge import (
    DiffusersEngine,
    EdgeServer,
    EmulatedEngine,
    EngineDescription,
    PacedEngine,
    TaskCancelled,
    embedded_model_path,
)
from lad_rllib.errors import ConfigurationError
from tests.edge.engines import output, task

pytestmark = pytest.mark.serial  # compares times on the wall clock

ENCODE_S, STEP_S, DECODE_S, PNG_S = 0.02, 0.03, 0.015, 0.005


class BusyEngine:
    """Takes a fixed time for each part after the one before, as a device that computes."""

    time_scale = 1.0

    def load(self):
        pass

    def warm_up(self, sizes=None):
        pass

    def check(self, task):
        pass

    def generate(self, task, on_step):
        time.sleep(ENCODE_S)
        begin_s = last_s = time.perf_counter()
        for step in range(1, task.denoising_steps + 1):
            time.sleep(STEP_S)
            last_s = time.perf_counter()  # as the real engine: what comes after a step counts as decoding
            on_step(step)
        time.sleep(DECODE_S)
        decoded_s = time.perf_counter()
        time.sleep(PNG_S)
        png_s = time.perf_counter() - decoded_s
        return output(
            steps=task.denoising_steps,
            encode_s=ENCODE_S,
            denoise_s=last_s - begin_s,
            decode_s=decoded_s - last_s,
            png_s=png_s,
        )

    def describe(self):
        return EngineDescription("busy", "busy", "cpu", "none", "none", 64, 64)


def test_steps_take_the_pace_the_rest_its_own_time_and_the_parts_add_up():
    pace_s, steps = 0.1, 3
    engine = PacedEngine(BusyEngine(), pace_s)
    begin_s = time.perf_counter()
    image = engine.generate(task(steps=steps), lambda step: None)
    total_s = time.perf_counter() - begin_s
    assert image.encode_s + image.denoise_s + image.decode_s + image.png_s == pytest.approx(total_s, rel=0.01)
    assert image.encode_s + image.denoise_s == pytest.approx(steps * pace_s, rel=0.05)
    assert image.decode_s >= DECODE_S and image.png_s >= PNG_S
    assert total_s < 2 * steps * pace_s


def test_time_lost_in_one_step_is_made_up_for_in_the_next():
    engine, lost_s = PacedEngine(BusyEngine(), 0.1), 0.15
    moments = []

    def on_step(step):
        moments.append(time.perf_counter())
        if step == 1:
            time.sleep(lost_s)

    begin_s = time.perf_counter()
    engine.generate(task(steps=4), on_step)
    assert moments[1] - begin_s > 0.1 + lost_s
    assert moments[3] - begin_s == pytest.approx(0.4, rel=0.1)


def test_an_engine_slower_than_the_pace_is_not_held_up():
    output = PacedEngine(BusyEngine(), STEP_S / 10).generate(task(steps=4), lambda step: None)
    assert output.denoise_s < 1.5 * 4 * STEP_S


def test_a_paced_image_is_stopped_at_its_next_step():
    with EdgeServer("s1", PacedEngine(BusyEngine(), 0.1)) as server:
        future = server.submit(task("a", steps=500))  # 50 s
        while server.progress("a").step < 1:
            time.sleep(0.01)
        begin_s = time.perf_counter()
        assert server.cancel("a")
        assert type(future.exception(30)) is TaskCancelled
        assert time.perf_counter() - begin_s < 1.0


def test_the_embedded_model_draws_the_same_image_slower():
    plain = DiffusersEngine(embedded_model_path(), device="cpu")
    with EdgeServer("plain", plain) as server:
        quick = server.generate(task(steps=6, seed=3))
    with EdgeServer("paced", PacedEngine(DiffusersEngine(embedded_model_path(), device="cpu"), 0.2)) as server:
        slow = server.generate(task(steps=6, seed=3))
        note = server.describe().note
    assert slow.png == quick.png and "paced to 0.2 s a step" in note
    record = slow.record
    assert record.computing_s > 6 * 0.2
    parts_s = record.load_s + record.encode_s + record.denoise_s + record.decode_s + record.png_s
    assert parts_s == pytest.approx(record.computing_s, rel=0.02)


def test_a_pace_that_makes_no_sense_is_refused():
    with pytest.raises(ConfigurationError, match="step_s must be positive"):
        PacedEngine(BusyEngine(), 0.0)
    with pytest.raises(ConfigurationError, match="time_scale 0.1"):
        PacedEngine(EmulatedEngine("h100", time_scale=0.1), 2.0)
