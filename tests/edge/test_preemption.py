"""Preemption between denoising steps: the same images, and those tasks first that an order puts first."""

import time

import numpy as np
import pytest

from lad_rllib.edge import (
    DeadlineExceeded,
    DiffusersEngine,
    EdgeServer,
    EmulatedEngine,
    EngineDescription,
    GenerationFailed,
    PacedEngine,
    ServerUnavailable,
    TaskCancelled,
    embedded_model_path,
)
from lad_rllib.edge.prediction import Prediction
from lad_rllib.errors import ConfigurationError
from tests.edge.engines import SteppedEngine, output, task
from tests.edge.tiny_pipeline import make_tiny_unet_pipeline

DIGITS = str(embedded_model_path())


def drawn(engine, asked, at=(), others=()):
    """PNG of a task that is suspended after the steps ``at`` for each of the others in turn."""
    left = list(others)

    def on_step(step):
        if step not in at:
            return 0.0
        begin_s = time.perf_counter()
        drawn(engine, left[0], at[1:], left[1:]) if len(left) > 1 else engine.generate(left[0], lambda step: None)
        return time.perf_counter() - begin_s

    return engine.generate(asked, on_step).png


def scheduler(name):
    import diffusers

    return None if name is None else getattr(diffusers, name)()


OTHERS = [
    task("b", 3, seed=9, guidance=5.0),
    task("c", 2, seed=1, guidance=1.0, width=16, height=16, images=2),
]


@pytest.fixture(scope="module")
def digits(lora_files):
    engine = DiffusersEngine(DIGITS, loras=lora_files, device="cpu")
    engine.load()
    return engine


@pytest.mark.parametrize("others", [OTHERS[:1], OTHERS[1:], OTHERS])
@pytest.mark.parametrize("at", [(1, 4), (2, 1), (5, 2, 1)])
def test_a_suspended_image_is_the_uninterrupted_one_to_the_last_bit(digits, others, at):
    asked = task("a", 6, seed=3, guidance=2.0)
    alone = [drawn(digits, one) for one in (asked, *others)]
    assert drawn(digits, asked, at, others) == alone[0]
    assert [drawn(digits, one) for one in others] == alone[1:]


def test_a_suspended_image_keeps_its_loras(digits):
    with_lora, without = task("a", 6, loras=["bold"]), task("b", 3)
    alone = drawn(digits, with_lora), drawn(digits, without)
    assert drawn(digits, with_lora, (3,), [without]) == alone[0]
    assert drawn(digits, without, (1,), [with_lora]) == alone[1]


@pytest.mark.parametrize("has_callback", [True, False])
@pytest.mark.parametrize(
    "name", ["EulerAncestralDiscreteScheduler", "DDPMScheduler", "DPMSolverMultistepScheduler", None]
)
def test_a_suspended_image_keeps_its_noise_and_what_its_schedule_remembers(tmp_path, name, has_callback):
    """Ancestral noise, a solver of several steps, and one of second order."""
    engine = DiffusersEngine(make_tiny_unet_pipeline(tmp_path, scheduler=scheduler(name)), device="cpu")
    engine.load()
    if not has_callback:
        engine.current.facts.accepted -= {"callback_on_step_end"}
    asked, other = task("a", 6, seed=3, guidance=3.0), task("b", 4, seed=4)
    alone = drawn(engine, asked)
    assert drawn(engine, asked, (2, 4), [other]) == alone


def slow_digits(order="shortest_first", step_s=0.05):
    engine = PacedEngine(DiffusersEngine(DIGITS, device="cpu"), step_s)
    return EdgeServer("s1", engine, order=order, preemption=True)


