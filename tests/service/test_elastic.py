"""Servers come, drain and go while a dispatcher serves, and schedulers are swapped: no task is lost or served twice."""

import contextlib
import random
import threading
import time
from collections import Counter
from unittest.mock import patch

import pytest

from lad_rllib.api import ApiSettings
from lad_rllib.api.admission import Admission
from lad_rllib.edge import ImageTask
from lad_rllib.errors import ConfigurationError
from lad_rllib.scheduling import make_heuristic
from lad_rllib.scheduling.request_rules.intervals import SizeIntervalsEqualLoad
from lad_rllib.scheduling.request_rules.loaded import JoinShortestQueue, LeastWorkLeft
from lad_rllib.scheduling.request_scheduler import RequestScheduler
from lad_rllib.service import Dispatcher
from lad_rllib.simulator.requests import LinearService, RequestServer
from tests.service.fleets import WORK, Fixed, Wrapped, dispatched, emulated, network, running_at, tasks, until
from tests.service.test_one_by_one import Actor, model_of


def profile(name, steps_per_s):
    """A server without overhead, as the simulator has it."""
    return RequestServer(name, {"": LinearService(per_step_s=1 / steps_per_s, guidance_factor=1.0)})


@contextlib.contextmanager
def elastic(speeds, scheduler, **settings):
    """A dispatcher that decides request by request, and a function that lets a server of some speed join."""
    with contextlib.ExitStack() as stack:
        dispatcher, servers = stack.enter_context(
            dispatched(speeds, scheduler, **({"requests": model_of(speeds)} | settings))
        )

        def join(name, steps_per_s):
            server = Wrapped(stack.enter_context(emulated(name, steps_per_s)))
            dispatcher.add(server, profile(name, steps_per_s))
            return server

        yield dispatcher, servers, join


def names_of(dispatcher):
    """The servers of the fleet."""
    return [load.name for load in dispatcher.loads]


@pytest.mark.parametrize("scheduler", [LeastWorkLeft, Actor])
def test_a_server_that_joins_is_predicted_and_chosen_from_the_next_decision_on(scheduler):
    with elastic([100, 50], scheduler()) as (dispatcher, _, join):
        before = dispatcher.view(ImageTask("t", "x", 10)).service_s.tolist()
        join("new", 1000)
        assert dispatcher.view(ImageTask("t", "x", 10)).service_s.tolist() == [*before, pytest.approx(0.01)]
        deliveries = dispatcher.run(tasks(30, steps=20), timeout_s=60)
        assert names_of(dispatcher) == ["s0", "s1", "new"] and len(dispatcher.queue_s) == 3
    assert Counter(d.server for d in deliveries).most_common(1)[0][0] == "new"
    assert [d.error for d in deliveries] == [None] * 30


def test_a_server_that_drains_serves_what_it_has_and_gets_nothing_new():
    with elastic([40, 40], LeastWorkLeft()) as (dispatcher, servers, _):
        futures = dispatcher.submit(tasks(6, steps=20))
        idle = dispatcher.drain("s0")
        later = dispatcher.submit([ImageTask(f"late-{i}", "x", 1) for i in range(4)])
        assert dispatcher.loads[0].state == "draining" and not dispatcher.view(ImageTask("t", "x", 1)).up[0]
        idle.result(60)
        assert Counter(f.result(60).server for f in futures) == {"s0": 3, "s1": 3}
        assert {f.result(60).server for f in later} == {"s1"}
        assert servers[0].inner.status().tasks_served == 3
        dispatcher.remove("s0")
        assert names_of(dispatcher) == ["s1"]
    assert max(f.result().attempts for f in futures) == 1


