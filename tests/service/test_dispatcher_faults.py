"""Servers that die, hang, start again or are full: every task ends exactly once."""

import contextlib
import time

import pytest

from lad_rllib.edge import DeviceProfile, EdgeServer, EmulatedEngine, ImageTask
from lad_rllib.service import Dispatcher
from tests.edge.engines import SteppedEngine
from tests.service.fleets import WORK, Fixed, dispatched, emulated, network, running_at, tasks, until


def test_tasks_of_a_server_that_loses_its_process_go_to_another_one_once():
    with dispatched([50, 1000], Fixed(0)) as (dispatcher, (victim, _)):
        futures = dispatcher.submit(tasks(6, steps=20))
        until(lambda: victim.inner.status().running_step > 0)
        victim.dead = True
        deliveries = [future.result(60) for future in futures]
        assert dispatcher.servers_up == [False, True]
        later = dispatcher.run([ImageTask("late", "x", 1)], timeout_s=60)[0]
    assert all(d.error is None and d.server == "s1" and d.attempts == 2 for d in deliveries)
    assert (later.server, later.attempts) == ("s1", 1)  # out of the choice at once


def test_a_server_that_hangs_is_noticed_within_two_seconds_and_its_late_answers_are_dropped():
    with dispatched([50, 200], Fixed(0)) as (dispatcher, (victim, _)):
        futures = dispatcher.submit(tasks(4, steps=20))
        victim.hung = True
        noticed_s = until(lambda: not dispatcher.servers_up[0])
        deliveries = [future.result(60) for future in futures]
        until(lambda: victim.inner.status().tasks_served == 4)
        victim.release()
        until(lambda: dispatcher.duplicates_dropped == 4)
        until(lambda: dispatcher.servers_up[0])  # and it is back up
        again = dispatcher.run([ImageTask("late", "x", 1)], timeout_s=60)[0]
    assert noticed_s < 2.0
    assert all(d.error is None and d.server == "s1" and d.attempts == 2 for d in deliveries)
    assert again.server == "s0"


def test_a_server_that_comes_back_does_not_work_through_what_others_have_done():
    with dispatched([2, 500], Fixed(0)) as (dispatcher, (victim, _)):
        futures = dispatcher.submit(tasks(5, steps=20))  # ten seconds each on the first server
        victim.hung = True
        assert all(future.result(60).server == "s1" for future in futures)
        victim.release()
        until(lambda: dispatcher.servers_up[0])
        until(lambda: victim.inner.status().tasks_queued == 0 and victim.inner.status().running_task_id is None)
        assert victim.inner.status().tasks_served == 0


def test_tasks_stay_with_servers_that_all_fall_silent_for_a_while():
    with dispatched([100, 100], Fixed(0)) as (dispatcher, servers):
        futures = dispatcher.submit(tasks(6, steps=20))
        for server in servers:
            server.hung = True
        until(lambda: not any(dispatcher.servers_up))
        for server in servers:
            server.release()
        deliveries = [future.result(60) for future in futures]
        assert dispatcher.run([ImageTask("late", "x", 1)], timeout_s=60)[0].error is None
    assert [d.error for d in deliveries] == [None] * 6
    assert max(d.attempts for d in deliveries) <= 3


def test_tasks_of_servers_that_stay_silent_end_with_their_name_when_patience_is_over():
    with dispatched([100, 100], Fixed(0), patience_s=1.0) as (dispatcher, servers):
        futures = dispatcher.submit(tasks(3, steps=20))
        for server in servers:
            server.hung = True
        deliveries = [future.result(20) for future in futures]
    assert {d.error.name for d in deliveries} == {"server_unavailable"}


@pytest.mark.parametrize("number", [1, 2])
def test_tasks_of_silent_servers_that_were_started_again_are_sent_to_them_once_more(number):
    with dispatched([100] * number, Fixed(0), patience_s=60.0) as (dispatcher, servers):
        until(lambda: all(server.asked > 1 for server in servers))  # since when they run is known
        futures = dispatcher.submit(tasks(3, steps=20))
        for server in servers:
            server.hung = True
        until(lambda: not any(dispatcher.servers_up))
        for server in servers:
            server.restart()
            server.hung = False
        deliveries = [future.result(20) for future in futures]
    assert [d.error for d in deliveries] == [None] * 3
    assert max(d.attempts for d in deliveries) >= 2


def test_a_task_returns_to_a_server_that_was_silent_for_a_while_if_no_other_is_left():
    with dispatched([50, 1], Fixed(0)) as (dispatcher, (stalled, lost)):
        future = dispatcher.submit([ImageTask("one", "x", 100)])[0]
        until(lambda: running_at(stalled.inner) == "one")
        stalled.hung = True
        until(lambda: running_at(lost.inner) == "one")
        stalled.hung = False
        until(lambda: dispatcher.servers_up[0])
        lost.dead = True
        delivery = future.result(30)
    assert (delivery.server, delivery.attempts, delivery.error) == ("s0", 3, None)


