"""An edge server in one process: order, limits, deadlines, cancelling, status, and its end."""

import sys
import threading
import time
from concurrent.futures import CancelledError

import pytest

from lad_rllib import names
from lad_rllib.edge import (
    DeadlineExceeded,
    EdgeServer,
    EmulatedEngine,
    Engine,
    GenerationFailed,
    ImageTask,
    InvalidRequest,
    ModelLoadFailed,
    QueueFull,
    ServerUnavailable,
    TaskCancelled,
)
from lad_rllib.edge.queue import link_delay_s
from lad_rllib.edge.task import MAX_TRANSFER_MBIT
from lad_rllib.errors import ConfigurationError
from lad_rllib.simulator import delays
from tests.edge.engines import SteppedEngine, output, task

QUICK_S = 2.0
"""An answer within this time did not wait for the image, which waits for the test."""


@pytest.fixture
def engine():
    return SteppedEngine()


@pytest.fixture
def server(engine):
    with EdgeServer("s1", engine, queue_limit=3) as server:
        yield server
        engine.permit(1000)  # for what still runs


def error_of(future):
    return future.exception(timeout=30)


def test_engines_have_the_engine_interface(engine):
    assert isinstance(engine, Engine) and isinstance(EmulatedEngine("h100"), Engine)


def test_tasks_are_served_first_in_first_out_one_at_a_time():
    engine = SteppedEngine(free=True)
    with EdgeServer("s1", engine, queue_limit=100) as server:
        futures = [server.submit(task(f"t{i}", steps=1 + i % 3)) for i in range(50)]
        records = [future.result(30).record for future in futures]
    assert engine.order == [f"t{i}" for i in range(50)]
    assert all(before.finished <= after.finished for before, after in zip(records, records[1:], strict=False))


def test_a_full_queue_refuses_at_once_and_keeps_what_it_has(server, engine):
    running = server.submit(task("running"))
    engine.wait_until_running()
    waiting = [server.submit(task(f"w{i}")) for i in range(3)]
    refused = error_of(server.submit(task("late")))
    assert isinstance(refused, QueueFull) and refused.retryable
    assert (refused.server, refused.task_id) == ("s1", "late") and "limit" in str(refused)
    engine.permit(4)
    assert [f.result(30).record.task_id for f in (running, *waiting)] == ["running", "w0", "w1", "w2"]
    assert server.status().tasks_failed == 0


def test_a_deadline_that_passes_in_the_queue_is_told_when_the_task_is_due(server, engine):
    running = server.submit(task("running"))
    late = server.submit(task("late", deadline_s=0.05))
    time.sleep(0.1)
    engine.permit(1)
    error = error_of(late)
    assert isinstance(error, DeadlineExceeded) and "after 0 of 1 steps" in str(error)
    assert running.result(30).record.steps_done == 1
    assert engine.order == ["running"]


def test_a_deadline_that_passes_while_running_stops_the_task_at_its_next_step(server, engine):
    late = server.submit(task("late", steps=10, deadline_s=0.3))
    engine.wait_until_running()
    time.sleep(0.4)
    engine.permit(1)
    error = error_of(late)
    assert isinstance(error, DeadlineExceeded) and "after 1 of 10 steps" in str(error)


def test_a_waiting_task_is_cancelled_at_once(server, engine):
    running, waiting = server.submit(task("running")), server.submit(task("waiting"))
    engine.wait_until_running()
    assert server.cancel("waiting")
    assert isinstance(waiting.exception(0), TaskCancelled)
    assert server.status().tasks_queued == 0
    engine.permit(1)
    assert running.result(30)


def test_a_running_task_is_cancelled_within_one_step_and_the_next_one_runs(server, engine):
    running, waiting = server.submit(task("running", steps=100)), server.submit(task("waiting"))
    engine.wait_until_running()
    assert server.cancel("running")
    engine.permit(1)
    assert isinstance(error_of(running), TaskCancelled)
    assert server.progress("running").error == "cancelled"
    engine.permit(1)
    assert waiting.result(30).record.task_id == "waiting"
    assert not server.cancel("waiting") and not server.cancel("never seen")


