"""Actors and nodes that a command loses are one line on standard error; a task that raises is a traceback."""

import argparse
import os

import pytest
import ray

from lad_rllib.runs.command import run_command

pytestmark = pytest.mark.cluster


@ray.remote(num_cpus=0)
class Actor:
    """Fails as it is told to."""

    def __init__(self, error=None):
        if error is not None:
            raise error

    def end(self):
        os._exit(3)

    def fail(self):
        raise KeyError("a fault of ours")


@pytest.mark.parametrize(
    ("run", "line"),
    [
        (
            lambda: ray.get(Actor.remote(ValueError("no weights\nin that folder")).end.remote()),
            "an actor on the Ray cluster could not be started: ValueError: no weights",
        ),
        (lambda: ray.get(Actor.remote().end.remote()), "the Ray cluster lost a process: The actor died unexpectedly"),
    ],
)
def test_a_lost_actor_is_one_line(ray_cluster, capsys, run, line):
    capsys.readouterr()
    assert run_command(lambda _: run(), argparse.Namespace(command="train")) == 1
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith(f"lad-rllib train: {line}")


def test_a_task_that_raises_keeps_its_traceback(ray_cluster):
    with pytest.raises(KeyError, match="a fault of ours"):
        run_command(lambda _: ray.get(Actor.remote().fail.remote()), argparse.Namespace(command="train"))