def test_tasks_of_an_only_server_that_is_lost_wait_until_it_is_back():
    with dispatched([100], Fixed(0)) as (dispatcher, (server,)):
        until(lambda: server.asked > 1)
        futures = dispatcher.submit(tasks(3, steps=20))
        server.dead = True
        until(lambda: not any(dispatcher.servers_up))
        server.restart()
        server.dead = False
        deliveries = [future.result(20) for future in futures]
    assert [d.error for d in deliveries] == [None] * 3


def test_a_task_that_takes_every_server_with_it_again_and_again_is_given_up():
    with dispatched([100, 100], Fixed(0), patience_s=60.0) as (dispatcher, servers):
        until(lambda: all(server.asked > 1 for server in servers))
        future = dispatcher.submit([ImageTask("poison", "x", 1000)])[0]
        while not future.done():
            for server in servers:
                if running_at(server.inner) == "poison":
                    server.restart()
                    server.inner.cancel(server.inner.status().running_task_id)  # its process is another one now
            time.sleep(0.05)
        delivery = future.result(0)
    assert delivery.error.name == "server_unavailable" and "was started again" in str(delivery.error)
    assert 2 <= delivery.attempts <= 4


def test_a_server_that_starts_again_between_two_questions_has_lost_its_tasks():
    with dispatched([50, 200], Fixed(0)) as (dispatcher, (victim, _)):
        futures = dispatcher.submit(tasks(6, steps=20))  # 2.4 s of work
        until(lambda: victim.asked > 1)  # its first answer is known
        done = sum(future.done() for future in futures)
        victim.restart()
        noticed_s = until(lambda: not dispatcher.servers_up[0])
        deliveries = [future.result(60) for future in futures]
        until(lambda: dispatcher.servers_up[0])
    assert noticed_s < 2.0
    assert [d.error for d in deliveries] == [None] * 6
    assert [d.server for d in deliveries[done + 1 :]] == ["s1"] * (5 - done)


def test_a_late_answer_that_comes_first_ends_the_task_and_cancels_the_second_attempt():
    with dispatched([1000, 2], Fixed(0)) as (dispatcher, (victim, slow)):
        victim.hung = True
        future = dispatcher.submit([ImageTask("one", "x", 200)])[0]
        until(lambda: running_at(slow.inner) == "one")
        until(lambda: victim.held)
        victim.release()
        delivery = future.result(10)
        until(lambda: slow.inner.status().running_task_id is None)
    assert (delivery.server, delivery.attempts, delivery.error) == ("s0", 2, None)


def test_tasks_of_a_server_without_a_model_go_to_another_one_and_end_by_that_name_if_there_is_none():
    with contextlib.ExitStack() as stack:
        broken = stack.enter_context(EdgeServer("s0", SteppedEngine(load_error=OSError("no weights"))))
        until(lambda: broken.status().state == "failed")
        servers = [broken, stack.enter_context(emulated("s1", 1000))]
        unwatched = {"health_period_s": None}
        dispatcher = stack.enter_context(Dispatcher(servers, network([10, 10]), WORK, Fixed(0), **unwatched))
        alone = stack.enter_context(Dispatcher([broken], network([10]), WORK, Fixed(0), **unwatched))
        rescued = dispatcher.run(tasks(3), timeout_s=60)
        assert dispatcher.servers_up == [False, True]
        lost = alone.run(tasks(1), timeout_s=60)[0]
    assert [(d.server, d.error) for d in rescued] == [("s1", None)] * 3
    assert lost.error.name == "model_load_failed" and "no weights" in str(lost.error)


def test_a_task_that_was_cancelled_is_not_tried_again_when_its_server_is_lost():
    with dispatched([50, 50], Fixed(0)) as (dispatcher, (victim, other)):
        victim.hung = True
        future = dispatcher.submit([ImageTask("one", "x", 200)])[0]
        dispatcher.cancel("one")
        delivery = future.result(20)
        assert other.inner.status().tasks_served == 0
    assert (delivery.error.name, delivery.attempts) == ("cancelled", 1)


def test_without_any_server_left_a_task_ends_with_server_unavailable():
    with dispatched([100, 100], Fixed(0), patience_s=1.0) as (dispatcher, servers):
        for server in servers:
            server.dead = True
        deliveries = dispatcher.run(tasks(3), timeout_s=30)
    assert {d.error.name for d in deliveries} == {"server_unavailable"}
    assert all(d.attempts <= 2 for d in deliveries)