def test_a_server_draws_a_short_task_in_the_midst_of_a_long_one():
    with slow_digits() as server:
        alone = server.generate(task("alone", 20, seed=5)).png
        long = server.submit(task("long", 20, seed=5))
        while server.progress("long").step < 3:
            time.sleep(0.005)
        short = server.submit(task("short", 2))
        short.result(30)
        assert server.progress("long").step < 18
        record = long.result(30).record
    assert long.result().png == alone
    assert record.interruptions == 1 and short.result().record.interruptions == 0
    # Bounds that hold on a busy machine, too: what the short task took is in no part of the long one's computing.
    assert record.suspended_s >= short.result().record.computing_s >= 2 * 0.05
    assert record.total_s >= record.waiting_s + record.computing_s
    parts = record.encode_s + record.denoise_s + record.decode_s + record.png_s
    assert 20 * 0.05 <= parts <= record.computing_s + 1e-3


class ScriptedEngine(SteppedEngine):
    """Submits tasks at the beginning of given steps of the server's life, so that time is counted in steps."""

    def __init__(self, script):
        super().__init__(free=True)
        self.script, self.server, self.now, self.futures, self.ended = dict(script), None, 0, [], []

    def submit(self):
        self.futures += [self.server.submit(one) for one in self.script.pop(self.now, [])]

    def generate(self, asked, on_step):
        for step in range(1, asked.denoising_steps + 1):
            self.now += 1
            self.submit()
            if step == asked.denoising_steps:
                self.ended.append(asked.task_id)
            on_step(step)
        return output(steps=asked.denoising_steps)

    def describe(self):
        return EngineDescription("scripted", "scripted", "cpu", "none", "none", 64, 64, can_suspend=True)


def replayed(arrivals):
    """Ends of tasks (arrival, steps) under shortest remaining work first, decided between steps: a literal loop."""
    waiting, left, last_ran, ended, now = dict(enumerate(arrivals)), {}, {}, [], 0
    while waiting or left:
        left |= {i: waiting.pop(i)[1] for i in [i for i, (at, _) in waiting.items() if at <= now]}
        running = min(left, key=lambda i: (left[i], -last_ran.get(i, -1), i))  # of equal ones that which has begun
        now += 1
        last_ran[running] = now
        left[running] -= 1
        if not left[running]:
            ended.append(f"t{running}")
            del left[running]
    return ended


@pytest.mark.parametrize("seed", range(8))
def test_shortest_first_with_preemption_serves_the_shortest_remaining_work(monkeypatch, seed):
    monkeypatch.setattr(Prediction, "service_s", lambda self, asked, steps_left: float(steps_left))
    rng = np.random.default_rng(seed)
    arrivals = [
        (0, 900),
        *zip(np.sort(rng.integers(1, 900, 15)).tolist(), rng.integers(1, 300, 15).tolist(), strict=True),
    ]
    script = {}
    for number, (at, steps) in enumerate(arrivals[1:], 1):
        script.setdefault(at, []).append(task(f"t{number}", steps))
    engine = ScriptedEngine(script)
    with EdgeServer("s1", engine, order="shortest_first", preemption=True) as server:
        engine.server = server
        server.submit(task("t0", 900)).result(60)
        assert all(future.result(60) for future in engine.futures)
    assert engine.ended == replayed(arrivals) and not engine.script


@pytest.mark.parametrize(
    ("order", "interrupts"),
    [
        ("priority", {"priority": 1}),
        ("deadline", {"deadline_s": 5.0}),
        ("aged:service_weight=1000", {}),
    ],
)
def test_every_order_that_can_put_a_later_task_first_interrupts_for_it(order, interrupts):
    short, other = task("short", 2, **interrupts), task("other", 500, deadline_s=100.0)
    engine = ScriptedEngine({3: [other, short]})
    with EdgeServer("s1", engine, order=order, preemption=True) as server:
        engine.server = server
        first = server.submit(task("first", 100, deadline_s=50.0))
        assert first.result(30).record.interruptions == 1
        assert all(future.result(30) for future in engine.futures)
    assert engine.ended == ["short", "first", "other"]


class Interrupted:
    """A server in which ``short`` runs, one step of it done, and ``long`` is suspended; both wait for permits."""

    def __init__(self, error=None):
        self.engine = engine = SteppedEngine()
        engine.describe = lambda: EngineDescription(
            "stepped", "stepped", "cpu", "none", "none", 64, 64, can_suspend=True
        )
        self.server = EdgeServer("s1", engine, order="priority", preemption=True, max_failures_in_row=1)
        self.long = self.server.submit(task("long", 3))
        engine.wait_until_running()
        self.short = self.server.submit(task("short", 2, priority=1))
        engine.error = error
        engine.permit(1)
        if error is None:
            engine.wait_until_running()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.close()