def test_a_waiting_task_can_be_cancelled_by_its_future_too(server, engine):
    running, waiting = server.submit(task("running")), server.submit(task("waiting"))
    engine.wait_until_running()
    assert waiting.cancel()
    engine.permit(1)
    assert running.result(30)
    with pytest.raises(CancelledError):
        waiting.result(30)
    assert server.drain(30) and engine.order == ["running"]


def test_an_engine_that_raises_fails_its_task_alone(server, engine):
    engine.error = RuntimeError("bad tensor\nlong trace")
    error = error_of(server.submit(task("a")))
    assert isinstance(error, GenerationFailed) and str(error) == "RuntimeError: bad tensor"
    assert (error.server, error.task_id) == ("s1", "a") and isinstance(error.__cause__, RuntimeError)
    engine.error = None
    engine.permit(1)
    assert server.generate(task("b")).png == b"png"
    assert (server.status().tasks_served, server.status().tasks_failed) == (1, 1)


class OddEngine(SteppedEngine):
    """Answers or raises whatever the task's prompt names."""

    def check(self, task):
        if task.prompt == "odd check":
            raise ValueError("odd check")

    def generate(self, task, on_step):
        case = {"none": None, "text": "png"}
        if task.prompt in case:
            return case[task.prompt]
        if task.prompt == "exit":
            sys.exit(3)
        if task.prompt == "huge image":
            return output(image_mbit=1e300)
        return super().generate(task, on_step)


@pytest.mark.parametrize("prompt", ["none", "text", "exit", "huge image", "odd check"])
def test_whatever_an_engine_raises_or_answers_ends_that_task_alone(prompt):
    with EdgeServer("s1", OddEngine(free=True), link_rate_mbit_per_s=1e3) as server:
        error = error_of(server.submit(ImageTask("odd", prompt, 1)))
        assert isinstance(error, GenerationFailed) and (error.server, error.task_id) == ("s1", "odd")
        assert server.submit(task("well")).result(30).record.task_id == "well"
        assert server.health().healthy


def test_a_callback_that_raises_leaves_the_thread_alone():
    with EdgeServer("s1", SteppedEngine(free=True)) as server:
        server.submit(task("a")).add_done_callback(lambda _: sys.exit(3))
        assert server.submit(task("b")).result(30).record.task_id == "b"


def test_an_upload_that_would_take_ages_neither_ends_the_thread_nor_delays_others():
    engine = SteppedEngine(free=True)
    with EdgeServer("s1", engine, link_rate_mbit_per_s=1e-9, home_station=0) as server:
        far = server.submit(task("far", station=1, input_mbit=MAX_TRANSFER_MBIT))
        near = server.submit(task("near", station=0))
        engine.wait_until_running()
        assert engine.order == ["near"] and server.health().healthy
        assert server.cancel("far") and error_of(far).name == "cancelled"
    assert near.result(30).record.download_s < 30  # closing the server delivers it


def test_closing_leaves_a_future_alone_that_its_owner_has_cancelled(engine):
    server = EdgeServer("s1", engine)
    server.submit(task("running"))
    mine, other = server.submit(task("mine")), server.submit(task("other"))
    engine.wait_until_running()
    assert mine.cancel()
    engine.permit(1)
    server.close()
    assert mine.cancelled() and isinstance(error_of(other), ServerUnavailable)


