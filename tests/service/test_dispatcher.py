"""Every task ends exactly once, whatever its servers do."""

import contextlib
from types import SimpleNamespace

import numpy as np
import pytest

from lad_rllib.edge import ImageTask, InvalidRequest
from lad_rllib.errors import ConfigurationError
from lad_rllib.service import Dispatcher
from lad_rllib.service.in_flight import Attempt, InFlightTask
from tests.service.fleets import WORK, Fixed, dispatched, emulated, network, running_at, tasks, until


def test_every_task_gets_an_image_from_the_server_that_the_scheduler_chose():
    with dispatched([500, 1000, 2000], "round-robin") as (dispatcher, _):
        deliveries = dispatcher.run(tasks(30), timeout_s=60)
    assert [d.task.task_id for d in deliveries] == [f"task-{i}" for i in range(30)]
    assert all(d.error is None and d.attempts == 1 and d.record.server == d.server for d in deliveries)
    # Station b starts with server b, and goes on with the next one for each task.
    assert [d.server for d in deliveries] == [f"s{(d.task.station + i // 3) % 3}" for i, d in enumerate(deliveries)]


def test_named_servers_get_their_tasks_without_any_scheduler_and_in_one_slot():
    named = [2, 0, 0, 1, np.int64(2)]
    with dispatched([1000, 1000, 1000], None) as (dispatcher, _):
        first = dispatcher.run(tasks(5), timeout_s=60, servers=named)
        assert dispatcher.run([], servers=[]) == []
        second = dispatcher.run([ImageTask("late", "x", 1)], timeout_s=60, servers=np.array([1]))
    assert [d.server for d in first + second] == ["s2", "s0", "s0", "s1", "s2", "s1"]
    assert [d.slot for d in first + second] == [0] * 5 + [1]


def test_named_servers_go_before_the_scheduler_and_are_left_if_they_are_out():
    scheduler = Fixed(0)
    with dispatched([1000, 1000, 1000], scheduler) as (dispatcher, (_, victim, _)):
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
    with dispatched([1000, 1000], None) as (dispatcher, edge_servers):
        with pytest.raises(ConfigurationError, match=message):
            dispatcher.submit(tasks(2), servers)
        assert all(server.inner.status().tasks_served == 0 for server in edge_servers)


def test_the_delay_is_the_servers_record_and_little_else():
    with dispatched([100]) as (dispatcher, _):
        deliveries = dispatcher.run(tasks(5, steps=20), timeout_s=60)
    for delivery in deliveries:
        assert delivery.service_delay_s >= delivery.record.total_s
        assert delivery.service_delay_s == pytest.approx(delivery.record.total_s, abs=0.25)  # a busy machine


def test_the_scheduler_sees_what_was_sent_before_and_is_not_done():
    scheduler = Fixed(1)
    with dispatched([1000, 20], scheduler) as (dispatcher, _):
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
    with dispatched([1000], scheduler, slots_per_episode=3) as (dispatcher, _):
        deliveries = dispatcher.run(tasks(5 * 3), timeout_s=60)  # five at each of three stations
        dispatcher.run([ImageTask("late", "x", 1)], timeout_s=60)
    assert [seen.task_counts.tolist() for seen in scheduler.seen] == [[[2] * 3], [[2] * 3], [[1] * 3], [[1, 0, 0]]]
    assert [seen.slot for seen in scheduler.seen] == [0, 1, 2, 0]
    assert sorted({d.slot for d in deliveries}) == [0, 1, 2]


class Warmed(Fixed):
    """A scheduler that notes what it is asked, and when it begins anew."""

    num_tasks = 2

    def __init__(self, error=None):
        super().__init__(0)
        self.error, self.heard = error, []

    def reset(self, num_episodes):
        self.heard.append("reset")

    def decide(self, tasks, rng):
        self.heard.append((tasks.task_counts.tolist(), rng.integers(1000)))
        if self.error is not None:
            raise self.error
        return super().decide(tasks, rng)


def test_a_scheduler_has_decided_for_a_full_slot_and_begun_anew_before_the_first_task():
    scheduler = Warmed()
    with dispatched([1000], scheduler) as (dispatcher, _):
        assert scheduler.heard == ["reset", ([[2] * 3], np.random.default_rng(0).integers(1000)), "reset"]
        dispatcher.run(tasks(1), timeout_s=20)
        assert scheduler.heard[3:] == [([[1, 0, 0]], np.random.default_rng(1).integers(1000))]  # the run's own draws


def test_a_scheduler_that_fails_in_its_warm_up_fails_its_tasks_and_one_that_does_not_fit_is_refused():
    with dispatched([1000], Warmed(ValueError("odd"))) as (dispatcher, _):
        assert "the scheduler failed: ValueError: odd" in str(dispatcher.run(tasks(1), timeout_s=20)[0].error)
    with pytest.raises(ConfigurationError, match="not for this fleet"):
        Dispatcher([SimpleNamespace(name="s0")], network([1]), WORK, Warmed(ConfigurationError("not for this fleet")))


def test_what_finds_full_queues_goes_to_another_server_or_waits_for_room():
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(emulated(f"s{i}", 10, queue_limit=1)) for i in range(2)]
        dispatcher = stack.enter_context(Dispatcher(servers, network([10, 10]), WORK, Fixed(0)))
        futures = dispatcher.submit(tasks(6, steps=3))
        until(lambda: sum(load.backlog.tasks_held for load in dispatcher.loads) == 2)  # two run, two wait
        deliveries = [future.result(60) for future in futures]
    assert [(d.error, d.attempts) for d in deliveries] == [(None, 1)] * 6
    assert {d.server for d in deliveries} == {"s0", "s1"}