def test_a_suspended_task_is_seen_counted_and_cancelled():
    with Interrupted() as all_of:
        server = all_of.server
        assert (server.progress("long").state, server.progress("long").tasks_ahead) == ("suspended", 1)
        assert server.status().work_queued_steps == 4 and server.status().tasks_queued == 0
        assert server.cancel("long") and not all_of.long.done()
        all_of.engine.permit(9)
        assert all_of.short.result(30) and isinstance(all_of.long.exception(30), TaskCancelled)


def test_closing_ends_suspended_tasks_too():
    with Interrupted() as all_of:
        all_of.server.close(timeout_s=0.05)
        all_of.engine.permit(9)
        assert all(isinstance(future.exception(30), ServerUnavailable) for future in (all_of.short, all_of.long))


def test_a_deadline_that_passes_in_suspension_ends_the_task():
    engine = ScriptedEngine({1: [task("short", 1, priority=1)]})
    generate = engine.generate
    engine.generate = lambda asked, on_step: (asked.task_id == "short" and time.sleep(0.3), generate(asked, on_step))[1]
    with EdgeServer("s1", engine, order="priority", preemption=True) as server:
        engine.server = server
        assert isinstance(server.submit(task("long", 5, deadline_s=0.2)).exception(30), DeadlineExceeded)


def test_an_image_that_fails_in_the_midst_of_another_leaves_it_alone_and_the_server_recovers_after_it():
    with Interrupted(error=RuntimeError("odd")) as all_of:
        assert isinstance(all_of.short.exception(30), GenerationFailed)
        all_of.engine.error = None
        assert all_of.server.status().state == "ready"
        all_of.engine.permit(9)
        assert all_of.long.result(30).record.interruptions == 1
        all_of.engine.free = True
        while all_of.server.status().state != "ready":
            time.sleep(0.01)
        assert "probe" in all_of.engine.order


def test_a_task_whose_model_is_not_in_memory_does_not_interrupt():
    engine = EmulatedEngine("h100", time_scale=0.1, models=["a", "b"])
    with EdgeServer("s1", engine, order="priority", preemption=True) as server:
        long = server.submit(task("long", 40))
        other = server.submit(task("other", 1, model="b", priority=1))
        same = server.submit(task("same", 1, priority=0))
        assert other.result(30).record.swap_s > 0 and same.result(30)
        assert long.result(30).record.interruptions == 0


def test_an_emulated_image_takes_as_long_with_interruptions_as_without():
    engine = EmulatedEngine("jetson-agx-orin", time_scale=0.01)
    with EdgeServer("s1", engine, order="priority", preemption=True) as server:
        long = server.submit(task("long", 40))
        while server.progress("long").step < 5:
            time.sleep(0.005)
        short = [server.submit(task(f"s{i}", 5, priority=1)).result(30).record for i in range(2)]
        record = long.result(30).record
    assert record.interruptions >= 1 and min(one.suspended_s for one in short) == 0.0
    assert record.suspended_s >= sum(one.computing_s for one in short)
    assert 0.8 * (1.85 + 40 * 0.6) < record.computing_s < 1.4 * (1.85 + 40 * 0.6)


@pytest.mark.parametrize("order", ["fifo", "fair"])
def test_preemption_in_an_order_that_interrupts_nothing_is_refused(order):
    with pytest.raises(ConfigurationError, match=f"preemption is true, but in order {order} no task goes before"):
        EdgeServer("s1", EmulatedEngine("h100"), order=order, preemption=True)


def test_preemption_of_an_engine_that_cannot_suspend_is_refused():
    with pytest.raises(ConfigurationError, match="server s1 has preemption, but its engine .* cannot suspend an image"):
        EdgeServer("s1", SteppedEngine(), order="priority", preemption=True)
