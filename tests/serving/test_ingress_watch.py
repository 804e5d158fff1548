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
    assert watch.lead(Watched("first", "process-1", 1), at_once=True)
    assert watch.lead(
        Watched("second", "process-2", 2), at_once=True
    )  # deployed again: the first one lives, and ends in its own time
    assert told.ended == []
    Watched.lost = frozenset({"first", "second"})
    until(lambda: told.ended)
    assert watch.lead(Watched("third", "process-3", 3), at_once=True)
    assert told.ended == ["process-2"]


def test_an_ingress_that_is_there_before_the_loss_of_the_last_one_is_seen_does_not_hide_it(watch, monkeypatch):
    watch, told = watch
    monkeypatch.setattr("lad_rllib.serving.ingress_watch.LOOK_S", 1e6)
    assert watch.lead(Watched("first", "process-1", 1), at_once=True)
    Watched.lost = frozenset({"first"})
    assert watch.lead(Watched("second", "process-2", 2), at_once=True)
    assert told.ended == ["process-1"]


def test_one_that_stands_by_serves_when_the_one_before_is_lost_and_another_then_waits_for_it(watch):
    watch, told = watch
    first, second, third = (Watched(name, name, number) for number, name in enumerate(("first", "second", "third")))
    assert watch.lead(first, at_once=False)
    assert not watch.lead(second, at_once=False) and watch.standby is None  # it loads what it needs, and asks again
    assert not watch.lead(second, at_once=False) and watch.standby == second
    Watched.lost = frozenset({"first"})
    assert watch.lead(second, at_once=False) and told.ended == ["first"] and watch.standby is None
    assert not watch.lead(third, at_once=False) and watch.ingress == second
