"""What a service does while its servers start, and when they do not."""

import threading

import pytest

from lad_rllib.errors import ConfigurationError
from lad_rllib.fleet import load_fleet
from lad_rllib.runs.progress import SaysWhen
from lad_rllib.scheduling.request_scheduler import REQUEST_SCHEDULERS, RequestScheduler
from lad_rllib.serving import FleetKeeper, applications
from lad_rllib.serving.policies import practise
from tests.serving.running import entry


class Broken(RequestScheduler):
    """A scheduler that fails."""

    asked = False

    def begin(self, world, history):
        self.asked = True
        raise OSError("the disk is full")

    def choose(self, view, rng):
        raise AssertionError("it has not begun")


class Noting(REQUEST_SCHEDULERS["least-work-left"]):
    """Least work left that notes what it chose."""

    chosen = None

    def choose(self, view, rng):
        self.chosen = super().choose(view, rng)
        return self.chosen


def test_a_policy_practises_one_decision_and_its_failure_is_left_to_the_fleet():
    noting, broken = Noting(), Broken()
    practise(noting)
    practise(broken)
    assert noting.chosen == 0 and broken.asked  # idle servers: the fastest


def test_who_asks_for_the_fleet_waits_until_it_has_started_and_hears_if_it_has_not():
    keeper, heard = FleetKeeper("least-work-left", b"pickled"), []

    def ask():
        try:
            keeper.state()
        except ConfigurationError as error:
            heard.append(str(error))

    asking = threading.Thread(target=ask)
    asking.start()
    assert keeper.scheduler_to_practise() == b"pickled" and asking.is_alive()
    spec = load_fleet({"name": "nowhere", "servers": [entry("a")]})
    with pytest.raises(ConfigurationError):
        keeper.start(spec, True, 1.0)  # no such fleet runs
    asking.join(10)
    assert heard == ["the fleet could not be started"] and keeper.scheduler_to_practise() is None


def test_lines_of_a_start_have_their_seconds(capsys):
    say = SaysWhen()
    say("loading")
    say("ready")
    first, second = capsys.readouterr().out.splitlines()
    assert first == "   0.0 s  loading" and second.endswith(" s  ready")


def test_a_proxy_that_is_late_stops_no_start_and_other_failures_do(monkeypatch):
    failures = [ValueError("no such deployment"), TimeoutError("Proxies not available after 60s.")]

    def run_many(targets, *, wait_for_applications_running):
        assert targets == ["edge"] and not wait_for_applications_running
        raise failures.pop()

    monkeypatch.setattr(applications.serve, "run_many", run_many)
    applications.deploy(["edge"])
    with pytest.raises(ValueError, match="no such deployment"):
        applications.deploy(["edge"])
    assert not failures