def test_of_two_hundred_tasks_with_two_faults_in_the_middle_each_ends_exactly_once():
    ended = []
    with dispatched([400] * 5, "random") as (dispatcher, servers):
        futures = []
        for slot in range(20):
            batch = [ImageTask(f"{slot}-{i}", "x", 8, station=i % 3) for i in range(10)]
            futures += dispatcher.submit(batch)
            for future in futures[-10:]:
                future.add_done_callback(lambda f: ended.append(f.result().task.task_id))
            if slot == 8:
                servers[1].dead = True
            if slot == 10:
                servers[3].hung = True
            if slot == 15:
                servers[1].dead = False
            time.sleep(0.03)
        deliveries = [future.result(60) for future in futures]
        servers[3].release()
        until(lambda: all(dispatcher.servers_up))
    assert sorted(ended) == sorted(f"{slot}-{i}" for slot in range(20) for i in range(10))
    assert all((d.record is not None) != (d.error is not None) for d in deliveries)
    # A task may have met both faults, one after the other; it is sent on each time.
    assert [d.error for d in deliveries] == [None] * 200
    assert 2 <= max(d.attempts for d in deliveries) <= 3


def test_a_node_that_takes_several_servers_with_it_one_after_the_other_loses_no_task():
    with dispatched([100, 100, 100, 30], Fixed(0)) as (dispatcher, servers):
        futures = dispatcher.submit(tasks(12, steps=10))
        for victim in servers[:3]:
            until(lambda victim=victim: victim.inner.status().running_step > 0)
            victim.dead = True
        deliveries = [future.result(60) for future in futures]
    assert [d.error for d in deliveries] == [None] * 12
    assert max(d.attempts for d in deliveries) > 2  # more than one retry was needed


def test_retries_stop_at_the_deadline():
    with dispatched([5, 5], Fixed(0)) as (dispatcher, (victim, _)):
        future = dispatcher.submit([ImageTask("one", "x", 100, deadline_s=0.1)])[0]
        victim.hung = True  # it takes longer than the deadline until that is noticed
        victim.deaf = 1000
        until(lambda: not dispatcher.servers_up[0])
        delivery = future.result(20)
    assert (delivery.error.name, delivery.attempts) == ("deadline_exceeded", 1)


def test_tasks_handed_in_while_no_server_has_answered_wait_and_are_served():
    with dispatched([500, 500], Fixed(0)) as (dispatcher, servers):
        for server in servers:
            server.hung = True
        until(lambda: not any(dispatcher.servers_up))
        futures = dispatcher.submit(tasks(4))
        cancelled = dispatcher.submit([ImageTask("cancelled", "x", 1)])[0]
        late = dispatcher.submit([ImageTask("late", "x", 1, deadline_s=0.2)])[0]
        assert cancelled.cancel() and cancelled.result(5).error.name == "cancelled"
        assert late.result(5).error.name == "deadline_exceeded"
        assert not any(future.done() for future in futures)
        for server in servers:
            server.release()
        assert [future.result(20).error for future in futures] == [None] * 4


def test_tasks_that_come_while_servers_still_start_wait_for_them():
    with contextlib.ExitStack() as stack:
        engine = SteppedEngine(free=True)
        engine.loading.clear()
        server = stack.enter_context(EdgeServer("s0", engine))
        dispatcher = stack.enter_context(Dispatcher([server], network([10]), WORK, Fixed(0)))
        until(lambda: not dispatcher.servers_up[0])  # it has said that it starts
        futures = dispatcher.submit(tasks(3))
        engine.loading.set()
        assert [future.result(20).error for future in futures] == [None] * 3


def test_with_patience_over_waiting_tasks_end_by_a_name_that_says_why():
    with dispatched([500], Fixed(0), patience_s=0.3) as (dispatcher, (server,)):
        server.hung = True
        until(lambda: not dispatcher.servers_up[0])
        error = dispatcher.run(tasks(1), timeout_s=20)[0].error
    assert error.name == "server_unavailable" and "no edge server was up for 0.3 s (s0 does not answer)" in str(error)


class FailsItself(EmulatedEngine):
    """Raises for every task."""

    def generate(self, task, on_step):
        """Fail at once."""
        raise RuntimeError("no idea")


def test_a_task_that_fails_goes_to_one_other_server_and_no_further():
    profile = DeviceProfile(
        name="device", overhead_s=0.0, per_step_s=0.001, origin="assumption", source="made up for a test"
    )
    with contextlib.ExitStack() as stack:
        broken = [stack.enter_context(EdgeServer(f"b{i}", FailsItself(profile, make_png=False))) for i in range(2)]
        good = [stack.enter_context(emulated("g", 1000))]
        one = stack.enter_context(Dispatcher([broken[0], *good], network([10, 10]), WORK, Fixed(0)))
        two = stack.enter_context(Dispatcher([*broken, *good], network([10, 10, 1]), WORK, Fixed(0)))
        rescued = one.run(tasks(1), timeout_s=20)[0]
        failed = two.run(tasks(1), timeout_s=20)[0]
    assert (rescued.server, rescued.error, rescued.attempts) == ("g", None, 2)
    assert (failed.server, failed.error.name, failed.attempts) == ("b1", "generation_failed", 2)
