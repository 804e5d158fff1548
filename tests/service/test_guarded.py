"""A policy that fails or is slow is left for least-work-left, and says so once."""

import copy
import time

import numpy as np
import pytest

from lad_rllib.scheduling.request_scheduler import RequestScheduler
from lad_rllib.service import RequestModel
from lad_rllib.service.guarded import FAILURES, LATEST, GuardedScheduler
from tests.service.test_one_by_one import model_of


class Odd(RequestScheduler):
    """Chooses the last server, or does what it is told to do instead."""

    def __init__(self, does=lambda: 1):
        self.does, self.began = does, 0

    def begin(self, world, history):
        """See :class:`RequestScheduler`."""
        self.began += 1

    def choose(self, view, rng):
        """See :class:`RequestScheduler`."""
        return self.does()


def guarded(does):
    """A guarded policy that has begun on two servers, the first the faster one, and a view of them."""
    model: RequestModel = model_of([200, 100])
    scheduler = GuardedScheduler(Odd(does), "odd")
    scheduler.begin(model.world, model.history)
    return scheduler, model.idle_view()


def choices(scheduler, view, number):
    """So many decisions."""
    return [scheduler.choose(view, np.random.default_rng(0)) for _ in range(number)]


def test_a_policy_that_works_decides():
    scheduler, view = guarded(lambda: 1)
    assert choices(scheduler, view, 50) == [1] * 50
    assert (scheduler.left, scheduler.decides) == ("", "odd")


def nonsense():
    """A server that does not exist."""
    return 7


def failure():
    """What a broken policy does."""
    raise ZeroDivisionError("no speed")


def slowness():
    """Too much to do."""
    time.sleep(0.006)
    return 1


@pytest.mark.parametrize(
    ("does", "after", "why"),
    [(failure, FAILURES, "no speed"), (nonsense, FAILURES, "server 7"), (slowness, LATEST, "more than 5 ms")],
)
def test_one_that_fails_or_is_slow_is_left_with_one_warning(does, after, why, caplog):
    scheduler, view = guarded(does)
    choices(scheduler, view, after - 1)
    assert scheduler.decides == "odd"
    choices(scheduler, view, 1)
    assert scheduler.decides == "least-work-left" and why in scheduler.left
    assert choices(scheduler, view, 3) == [0] * 3
    assert [why in record.message for record in caplog.records] == [True]


def test_requests_at_which_it_fails_go_where_least_work_is_left():
    answers = iter([1, nonsense(), 1])
    scheduler, view = guarded(lambda: next(answers))
    assert choices(scheduler, view, 3) == [1, 0, 1]
    assert not scheduler.left


def test_a_copy_begins_without_the_one_that_decides_and_knows_that_it_was_left():
    scheduler, view = guarded(failure)
    anew, model = copy.copy(scheduler), model_of([1, 2, 3])
    anew.begin(model.world, model.history)
    assert scheduler._scheduler.began == 1
    choices(scheduler, view, FAILURES)
    assert copy.copy(scheduler).left == scheduler.left
