"""A server that keeps failing stops serving, and is back once it has made an image."""

import contextlib
import threading

import pytest

from lad_rllib.edge import DeviceBroken, EdgeServer, GenerationFailed, NonFiniteImage, ServerUnavailable
from lad_rllib.edge.recovery import PROBE_STEPS
from lad_rllib.errors import ConfigurationError
from lad_rllib.service import Dispatcher
from tests.edge.engines import SteppedEngine, task
from tests.service.fleets import WORK, Fixed, emulated, network, tasks, until


class Breakable(SteppedEngine):
    """A device that can be broken: then everything fails at once, until the engine is built anew."""

    built = 0

    def __init__(self, error, heals_after=1):
        super().__init__(free=True)
        type(self).built += 1
        self.broken_with = error if type(self).built <= heals_after else None
        self.probes = 0

    def generate(self, task, on_step):
        """An image, or the error."""
        self.probes += task.task_id == "probe"
        if self.broken_with is not None:
            raise self.broken_with
        return super().generate(task, on_step)


@pytest.fixture
def breakable():
    """Makes a server whose first engines are broken; how many were built is on the class."""
    with contextlib.ExitStack() as stack:

        def make(error, heals_after=1, **settings):
            kind = type("Breakable", (Breakable,), {"built": 0})
            server = EdgeServer(
                "s0", kind(error, heals_after), make_engine=lambda: kind(error, heals_after), **settings
            )
            return stack.enter_context(server), kind

        yield make


def test_a_broken_device_beside_two_good_servers_costs_no_task_and_is_back_after_a_probe(breakable):
    broken, kind = breakable(DeviceBroken("CUDA error: an illegal memory access was encountered"), heals_after=3)
    with contextlib.ExitStack() as stack:
        servers = [broken, *(stack.enter_context(emulated(f"s{i}", 200)) for i in (1, 2))]
        dispatcher = stack.enter_context(Dispatcher(servers, network([200] * 3), WORK, Fixed(0)))
        deliveries = dispatcher.run(tasks(60), timeout_s=60)
        assert [d.error for d in deliveries] == [None] * 60
        assert {d.server for d in deliveries} <= {"s1", "s2", "s0"}
        assert broken.status().tasks_failed <= 60
        until(lambda: dispatcher.servers_up[0])
        assert dispatcher.run(tasks(1), timeout_s=20)[0].server == "s0"
    assert kind.built == 4 and broken.engine.probes == 1


def test_one_error_that_cannot_heal_sends_away_who_waits_and_no_further_task_runs_on_it(breakable):
    server, kind = breakable(DeviceBroken("device-side assert triggered"), heals_after=99, load_at_start=False)
    futures = [server.submit(task(f"t{i}")) for i in range(10)]
    kinds = {type(future.exception(10)) for future in futures[1:]}
    assert type(futures[0].exception(10)) is DeviceBroken and kinds == {ServerUnavailable}
    assert "recovers: its device is lost (device-side assert triggered)" in str(futures[1].exception())
    health = server.health()
    assert not health.healthy and "s0 is recovering" in health.reason and server.status().state == "recovering"
    assert type(server.submit(task("late")).exception(10)) is ServerUnavailable
    until(lambda: kind.built >= 3)  # it goes on trying
    assert server.drain(5) and server.status().state == "draining"


def test_several_failures_in_a_row_make_a_server_show_that_it_can_make_an_image(breakable):
    server, kind = breakable(RuntimeError("no idea"), max_failures_in_row=2)
    errors = [server.submit(task(f"t{i}")).exception(10) for i in range(2)]
    assert [type(error) for error in errors] == [GenerationFailed] * 2
    until(lambda: server.health().healthy)
    assert server.generate(task("right")).png == b"png" and kind.built == 2


def test_images_that_are_not_finite_are_made_elsewhere_and_take_their_server_out(breakable):
    overflowing, _ = breakable(NonFiniteImage("float16 overflows"), heals_after=100)
    with emulated("s1", 1000) as well:
        servers = [overflowing, well]
        with Dispatcher(servers, network([1000] * 2), WORK, Fixed(0), health_period_s=None) as dispatcher:
            deliveries = dispatcher.run(tasks(3), timeout_s=20)
    assert [(d.server, d.error, d.attempts) for d in deliveries] == [("s1", None, 2)] * 3
    until(lambda: overflowing.status().state == "recovering")


def test_tasks_that_fail_by_their_own_fault_do_not_cost_a_server_its_engine(breakable):
    class Picky(Breakable):
        def generate(self, task, on_step):
            if task.prompt == "bad":
                raise ValueError("not this one")
            return super().generate(task, on_step)

    engine = Picky(None)
    with EdgeServer("s0", engine, make_engine=lambda: Picky(None)) as server:
        server.generate(task("first"))
        for i in range(3):
            bad = type(task())(f"bad-{i}", "bad", 1)
            assert type(server.submit(bad).exception(10)) is GenerationFailed
        until(lambda: server.health().healthy)
        assert server.engine is engine and engine.probes == 1
        assert server.generate(task("last")).png


def test_failures_that_are_not_in_a_row_do_not_count_and_neither_do_those_of_the_task(breakable):
    class EverySecond(SteppedEngine):
        def generate(self, task, on_step):
            if int(task.task_id) % 2:
                raise ValueError("odd")
            return super().generate(task, on_step)

    with EdgeServer("s0", EverySecond(free=True), max_failures_in_row=2) as server:
        ends = [server.submit(task(str(i))).exception(10) for i in range(10)]
        late = [server.submit(task(str(2 * i), deadline_s=1e-9)).exception(10) for i in range(5)]
        assert server.status().state == "ready"
    assert [type(end) for end in ends] == [type(None), GenerationFailed] * 5
    assert {error.name for error in late} == {"deadline_exceeded"}


def test_where_a_process_can_be_started_again_an_error_that_cannot_heal_ends_it_after_all_were_told():
    ended, engine = threading.Event(), SteppedEngine(free=True, error=DeviceBroken("CUDA error"))
    with EdgeServer("s0", engine, restart=ended.set) as server:
        futures = [server.submit(task(f"t{i}")) for i in range(3)]
        assert ended.wait(10)
        assert all(future.done() for future in futures)
        assert server.status().state == "recovering"


def test_a_server_that_was_started_again_is_ready_after_a_probe_and_recovers_if_that_fails(breakable):
    server, kind = breakable(RuntimeError("no device"), heals_after=2, probe_at_start=True)
    until(lambda: server.health().healthy)
    assert kind.built == 3 and server.engine.probes == 1 and server.status().tasks_failed == 0
    assert PROBE_STEPS < 10


def test_a_server_closes_while_it_recovers(breakable):
    server, _ = breakable(DeviceBroken("CUDA error"), heals_after=99)
    until(lambda: server.health().healthy)
    assert server.submit(task()).exception(10)
    until(lambda: server.status().state == "recovering")
    server.close()
    assert server.status().state == "closed" and not server._worker.thread.is_alive()


def test_a_limit_of_no_failure_at_all_is_refused():
    with pytest.raises(ConfigurationError, match="max_failures_in_row must be at least 1, got 0"):
        EdgeServer("s0", SteppedEngine(), max_failures_in_row=0)
