"""Every task ends exactly once, whatever its servers do."""

import contextlib
import time

import numpy as np
import pytest

from lad_rllib.edge import EdgeServer, ImageTask, InvalidRequest
from lad_rllib.errors import ConfigurationError
from lad_rllib.scheduling import make_heuristic
from lad_rllib.service import Dispatcher
from tests.edge.engines import SteppedEngine
from tests.service.fleets import WORK, Fixed, Wrapped, emulated, network, tasks


@contextlib.contextmanager
def fleet(speeds, scheduler="random", **settings):
    """A dispatcher over wrapped emulated servers with so many steps a second."""
    with contextlib.ExitStack() as stack:
        servers = [Wrapped(stack.enter_context(emulated(f"s{i}", speed))) for i, speed in enumerate(speeds)]
        chosen = make_heuristic(scheduler) if isinstance(scheduler, str) else scheduler
        dispatcher = stack.enter_context(Dispatcher(servers, network(speeds), WORK, chosen, seed=1, **settings))
        yield dispatcher, servers


def until(condition, timeout_s=20.0):
    """Wall seconds until something holds."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < timeout_s, "it never came true"
        time.sleep(0.01)
    return time.monotonic() - start


def test_every_task_gets_an_image_from_the_server_that_the_scheduler_chose():
    with fleet([500, 1000, 2000], "round-robin") as (dispatcher, _):
        deliveries = dispatcher.run(tasks(30), timeout_s=60)
    assert [d.task.task_id for d in deliveries] == [f"task-{i}" for i in range(30)]
    assert all(d.error is None and d.attempts == 1 and d.record.server == d.server for d in deliveries)
    # Station b starts with server b, and goes on with the next one for each task.
    assert [d.server for d in deliveries] == [f"s{(d.task.station + i // 3) % 3}" for i, d in enumerate(deliveries)]


def test_named_servers_get_their_tasks_without_any_scheduler_and_in_one_slot():
    named = [2, 0, 0, 1, np.int64(2)]
    with fleet([1000, 1000, 1000], None) as (dispatcher, _):
        first = dispatcher.run(tasks(5), timeout_s=60, servers=named)
        assert dispatcher.run([], servers=[]) == []
        second = dispatcher.run([ImageTask("late", "x", 1)], timeout_s=60, servers=np.array([1]))
    assert [d.server for d in first + second] == ["s2", "s0", "s0", "s1", "s2", "s1"]
    assert [d.slot for d in first + second] == [0] * 5 + [1]


def test_named_servers_go_before_the_scheduler_and_are_left_if_they_are_out():
    scheduler = Fixed(0)
    with fleet([1000, 1000, 1000], scheduler) as (dispatcher, (_, victim, _)):
        named = dispatcher.run(tasks(2), timeout_s=60, servers=[2, 1])
        victim.dead = True
        lost = dispatcher.run(tasks(3), timeout_s=60, servers=[1, 1, 1])
    assert scheduler.seen == []
    assert [d.server for d in named] == ["s2", "s1"]
    assert all(d.error is None and d.server in ("s0", "s2") for d in lost)


@pytest.mark.parametrize(
    ("servers", "message"),
    [
        ([0], "1 servers were named for 2 tasks"),
        ([0, 2], "server 2 does not exist; the fleet has servers 0 to 1"),
        ([-1, 0], "server -1 does not exist"),
        ([0, 0.5], "servers must be whole numbers"),
        (None, "the dispatcher has no scheduler"),
    ],
)
def test_servers_that_cannot_be_are_refused_before_anything_is_sent(servers, message):
    with fleet([1000, 1000], None) as (dispatcher, edge_servers):
        with pytest.raises(ConfigurationError, match=message):
            dispatcher.submit(tasks(2), servers)
        assert all(server.inner.status().tasks_served == 0 for server in edge_servers)


def test_the_delay_is_the_servers_record_and_little_else():
    with fleet([100]) as (dispatcher, _):
        deliveries = dispatcher.run(tasks(5, steps=20), timeout_s=60)
    for delivery in deliveries:
        assert delivery.service_delay_s >= delivery.record.total_s
        assert delivery.service_delay_s == pytest.approx(delivery.record.total_s, abs=0.25)  # a busy machine


def test_the_scheduler_sees_what_was_sent_before_and_is_not_done():
    scheduler = Fixed(1)
    with fleet([1000, 20], scheduler) as (dispatcher, _):
        first = dispatcher.submit(tasks(3, steps=20))
        until(lambda: dispatcher.queue_s[1] > 0)
        dispatcher.submit([ImageTask("late", "x", 1)])[0].result(60)
        assert all(future.result(60).error is None for future in first)
        assert dispatcher.queue_s == pytest.approx([0.0, 0.0])
    early, late = scheduler.seen
    assert early.queue_gcycles.tolist() == [[0.0, 0.0]]
    assert early.workload_gcycles.sum() == 60 and early.task_counts.tolist() == [[1, 1, 1]]
    # 60 steps were sent to a server that does 20 a second.
    assert 0 < late.queue_gcycles[0, 1] <= 60 and late.queue_gcycles[0, 0] == 0


def test_a_scheduler_with_room_for_few_tasks_decides_in_rounds():
    scheduler = Fixed(0)
    scheduler.num_tasks = 2
    with fleet([1000], scheduler, slots_per_episode=3) as (dispatcher, _):
        deliveries = dispatcher.run(tasks(5 * 3), timeout_s=60)  # five at each of three stations
        dispatcher.run([ImageTask("late", "x", 1)], timeout_s=60)
    assert [seen.task_counts.tolist() for seen in scheduler.seen] == [[[2] * 3], [[2] * 3], [[1] * 3], [[1, 0, 0]]]
    assert [seen.slot for seen in scheduler.seen] == [0, 1, 2, 0]
    assert sorted({d.slot for d in deliveries}) == [0, 1, 2]


def test_tasks_of_a_server_that_loses_its_process_go_to_another_one_once():
    with fleet([50, 1000], Fixed(0)) as (dispatcher, (victim, _)):
        futures = dispatcher.submit(tasks(6, steps=20))
        until(lambda: victim.inner.status().running_step > 0)
        victim.dead = True
        deliveries = [future.result(60) for future in futures]
        assert dispatcher.alive == [False, True]
        later = dispatcher.run([ImageTask("late", "x", 1)], timeout_s=60)[0]
    assert all(d.error is None and d.server == "s1" and d.attempts == 2 for d in deliveries)
    assert (later.server, later.attempts) == ("s1", 1)  # out of the choice at once


def test_a_server_that_hangs_is_noticed_within_two_seconds_and_its_late_answers_are_dropped():
    with fleet([50, 200], Fixed(0)) as (dispatcher, (victim, _)):
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
    with fleet([2, 500], Fixed(0)) as (dispatcher, (victim, _)):
        futures = dispatcher.submit(tasks(5, steps=20))  # ten seconds each on the first server
        victim.hung = True
        assert all(future.result(60).server == "s1" for future in futures)
        victim.release()
        until(lambda: dispatcher.alive[0])
        until(lambda: victim.inner.status().tasks_queued == 0 and victim.inner.status().running_task_id is None)
        assert victim.inner.status().tasks_served == 0


def test_tasks_stay_with_servers_that_all_fall_silent_for_a_while():
    with fleet([100, 100], Fixed(0)) as (dispatcher, servers):
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
    with fleet([100, 100], Fixed(0), patience_s=1.0) as (dispatcher, servers):
        futures = dispatcher.submit(tasks(3, steps=20))
        for server in servers:
            server.hung = True
        deliveries = [future.result(20) for future in futures]
    assert {d.error.name for d in deliveries} == {"server_unavailable"}


def test_a_silent_server_that_was_started_again_has_lost_the_tasks_that_stayed_with_it():
    with fleet([100, 100], Fixed(0), patience_s=60.0) as (dispatcher, servers):
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
    with fleet([50, 200], Fixed(0)) as (dispatcher, (victim, _)):
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
    with fleet([1000, 2], Fixed(0)) as (dispatcher, (victim, slow)):
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


def test_a_full_queue_sends_the_task_to_another_server_and_then_refuses_by_name():
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(emulated(f"s{i}", 10, queue_limit=1)) for i in range(2)]
        dispatcher = stack.enter_context(Dispatcher(servers, network([10, 10]), WORK, Fixed(0)))
        deliveries = dispatcher.run(tasks(6, steps=3), timeout_s=60)
    errors = [d.error.name for d in deliveries if d.error]
    assert len(errors) == 2 and set(errors) == {"queue_full"}  # two run, two wait
    assert {d.server for d in deliveries if not d.error} == {"s0", "s1"}


def test_deadline_invalid_station_repeated_name_and_cancel_end_with_their_names():
    with fleet([20], "random") as (dispatcher, (server,)):
        slow = dispatcher.submit([ImageTask("slow", "x", 1000)])[0]
        until(lambda: server.inner.status().running_task_id == "slow")
        too_late = dispatcher.submit([ImageTask("late", "x", 1, deadline_s=0.05)])[0]
        nowhere = dispatcher.submit([ImageTask("nowhere", "x", 1, station=99)])[0]
        twice = dispatcher.submit([ImageTask("slow", "x", 1)])[0]
        waiting = dispatcher.submit([ImageTask("waiting", "x", 1)])[0]
        dispatcher.cancel("waiting")
        dispatcher.cancel("slow")
        names = [f.result(30).error.name for f in (slow, too_late, nowhere, twice, waiting)]
    assert names == ["cancelled", "deadline_exceeded", "invalid_request", "invalid_request", "cancelled"]


def test_a_task_that_was_cancelled_is_not_tried_again_when_its_server_is_lost():
    with fleet([50, 50], Fixed(0)) as (dispatcher, (victim, other)):
        victim.hung = True
        future = dispatcher.submit([ImageTask("one", "x", 200)])[0]
        dispatcher.cancel("one")
        delivery = future.result(20)
        assert other.inner.status().tasks_served == 0
    assert (delivery.error.name, delivery.attempts) == ("cancelled", 1)


def test_a_cancel_that_overtakes_its_task_is_told_again():
    with fleet([50], Fixed(0)) as (dispatcher, (server,)):
        server.deaf = 2
        future = dispatcher.submit([ImageTask("one", "x", 1000)])[0]
        dispatcher.cancel("one")
        assert future.result(10).error.name == "cancelled"


def test_a_callback_of_a_delivery_may_ask_the_dispatcher_and_hand_in_more():
    with fleet([500], Fixed(0)) as (dispatcher, _):
        more = []

        def on_delivery(future):
            more.append((dispatcher.queue_s[0], dispatcher.submit([ImageTask("second", "x", 2)])[0]))

        dispatcher.submit([ImageTask("first", "x", 2)])[0].add_done_callback(on_delivery)
        until(lambda: more)
        assert more[0][0] == 0.0 and more[0][1].result(20).error is None


def test_a_scheduler_that_raises_loses_no_task():
    class Broken(Fixed):
        def decide(self, tasks, rng):
            raise ValueError("no idea\nwhatsoever")

    with fleet([100], Broken(0)) as (dispatcher, _):
        deliveries = dispatcher.run(tasks(4), timeout_s=30)
    assert {str(d.error) for d in deliveries} == {"the scheduler failed: ValueError: no idea"}


def test_a_scheduler_that_names_a_server_that_does_not_exist_loses_no_task():
    with fleet([100], Fixed(5)) as (dispatcher, _):
        deliveries = dispatcher.run(tasks(4), timeout_s=30)
    assert [d.error.name for d in deliveries] == ["generation_failed"] * 4
    assert "IndexError" in str(deliveries[0].error)


def test_without_any_server_left_a_task_ends_with_server_unavailable():
    with fleet([100, 100], Fixed(0)) as (dispatcher, servers):
        for server in servers:
            server.dead = True
        deliveries = dispatcher.run(tasks(3), timeout_s=30)
    assert {d.error.name for d in deliveries} == {"server_unavailable"}
    assert all(d.attempts <= 2 for d in deliveries)


def test_of_two_hundred_tasks_with_two_faults_in_the_middle_each_ends_exactly_once():
    ended = []
    with fleet([400] * 5, "random") as (dispatcher, servers):
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


def test_closing_ends_what_is_on_its_way_and_refuses_more():
    with fleet([2], "random") as (dispatcher, _):
        future = dispatcher.submit([ImageTask("one", "x", 1000)])[0]
        dispatcher.close()
        assert future.result(5).error.name == "server_unavailable"
        with pytest.raises(ConfigurationError, match="closed"):
            dispatcher.submit(tasks(1))


def test_servers_and_network_must_agree():
    with pytest.raises(ConfigurationError, match="0 edge servers were given, the network has 2"):
        Dispatcher([], network([1, 1]), WORK, Fixed(0))


def test_a_delivery_is_a_row_with_its_record_or_its_error():
    with fleet([1000]) as (dispatcher, _):
        good, bad = dispatcher.run([ImageTask("a", "x", 3), ImageTask("b", "x", 3, station=9)], timeout_s=30)
    assert good.to_dict()["steps_done"] == 3 and good.to_dict()["error"] == ""
    assert bad.to_dict()["error"] == InvalidRequest.name and "station 9 does not exist" in bad.to_dict()["message"]