def test_tasks_that_wait_for_room_at_a_server_that_drains_go_to_others_or_stay_if_there_is_none():
    with contextlib.ExitStack() as stack:
        small = stack.enter_context(emulated("s0", 100, queue_limit=1))
        dispatcher = stack.enter_context(Dispatcher([small], network([100]), WORK, Fixed(0)))
        futures = dispatcher.submit(tasks(8, steps=10))
        until(lambda: dispatcher.loads[0].backlog.tasks_held == 6)
        idle = dispatcher.drain("s0")
        assert [f.result(60).server for f in futures] == ["s0"] * 8
        idle.result(60)


def test_tasks_of_a_server_that_is_removed_go_to_others_and_leave_it():
    with elastic([2, 200], LeastWorkLeft()) as (dispatcher, (slow, _), _):
        futures = dispatcher.submit(tasks(6, steps=20), servers=[0] * 6)  # ten seconds each
        until(lambda: running_at(slow.inner) is not None)
        assert dispatcher.remove("s0") is slow
        assert [f.result(60).server for f in futures] == ["s1"] * 6
        until(lambda: running_at(slow.inner) is None and not slow.inner.status().tasks_queued)
        assert slow.inner.status().tasks_served == 0
        asked = slow.asked
        time.sleep(0.7)
        assert slow.asked <= asked + 1  # nobody watches it any more
    assert [f.result().attempts for f in futures] == [2] * 6


def test_the_image_of_a_server_that_was_removed_counts_if_it_comes_first():
    with elastic([1000, 2], LeastWorkLeft()) as (dispatcher, (victim, slow), _):
        victim.hung = True  # it works on, and its answer is on its way
        future = dispatcher.submit([ImageTask("one", "x", 200)], servers=[0])[0]
        until(lambda: victim.held)
        dispatcher.remove("s0")
        until(lambda: running_at(slow.inner) == "one")
        victim.release()
        delivery = future.result(10)
        until(lambda: running_at(slow.inner) is None)
    assert (delivery.server, delivery.error) == ("s0", None)


def test_one_server_can_be_replaced_by_another_under_load():
    with elastic([50], LeastWorkLeft()) as (dispatcher, _, join):
        futures = dispatcher.submit(tasks(10, steps=20))
        join("better", 1000)
        dispatcher.remove("s0")
        deliveries = [f.result(60) for f in futures]
        assert len(dispatcher._loop._servers) == 1  # what left is forgotten
    assert [d.error for d in deliveries] == [None] * 10 and deliveries[-1].server == "better"


@pytest.mark.parametrize("seed", range(4))
def test_a_fleet_that_changes_at_random_under_load_loses_no_task_and_delivers_none_twice(seed):
    chance, ended, total = random.Random(seed), Counter(), 300
    with elastic([400, 800], JoinShortestQueue(), patience_s=60.0) as (dispatcher, servers, join):
        there, number = {"s0": servers[0], "s1": servers[1]}, 0

        def hand_in():
            for i in range(total):
                dispatcher.submit([ImageTask(f"task-{i}", "x", chance.randint(1, 20))])[0].add_done_callback(
                    lambda f: ended.update([(f.result().task.task_id, f.result().error and f.result().error.name)])
                )
                time.sleep(0.003)

        thread = threading.Thread(target=hand_in)
        thread.start()
        while thread.is_alive():
            what = chance.choice(["add", "drain", "remove", "kill", "swap"])
            if what == "add" and len(there) < 6:
                number += 1
                there[f"n{number}"] = join(f"n{number}", chance.choice([300, 900]))
            elif what == "drain" and len(there) > 2:
                dispatcher.drain(chance.choice(list(there)))
            elif what == "swap":
                dispatcher.swap(chance.choice([LeastWorkLeft, JoinShortestQueue, SizeIntervalsEqualLoad])())
            elif len(there) > 2:
                name = chance.choice(list(there))
                there.pop(name).dead = what == "kill"
                dispatcher.remove(name)
            time.sleep(0.02)
        thread.join()
        join("last", 2000)
        until(lambda: sum(ended.values()) == total, 60)
        assert set(names_of(dispatcher)) == {*there, "last"}
        until(lambda: len(dispatcher._loop._servers) == len(there) + 1)
        assert dispatcher.queue_s.tolist() == [0.0] * (len(there) + 1)
    assert ended == {(f"task-{i}", None): 1 for i in range(total)}