@pytest.mark.parametrize("load_at_start", [True, False])
def test_a_model_that_cannot_be_loaded_fails_those_who_wait_and_those_who_come(load_at_start):
    engine = SteppedEngine(load_error=OSError("no such file"))
    engine.loading.clear()
    with EdgeServer("s1", engine, load_at_start=load_at_start) as server:
        early = [server.submit(task(f"e{i}")) for i in range(2)]
        engine.loading.set()
        assert [type(error_of(future)) for future in early] == [ModelLoadFailed] * 2
        late = error_of(server.submit(task("late")))
        assert isinstance(late, ModelLoadFailed) and "no such file" in str(late) and not late.retryable
        assert server.status().state == "failed" and "no such file" in server.health().reason
        with pytest.raises(ModelLoadFailed):
            server.warm_up()


def test_a_size_that_the_server_does_not_offer_is_refused():
    with EdgeServer("s1", SteppedEngine(free=True), allowed_sizes=[(64, 64), (128, 64)]) as server:
        assert isinstance(error_of(server.submit(task("a", width=64, height=128))), InvalidRequest)
        assert server.generate(task("b")) and server.generate(task("c", width=128))


def test_a_task_id_is_unique_while_the_task_is_there(server, engine):
    first = server.submit(task("a"))
    assert isinstance(error_of(server.submit(task("a"))), InvalidRequest)
    engine.permit(2)
    assert first.result(30)
    assert server.generate(task("a"))


def test_status_progress_and_health_are_answered_while_an_image_is_generated(server, engine):
    server.submit(task("running", steps=10))
    server.submit(task("w1", steps=4))
    server.submit(task("w2", steps=5))
    engine.wait_until_running()
    engine.permit(3)
    limit = time.monotonic() + 30
    while server.progress("running").step < 3 and time.monotonic() < limit:
        time.sleep(0.001)
    begin = time.monotonic()
    status, progress, health = server.status(), server.progress("w2"), server.health()
    assert time.monotonic() - begin < QUICK_S
    assert (status.state, status.running_task_id, status.running_step, status.running_steps) == (
        "ready",
        "running",
        3,
        10,
    )
    assert (status.tasks_queued, status.work_queued_steps) == (2, 7 + 4 + 5)
    assert (progress.state, progress.tasks_ahead, progress.steps) == ("queued", 2, 5)
    assert health.healthy and status.to_dict()["name"] == "s1"


def test_a_server_whose_task_makes_no_step_is_not_healthy(engine):
    with EdgeServer("s1", engine, stall_s=0.01) as server:
        server.submit(task("stuck"))
        engine.wait_until_running()
        time.sleep(0.05)
        assert not server.health().healthy and "stuck" in server.health().reason
        engine.permit(1)


def test_progress_tells_how_a_task_ended(server, engine):
    assert server.progress("a").state == "unknown"
    engine.permit(1)
    server.generate(task("a"))
    assert server.progress("a").state == "done"


def test_draining_finishes_what_is_there_and_refuses_what_comes(server, engine):
    futures = [server.submit(task(f"t{i}")) for i in range(3)]
    engine.wait_until_running()
    assert not server.drain(timeout_s=0.01)
    assert isinstance(error_of(server.submit(task("late"))), ServerUnavailable)
    engine.permit(3)
    assert server.drain(timeout_s=30)
    assert [future.result(0).record.task_id for future in futures] == ["t0", "t1", "t2"]
    assert server.status().state == "draining"


def test_closing_fails_everything_as_unavailable_and_ends_the_thread(engine):
    server = EdgeServer("s1", engine)
    running, waiting = server.submit(task("running", steps=5)), server.submit(task("waiting"))
    engine.wait_until_running()
    closer = threading.Thread(target=server.close)
    closer.start()
    assert isinstance(error_of(waiting), ServerUnavailable)
    engine.permit(1)
    assert isinstance(error_of(running), ServerUnavailable) and running.exception().retryable
    closer.join(30)
    assert not server._worker.thread.is_alive()
    assert isinstance(error_of(server.submit(task("late"))), ServerUnavailable)
    server.close()


