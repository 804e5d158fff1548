"""Tasks that are let in or refused on what they would meet."""

import threading
from concurrent.futures import CancelledError

import pytest

from lad_rllib.edge import ImageTask
from lad_rllib.errors import ConfigurationError
from lad_rllib.scheduling.request_rules.loaded import LeastWorkLeft
from tests.service.fleets import dispatched, tasks
from tests.service.test_elastic import elastic

WAIT_S = 60


def test_each_task_meets_those_that_were_let_in_before_it():
    with elastic([20], LeastWorkLeft()) as (dispatcher, _, _):
        met = [dispatcher.admit(task, lambda _, view: int(view.tasks[0])) for task in tasks(4, steps=100)]
        assert [one.result(WAIT_S) for one in met] == [0, 1, 2, 3]


def test_a_task_that_is_let_in_is_served_once():
    with elastic([1000], LeastWorkLeft()) as (dispatcher, _, _):
        [task] = tasks(1)
        delivery = dispatcher.admit(task, lambda handle, _: handle).result(WAIT_S).result(WAIT_S)
        assert (delivery.error, delivery.server, delivery.attempts) == (None, "s0", 1)


def test_a_task_that_is_refused_is_sent_nowhere_and_leaves_nothing():
    with elastic([1000], LeastWorkLeft()) as (dispatcher, _, _):
        [task] = tasks(1)

        def refuse(handle, view):
            raise ValueError("too many")

        with pytest.raises(ValueError, match="too many"):
            dispatcher.admit(task, refuse).result(WAIT_S)
        assert dispatcher.view(task).tasks.tolist() == [0] and dispatcher.progress(task.task_id).state == "unknown"
        assert dispatcher.run([task], WAIT_S)[0].error is None  # its name is free


def test_a_task_that_is_withdrawn_before_its_turn_is_not_looked_at():
    with elastic([1000], LeastWorkLeft()) as (dispatcher, _, _):
        first, second, third = tasks(3)
        begun, goes_on, looked_at = threading.Event(), threading.Event(), []

        def wait(handle, view):
            begun.set()
            goes_on.wait(WAIT_S)

        dispatcher.admit(first, wait)
        assert begun.wait(WAIT_S)
        waiting = dispatcher.admit(second, lambda handle, view: looked_at.append("second"))
        assert waiting.cancel()
        last = dispatcher.admit(third, lambda handle, view: looked_at.append("third"))
        goes_on.set()
        last.result(WAIT_S)
        assert looked_at == ["third"]
        with pytest.raises(CancelledError):
            waiting.result(0)


def test_a_task_that_no_server_can_serve_ends_with_a_named_error():
    with elastic([1000], LeastWorkLeft()) as (dispatcher, _, _):
        handle = dispatcher.admit(ImageTask("t", "x", 1, station=99), lambda handle, _: handle).result(WAIT_S)
        assert handle.result(WAIT_S).error.name == "invalid_request"


def test_nothing_is_let_in_without_a_scheduler_or_once_it_is_closed():
    [task] = tasks(1)
    with elastic([1000], LeastWorkLeft()) as (dispatcher, _, _):
        dispatcher.close()
        with pytest.raises(ConfigurationError, match="closed"):
            dispatcher.admit(task, lambda handle, view: handle)
    with dispatched([1000], None) as (idle, _), pytest.raises(ConfigurationError, match="no scheduler"):
        idle.admit(task, lambda handle, view: handle)
