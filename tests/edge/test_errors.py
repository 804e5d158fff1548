"""Errors by name: they travel between processes whole, and say one line."""

import pickle

import pytest

from lad_rllib.edge import EDGE_ERRORS, EdgeError
from lad_rllib.edge.errors import one_line


@pytest.mark.parametrize("name", EDGE_ERRORS)
def test_an_error_survives_pickling_with_everything_it_knows(name):
    error = EDGE_ERRORS[name]("one line", server="s1", task_id="t1")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert (str(copy), copy.name, copy.retryable, copy.server, copy.task_id) == (
        "one line",
        name,
        error.retryable,
        "s1",
        "t1",
    )
    assert copy.to_dict() == error.to_dict()


def test_the_names_are_those_that_users_are_told():
    assert sorted(EDGE_ERRORS) == [
        "cancelled",
        "deadline_exceeded",
        "device_broken",
        "generation_failed",
        "invalid_request",
        "model_load_failed",
        "non_finite_image",
        "out_of_memory",
        "queue_full",
        "server_unavailable",
    ]
    assert all(issubclass(error, EdgeError) for error in EDGE_ERRORS.values())


def test_only_what_lies_with_the_server_is_worth_another_try():
    assert {name for name, error in EDGE_ERRORS.items() if error.retryable} == {
        "queue_full",
        "server_unavailable",
        "device_broken",
    }


def test_only_a_lost_device_needs_a_restart():
    assert [name for name, error in EDGE_ERRORS.items() if error.needs_restart] == ["device_broken"]


def test_a_long_foreign_message_becomes_one_short_line():
    line = one_line(RuntimeError("x" * 1000 + "\nTraceback"))
    assert line.startswith("RuntimeError: xxx") and len(line) == 300 and "\n" not in line
    assert one_line(KeyError()) == "KeyError"
