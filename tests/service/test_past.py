"""A service learns from the requests that it served what comes; until then its past is made up."""

from dataclasses import replace

import numpy as np
import pytest

from lad_rllib.edge import ImageTask
from lad_rllib.scheduling.request_rules.loaded import LeastWorkLeft
from lad_rllib.service.guarded import GuardedScheduler
from lad_rllib.service.past import AT_LEAST_EVERY, FIRST, KEPT, Past
from tests.service.fleets import dispatched, tasks
from tests.service.test_one_by_one import model_of


class Told(LeastWorkLeft):
    """Least work left that notes which past it is told of."""

    def __init__(self):
        super().__init__()
        self.told, self.handed_over = [], 0

    def __copy__(self):
        anew = Told()
        anew.told, anew.handed_over = self.told, self.handed_over
        return anew

    def begin(self, world, history):
        super().begin(world, history)
        self.told.append(history)
        self.handed_over = 0


class Taught:
    """Stands for a dispatcher, and notes what is taught."""

    def __init__(self):
        self.lessons = []

    def learn(self, history):
        self.lessons.append(history)


@pytest.fixture(scope="module")
def delivery():
    """An image that was delivered."""
    with dispatched([1000], LeastWorkLeft(), requests=model_of([1000])) as (dispatcher, _):
        return dispatcher.run([ImageTask("t", "x", 7, 256, 128)], timeout_s=60)[0]


def served(delivery, number):
    """The same image for many requests, one every two seconds."""
    return [replace(delivery, arrival_s=2.0 * k, task=replace(delivery.task, task_id=f"t{k}")) for k in range(number)]


def test_lessons_become_rarer_and_are_of_the_latest_requests_in_order_of_arrival(delivery):
    taught = Taught()
    past = Past(taught)
    for one in reversed(served(delivery, FIRST - 1)):
        past(one)
    assert taught.lessons == []
    for one in served(delivery, 4500):
        past(one)
    lengths = [len(history) for history in taught.lessons]
    assert lengths == [min(KEPT, n) for n in (100, 200, 400, 800, 1600, 2600, 3600)]
    assert max(np.diff(lengths)) <= AT_LEAST_EVERY and taught.lessons[-1].arrival_s[:3].tolist() == [0.0, 2.0, 4.0]
    first = taught.lessons[0]
    assert (first.steps[0], first.width[0], first.height[0]) == (7, 256, 128)


def test_requests_without_an_image_teach_nothing(delivery):
    taught = Taught()
    past = Past(taught)
    for one in served(replace(delivery, record=None), 2 * FIRST):
        past(one)
    assert taught.lessons == []


def test_a_scheduler_begins_anew_with_the_past_and_loses_no_task():
    speeds, told = [200, 100], Told()
    with dispatched(speeds, told, requests=model_of(speeds)) as (dispatcher, _):
        made_up = told.told[-1]
        waiting = dispatcher.submit(tasks(4, steps=10))
        dispatcher.learn(made_up[:1])
        assert len(told.told[-1]) == 1 and dispatcher.scheduler is not told
        later = dispatcher.run([ImageTask("later", "x", 1)], timeout_s=60)
        assert [one.result(60).error for one in waiting] + [later[0].error] == [None] * 5
        dispatcher.swap(Told())
        assert len(dispatcher.scheduler.told[-1]) == 1  # what is known now, not at the start


def test_schedulers_of_slots_know_no_past():
    with dispatched([100, 100], "least-loaded-exact") as (dispatcher, _):
        before = dispatcher.scheduler
        dispatcher.learn(model_of([100, 100]).history)
        assert dispatcher.scheduler is before


def test_requests_that_a_policy_handed_over_are_counted_on_when_it_begins_anew():
    policy, world = Told(), model_of([100, 100])
    guarded = GuardedScheduler(policy, "told")
    guarded.begin(world.world, world.history)
    policy.handed_over = 3
    assert guarded.handed_over == 3
    guarded.begin(world.world, world.history)
    assert guarded.handed_over == 3
    policy.handed_over = 2
    assert guarded.__copy__().handed_over == 5


def test_service_times_are_predicted_as_before():
    before = model_of([100, 50])
    after = before.with_history(before.history[:1])
    task = ImageTask("t", "x", 10)
    assert np.array_equal(after.service_s(task), before.service_s(task)) and len(after.history) == 1


def test_what_was_learned_is_kept_and_the_next_process_goes_on_with_it(delivery):
    kept, first = [], Taught()
    past = Past(first, keep=kept.append)
    for one in served(delivery, 250):
        past(one)
    assert [len(latest) for latest in kept] == [100, 200]
    assert not any(one.png or one.more_pngs for one in kept[-1])
    taught = Taught()
    past = Past(taught, kept[-1])
    for one in served(delivery, 500)[200:]:
        past(one)
    assert [len(history) for history in taught.lessons] == [200, 400]
    assert np.array_equal(taught.lessons[0].arrival_s, first.lessons[-1].arrival_s)