def test_deadline_invalid_station_repeated_name_and_cancel_end_with_their_names():
    with dispatched([20], "random") as (dispatcher, (server,)):
        slow = dispatcher.submit([ImageTask("slow", "x", 1000)])[0]
        until(lambda: running_at(server.inner) == "slow")
        too_late = dispatcher.submit([ImageTask("late", "x", 1, deadline_s=0.05)])[0]
        nowhere = dispatcher.submit([ImageTask("nowhere", "x", 1, station=99)])[0]
        twice = dispatcher.submit([ImageTask("slow", "x", 1)])[0]
        waiting = dispatcher.submit([ImageTask("waiting", "x", 1)])[0]
        dispatcher.cancel("waiting")
        dispatcher.cancel("slow")
        names = [f.result(30).error.name for f in (slow, too_late, nowhere, twice, waiting)]
    assert names == ["cancelled", "deadline_exceeded", "invalid_request", "invalid_request", "cancelled"]


def test_clients_that_share_servers_may_name_their_tasks_alike():
    with emulated("s0", 500) as server:
        network_of_one = network([500])
        with (
            Dispatcher([server], network_of_one, WORK, Fixed(0)) as one,
            Dispatcher([server], network_of_one, WORK, Fixed(0)) as other,
        ):
            futures = [dispatcher.submit(tasks(5, steps=10)) for dispatcher in (one, other)]
            until(lambda: running_at(server) == "task-0")
            one.cancel("task-4")
            deliveries = [[future.result(20) for future in own] for own in futures]
    assert [d.error for d in deliveries[0][:4] + deliveries[1]] == [None] * 9
    assert [d.record.task_id for d in deliveries[1]] == [f"task-{i}" for i in range(5)]
    cancelled = deliveries[0][4].error
    assert str(cancelled) == "task task-4 was cancelled" and cancelled.task_id == "task-4"


def test_a_cancel_that_overtakes_its_task_is_told_again():
    with dispatched([50], Fixed(0)) as (dispatcher, (server,)):
        server.deaf = 2
        future = dispatcher.submit([ImageTask("one", "x", 1000)])[0]
        dispatcher.cancel("one")
        assert future.result(10).error.name == "cancelled"


def test_a_callback_of_a_delivery_may_ask_the_dispatcher_and_hand_in_more():
    with dispatched([500], Fixed(0)) as (dispatcher, _):
        more = []

        def on_delivery(future):
            more.append((dispatcher.queue_s[0], dispatcher.submit([ImageTask("second", "x", 2)])[0]))

        dispatcher.submit([ImageTask("first", "x", 2)])[0].add_done_callback(on_delivery)
        until(lambda: more)
        assert more[0][0] == 0.0 and more[0][1].result(20).error is None


class Broken(Fixed):
    def decide(self, tasks, rng):
        raise ValueError("no idea\nwhatsoever")


class Odd(Fixed):
    def __init__(self, decision):
        super().__init__(0)
        self.decision = decision

    def decide(self, tasks, rng):
        return self.decision


@pytest.mark.parametrize(
    ("scheduler", "error"),
    [
        (Broken(0), "ValueError: no idea"),
        (Fixed(5), "ValueError: it chose server 5; the fleet has servers 0 to 0"),
        (Fixed(-1), "ValueError: it chose server -1"),
        (Fixed(float("nan")), "ValueError: servers must be whole numbers, it chose float64"),
        (Fixed(True), "ValueError: servers must be whole numbers, it chose bool"),
        (Odd(np.zeros((1, 9, 9), int)), "ValueError: it chose servers of shape"),
        (Odd([[0, 0]]), "ValueError: it chose servers of shape"),
        (Odd(None), "ValueError: it chose servers of shape"),
    ],
)
def test_a_scheduler_that_raises_or_names_a_server_that_does_not_exist_loses_no_task(scheduler, error):
    with dispatched([100], scheduler) as (dispatcher, _):
        deliveries = dispatcher.run(tasks(4), timeout_s=30)
    assert [d.error.name for d in deliveries] == ["generation_failed"] * 4
    assert {str(d.error).startswith(f"the scheduler failed: {error}") for d in deliveries} == {True}


def test_closing_ends_what_is_on_its_way_and_refuses_more():
    with dispatched([2], "random") as (dispatcher, _):
        future = dispatcher.submit([ImageTask("one", "x", 1000)])[0]
        dispatcher.close()
        assert future.result(5).error.name == "server_unavailable"
        with pytest.raises(ConfigurationError, match="closed"):
            dispatcher.submit(tasks(1))


def test_servers_and_network_must_agree():
    with pytest.raises(ConfigurationError, match="0 edge servers were given, the network has 2"):
        Dispatcher([], network([1, 1]), WORK, Fixed(0))


def test_a_delivery_is_a_row_with_its_record_or_its_error():
    with dispatched([1000]) as (dispatcher, _):
        good, bad = dispatcher.run([ImageTask("a", "x", 3), ImageTask("b", "x", 3, station=9)], timeout_s=30)
    assert good.to_dict()["steps_done"] == 3 and good.to_dict()["error"] == ""
    assert bad.to_dict()["error"] == InvalidRequest.name and "station 9 does not exist" in bad.to_dict()["message"]


def test_what_a_late_thread_asks_of_a_closed_dispatcher_is_dropped_without_an_error():
    with dispatched([1000], None) as (dispatcher, (server,)):
        future = dispatcher.submit(tasks(1), [0])[0]
    called = []
    server.cancel = called.append
    entry = InFlightTask(tasks(1)[0], 0.0, 0, None, future)
    dispatcher._loop._canceller.cancel(Attempt(entry, 0))
    dispatcher._loop._canceller._pool.shutdown(wait=True)
    assert called == []
