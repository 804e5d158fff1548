"""Servers that die, hang, start again or are full: every task ends exactly once."""

import contextlib
import time

import numpy as np

from lad_rllib.edge import EdgeServer, ImageTask
from lad_rllib.service import Dispatcher
from tests.edge.engines import SteppedEngine
from tests.service.fleets import WORK, Fixed, dispatched, emulated, network, tasks, until


def test_tasks_of_a_server_that_loses_its_process_go_to_another_one_once():
    with dispatched([50, 1000], Fixed(0)) as (dispatcher, (victim, _)):
        futures = dispatcher.submit(tasks(6, steps=20))
        until(lambda: victim.inner.status().running_step > 0)
        victim.dead = True
        deliveries = [future.result(60) for future in futures]
        assert dispatcher.alive == [False, True]
        later = dispatcher.run([ImageTask("late", "x", 1)], timeout_s=60)[0]
    assert all(d.error is None and d.server == "s1" and d.attempts == 2 for d in deliveries)
    assert (later.server, later.attempts) == ("s1", 1)  # out of the choice at once


def test_a_server_that_hangs_is_noticed_within_two_seconds_and_its_late_answers_are_dropped():
    with dispatched([50, 200], Fixed(0)) as (dispatcher, (victim, _)):
        futures = dispatcher.submit(tasks(4, steps=20))
        victim.hung = True
        noticed_s = until(lambda: not dispatcher.alive[0])
        deliveries = [future.result(60) for future in futures]
        until(lambda: victim.inner.status().tasks_served == 4)
        victim.release()
        until(lambda: dispatcher.duplicates_dropped == 4)
        until(lambda: dispatcher.alive[0])  # and it is a choice again
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
        until(lambda: dispatcher.alive[0])
        until(lambda: victim.inner.status().tasks_queued == 0 and victim.inner.status().running_task_id is None)
        assert victim.inner.status().tasks_served == 0


def test_tasks_stay_with_servers_that_all_fall_silent_for_a_while():
    with dispatched([100, 100], Fixed(0)) as (dispatcher, servers):
        futures = dispatcher.submit(tasks(6, steps=20))
        for server in servers:
            server.hung = True
        until(lambda: not any(dispatcher.alive))
        for server in servers:
            server.release()
        deliveries = [future.result(60) for future in futures]
        assert dispatcher.run([ImageTask("late", "x", 1)], timeout_s=60)[0].error is None
    assert [d.error for d in deliveries] == [None] * 6
    assert max(d.attempts for d in deliveries) <= 2


def test_tasks_of_servers_that_stay_silent_end_with_their_name_when_patience_is_over():
    with dispatched([100, 100], Fixed(0), patience_s=1.0) as (dispatcher, servers):
        futures = dispatcher.submit(tasks(3, steps=20))
        for server in servers:
            server.hung = True
        deliveries = [future.result(20) for future in futures]
    assert {d.error.name for d in deliveries} == {"server_unavailable"}


def test_a_silent_server_that_was_started_again_has_lost_the_tasks_that_stayed_with_it():
    with dispatched([100, 100], Fixed(0), patience_s=60.0) as (dispatcher, servers):
        until(lambda: all(server.asked > 1 for server in servers))  # since when they run is known
        futures = dispatcher.submit(tasks(3, steps=20))
        for server in servers:
            server.hung = True
        until(lambda: not any(dispatcher.alive))
        for server in servers:
            server.restart()
            server.hung = False
        deliveries = [future.result(20) for future in futures]
    assert {d.error.name for d in deliveries} == {"server_unavailable"}
    assert "was started again" in str(deliveries[0].error)


def test_a_server_that_starts_again_between_two_questions_has_lost_its_tasks():
    with dispatched([50, 200], Fixed(0)) as (dispatcher, (victim, _)):
        futures = dispatcher.submit(tasks(6, steps=20))  # 2.4 s of work
        until(lambda: victim.asked > 1)  # its first answer is known
        done = sum(future.done() for future in futures)
        victim.restart()
        noticed_s = until(lambda: not dispatcher.alive[0])
        deliveries = [future.result(60) for future in futures]
        until(lambda: dispatcher.alive[0])
    assert noticed_s < 2.0
    assert [d.error for d in deliveries] == [None] * 6
    assert [d.server for d in deliveries[done + 1 :]] == ["s1"] * (5 - done)


def test_a_late_answer_that_comes_first_ends_the_task_and_cancels_the_second_attempt():
    with dispatched([1000, 2], Fixed(0)) as (dispatcher, (victim, slow)):
        victim.hung = True
        future = dispatcher.submit([ImageTask("one", "x", 200)])[0]
        until(lambda: slow.inner.status().running_task_id == "one")
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
        ask_none = {"health_period_s": None}
        dispatcher = stack.enter_context(Dispatcher(servers, network([10, 10]), WORK, Fixed(0), **ask_none))
        alone = stack.enter_context(Dispatcher([broken], network([10]), WORK, Fixed(0), **ask_none))
        rescued = dispatcher.run(tasks(3), timeout_s=60)
        assert dispatcher.alive == [False, True]
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
    with dispatched([100, 100], Fixed(0)) as (dispatcher, servers):
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
        until(lambda: all(dispatcher.alive))
    assert sorted(ended) == sorted(f"{slot}-{i}" for slot in range(20) for i in range(10))
    assert all((d.record is not None) != (d.error is not None) for d in deliveries)
    # A task may have met both faults, one after the other; that is its name then.
    assert {d.error.name for d in deliveries if d.error} <= {"server_unavailable"}
    assert np.mean([d.error is None for d in deliveries]) > 0.95
    assert max(d.attempts for d in deliveries) == 2