def test_the_sizes_are_warmed_up_before_the_server_reports_ready():
    engine = SteppedEngine(free=True)
    engine.loading.clear()
    with EdgeServer("s1", engine, warm_up_sizes=[(64, 64)]) as server:
        assert server.status().state == "starting" and not server.health().healthy
        met_cold = server.submit(task("early"))
        engine.loading.set()
        assert met_cold.result(30).record.cold_start
        assert engine.warmed == [[(64, 64)]]
        assert not server.generate(task("b")).record.cold_start
        server.warm_up([(8, 8)])
        assert engine.warmed[1] == [(8, 8)] and server.status().state == "ready"


def test_without_a_warm_up_the_first_image_is_cold_and_does_not_count_for_the_delay_model():
    with EdgeServer("s1", SteppedEngine(free=True), warm_up_sizes=(), load_at_start=False) as server:
        first, second = server.generate(task("a")).record, server.generate(task("b")).record
        assert first.cold_start and first.load_s > 0 and second.load_s == 0 and not second.cold_start
        assert server.fit().num_points == 1


def test_the_total_delay_is_the_sum_of_its_parts_and_what_the_caller_sees():
    with EdgeServer("s1", EmulatedEngine("h100", time_scale=0.2), link_rate_mbit_per_s=20) as server:
        begin = time.perf_counter()
        futures = [server.submit(task(f"t{i}", steps=3, input_mbit=2)) for i in range(3)]
        for future in futures:
            record = future.result(30).record
            seen_s = (time.perf_counter() - begin) / 0.2
            row = record.to_dict()
            assert sum(row[part] for part in names.DELAY_PARTS) == pytest.approx(record.total_s, rel=0.02)
            inner = record.load_s + record.encode_s + record.denoise_s + record.decode_s + record.png_s
            assert inner == pytest.approx(record.computing_s, rel=0.02, abs=0.02)  # abs: 4 ms of wall time
            assert record.total_s <= seen_s


def test_the_link_delays_are_those_of_the_simulator():
    for rate in (20.0, 400.0):
        assert link_delay_s(3.5, rate) == delays.upload_delay_s(3.5, rate, False) == delays.download_delay_s(3.5, rate)


def test_a_task_from_the_servers_own_station_needs_no_upload():
    engine = EmulatedEngine("h100", time_scale=0.02)
    with EdgeServer("s1", engine, link_rate_mbit_per_s=5, home_station=2) as server:
        home = server.generate(task("home", station=2, input_mbit=2)).record
        away = server.generate(task("away", station=1, input_mbit=2)).record
    assert home.upload_s == 0 and away.upload_s == pytest.approx(2 / 5)
    assert home.download_s >= 0.8 / 5 and away.download_s >= 0.8 / 5


def test_tasks_are_served_in_order_of_arrival_over_the_link():
    engine = SteppedEngine(free=True)
    with EdgeServer("s1", engine, link_rate_mbit_per_s=10) as server:
        large, small = server.submit(task("large", input_mbit=5)), server.submit(task("small", input_mbit=0))
        assert large.result(30) and small.result(30)
    assert engine.order == ["small", "large"]


def test_closing_delivers_images_that_are_on_their_way():
    engine = SteppedEngine(free=True)
    server = EdgeServer("s1", engine, link_rate_mbit_per_s=0.01)
    future = server.submit(task("a", input_mbit=0))
    engine.wait_until_running()
    limit = time.monotonic() + 30
    while server.progress("a").state != "sending" and time.monotonic() < limit:
        time.sleep(0.001)
    server.close()
    assert future.result(1).png == b"png"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"queue_limit": 0}, "queue_limit"),
        ({"link_rate_mbit_per_s": 0}, "link_rate"),
        ({"time_scale": 0.5}, "time_scale 0.5 but its engine 1.0"),
    ],
)
def test_settings_that_cannot_be_are_refused(engine, arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        EdgeServer("s1", engine, **arguments)


def test_profiling_needs_three_step_counts(server):
    with pytest.raises(ConfigurationError, match="at least 3"):
        server.profile([1, 2, 2])
