"""When the process of an ingress is lost, servers drop what it had asked for; nothing is dropped while it lives."""

import pytest

from lad_rllib.serving.ingress_watch import IngressWatch, RunningIngress
from tests.service.fleets import until


class Watched(RunningIngress):
    """An ingress that lives until it is said to be lost."""

    lost = frozenset()

    def lives(self):
        return self.actor not in Watched.lost


class Told:
    """A client of a server that notes which processes have ended."""

    def __init__(self):
        self.ended = []

    def end_leases(self, process):
        self.ended.append(process)


class Lost(Told):
    """A client of a server that is lost, too."""

    def end_leases(self, process):
        raise OSError("the server is lost")


@pytest.fixture
def watch():
    """A watch of the ingress before two servers, and the client of one; the other one is lost."""
    told = Told()
    watch = IngressWatch(lambda: [Lost(), told])
    yield watch, told
    watch.close()
    Watched.lost = frozenset()


def test_what_a_lost_ingress_had_asked_for_is_dropped_once(watch):
    watch, told = watch
    watch.begin(Watched("first", "process-1"))
    watch.begin(Watched("second", "process-2"))  # deployed again: the first one lives, and ends in its own time
    assert told.ended == []
    Watched.lost = frozenset({"first", "second"})
    until(lambda: told.ended)
    watch.begin(Watched("third", "process-3"))
    assert told.ended == ["process-2"]


def test_an_ingress_that_is_there_before_the_loss_of_the_last_one_is_seen_does_not_hide_it(watch, monkeypatch):
    watch, told = watch
    monkeypatch.setattr("lad_rllib.serving.ingress_watch.LOOK_S", 1e6)
    watch.begin(Watched("first", "process-1"))
    Watched.lost = frozenset({"first"})
    watch.begin(Watched("second", "process-2"))
    assert told.ended == ["process-1"]