class OfThree(RequestScheduler):
    """A scheduler that is tied to three servers."""

    def begin(self, world, history):
        """Refuse any other fleet."""
        if world.num_servers != 3:
            raise ConfigurationError(f"three servers are needed, there are {world.num_servers}")

    def choose(self, view, rng):
        """See :class:`RequestScheduler`."""
        return 2


@pytest.mark.parametrize("scheduler", [OfThree(), "greedy-oracle"])
def test_a_scheduler_that_cannot_follow_is_left_for_least_work_left_with_one_warning(scheduler, caplog):
    with elastic([100, 100, 100], scheduler) as (dispatcher, _, join):
        assert dispatcher.run([ImageTask("a", "x", 1)], timeout_s=60)[0].error is None
        join("new", 1000)
        join("newer", 1000)
        assert isinstance(dispatcher.scheduler, LeastWorkLeft)
        assert [d.error for d in dispatcher.run(tasks(5), timeout_s=60)] == [None] * 5
        with pytest.raises(ConfigurationError, match="decides slot by slot"):
            dispatcher.swap(make_heuristic("greedy-oracle"))
    assert [record.message.count("least-work-left decides from now on") for record in caplog.records] == [1]


def test_a_scheduler_is_swapped_between_two_decisions():
    with elastic([100, 100], LeastWorkLeft()) as (dispatcher, _, _):
        dispatcher.swap(Fixed(1))
        assert {d.server for d in dispatcher.run(tasks(8), timeout_s=60)} == {"s1"}
        with pytest.raises(ConfigurationError, match="three servers"):
            dispatcher.swap(OfThree())
        assert {d.server for d in dispatcher.run(tasks(8), timeout_s=60)} == {"s1"}


def test_a_prediction_for_a_client_is_of_the_servers_of_one_moment():
    with elastic([100, 50, 20], LeastWorkLeft()) as (dispatcher, _, _):
        leaving, look = ["s1"], dispatcher.view

        def view(task):
            seen = look(task)
            for name in leaving:
                leaving.remove(name)
                dispatcher.remove(name)  # between what is predicted and for whom
            return seen

        with patch.object(dispatcher, "view", view):
            prediction = Admission(dispatcher, ApiSettings()).predict(ImageTask("t", "x", 10))
    assert prediction.servers == ("s0", "s2") and prediction.service_s.tolist() == pytest.approx([0.1, 0.5])


def test_mistakes_are_named():
    with elastic([100], LeastWorkLeft()) as (dispatcher, _, join):
        with pytest.raises(ConfigurationError, match="s0 is the only server"):
            dispatcher.remove("s0")
        with pytest.raises(ConfigurationError, match="no server 's7'; there are s0"):
            dispatcher.drain("s7")
        with pytest.raises(ConfigurationError, match="is called s0 already"):
            join("s0", 100)


def test_progress_says_where_a_task_is():
    with elastic([20], LeastWorkLeft()) as (dispatcher, (server,), _):
        futures = dispatcher.submit(tasks(3, steps=20))  # a second each
        until(lambda: dispatcher.progress("task-0").step > 2)
        first, last = dispatcher.progress("task-0"), dispatcher.progress("task-2")
        assert (first.state, first.server, first.of, first.position) == ("running", "s0", 20, 0)
        assert (last.state, last.server, last.step, last.position) == ("queued", "s0", 0, 2)
        assert last.start_s == pytest.approx(1.5, abs=1.0)
        server.hung = True
        until(lambda: not dispatcher.servers_up[0])
        assert dispatcher.progress("task-2").state == "waiting"
        assert dispatcher.progress("nothing").state == "unknown"
        for future in futures:
            future.cancel()
