"""A policy that is tried: beside the one in charge without effect, or for a share of the tasks."""

import copy
import threading
import time

import numpy as np
import pytest

from lad_rllib.service.beside import WAITING, Beside
from lad_rllib.service.decision import DecidedBy
from lad_rllib.service.guarded import GuardedScheduler
from lad_rllib.service.trying import ShadowedScheduler, SplitScheduler
from tests.service.fleets import dispatched, tasks, until
from tests.service.test_guarded import Odd, failure, nonsense
from tests.service.test_one_by_one import model_of


def named(does, name, fingerprint=""):
    """A guarded policy of that name."""
    scheduler = Odd(does)
    scheduler.fingerprint = fingerprint
    return GuardedScheduler(scheduler, name)


def begun(scheduler, speeds=(200, 100)):
    """The scheduler, begun on servers of these speeds, and a view of them."""
    model = model_of(speeds)
    scheduler.begin(model.world, model.history)
    return scheduler, model.idle_view()


def test_the_candidate_decides_for_its_share_and_always_for_the_same_tasks():
    split, view = begun(SplitScheduler(named(lambda: 0, "old", "aa"), named(lambda: 1, "new", "bb"), 0.2))
    rng = np.random.default_rng(0)
    names = [f"img-{number}" for number in range(2000)]
    decisions = [split.decide(name, view, rng) for name in names]
    share = np.mean([decision.by == DecidedBy("new", "bb") for decision in decisions])
    assert share == pytest.approx(0.2, abs=0.03)
    assert all(decision.server == (decision.by.policy == "new") for decision in decisions)
    again, _ = begun(copy.copy(split))
    assert [again.decide(name, view, rng) for name in names] == decisions
    assert split.shares == {"old": 0.8, "new": pytest.approx(0.2)} and split.in_charge.name == "old"
    other = SplitScheduler(split.in_charge, named(lambda: 1, "new", "cc"), 0.2)
    assert sum(other.is_for_candidate(name) != split.is_for_candidate(name) for name in names) > 100


def test_a_candidate_that_fails_harms_no_task_and_is_left():
    split, view = begun(SplitScheduler(named(lambda: 1, "old"), named(failure, "new"), 0.5))
    decisions = [split.decide(f"t{number}", view, np.random.default_rng(0)) for number in range(40)]
    assert split.candidate.left and {decision.by.policy for decision in decisions} == {"old", "least-work-left"}
    assert split.shares == {"old": 0.5, "least-work-left": 0.5}


def test_a_candidate_that_cannot_begin_is_left_and_the_present_policy_decides():
    class Narrow(Odd):
        def begin(self, world, history):
            raise ValueError("for five servers only")

    split, view = begun(SplitScheduler(named(lambda: 1, "old"), GuardedScheduler(Narrow(), "new"), 0.5))
    assert "for five servers only" in split.candidate.left
    assert split.decide("t", view, np.random.default_rng(0)).server in (0, 1)


def test_beside_the_policy_in_charge_another_decides_without_effect():
    beside = Beside(Odd(lambda: 0))
    shadowed, view = begun(ShadowedScheduler(named(lambda: 1, "old", "aa"), beside))
    rng = np.random.default_rng(0)
    assert [shadowed.decide(f"t{number}", view, rng) for number in range(9)] == [(1, ("old", "aa"))] * 9
    until(lambda: beside.figures().decisions == 9)
    figures = beside.figures()
    assert (figures.failures, figures.left_out, figures.agreed) == (0, 0, 0.0)
    assert figures.own_s == pytest.approx(0.1) and figures.other_s == pytest.approx(0.2)  # 20 steps
    assert 0 < figures.median_s <= figures.p99_s and shadowed.shares == {"old": 1.0}
    beside.close()


@pytest.mark.parametrize(("does", "why"), [(failure, "no speed"), (nonsense, "server 7")])
def test_its_failures_are_counted(does, why):
    beside = Beside(Odd(does))
    shadowed, view = begun(ShadowedScheduler(named(lambda: 1, "old"), beside))
    for number in range(4):
        shadowed.decide(f"t{number}", view, np.random.default_rng(0))
    until(lambda: beside.figures().failures == 4)
    assert why in beside.figures().reason and beside.figures().decisions == 0
    beside.close()


def test_one_that_hangs_delays_nothing_and_is_left_out():
    go_on = threading.Event()
    beside = Beside(Odd(lambda: go_on.wait(20) and 1))
    shadowed, view = begun(ShadowedScheduler(named(lambda: 1, "old"), beside))
    start = time.perf_counter()
    for number in range(WAITING + 10):
        shadowed.decide(f"t{number}", view, np.random.default_rng(0))
    assert time.perf_counter() - start < 5.0
    assert beside.figures().left_out >= 9
    beside.close()
    go_on.set()


def test_it_follows_a_fleet_that_changes_and_a_delivery_says_who_decided():
    beside = Beside(Odd(lambda: 0))
    shadowed = ShadowedScheduler(named(lambda: 1, "old", "aa"), beside)
    with dispatched([2000, 1000], shadowed, requests=model_of([2000, 1000])) as (dispatcher, _):
        first = dispatcher.run(tasks(3), 30)
        dispatcher.remove("s0")
        assert isinstance(dispatcher.scheduler, ShadowedScheduler) and dispatcher.scheduler is not shadowed
        dispatcher.swap(SplitScheduler(copy.copy(shadowed.in_charge), named(lambda: 0, "new", "bb"), 0.99))
        second = dispatcher.run(tasks(3), 30)
    assert {delivery.decided_by for delivery in first} == {DecidedBy("old", "aa")}
    assert {delivery.decided_by.policy for delivery in second} <= {"new", "least-work-left"}
    until(lambda: beside.figures().decisions == 3)
    beside.close()
