"""Policies that are tried on live requests, watched in charge, and taken out of it; the clock is the test's."""

import asyncio
import contextlib

import numpy as np
import pytest

from lad_rllib.api import ApiSettings, Gateway
from lad_rllib.api.clients import Client
from lad_rllib.api.oversight import Overseer, PolicyHistory
from lad_rllib.api.oversight.guard import BEFORE, FEWEST, MOST, MOST_BEFORE, Guard
from lad_rllib.api.oversight.trial import Trial, compare_shares
from lad_rllib.api.wire import JobRequest, Policies
from lad_rllib.errors import ConfigurationError
from lad_rllib.scheduling.request_scheduler import REQUEST_SCHEDULERS, RequestScheduler
from lad_rllib.service import Dispatcher
from lad_rllib.service.beside import BesideFigures
from lad_rllib.service.decision import DecidedBy
from lad_rllib.service.guarded import GuardedScheduler
from tests.api.running import edge_server, refused, service, with_past
from tests.api.steering import Steering
from tests.scheduling.test_judgement import replayed
from tests.service.fleets import WORK, network, until

SPEEDS = (4000, 4000, 400)
NEW, OLD, RULE = (replayed("new", 0.8), replayed("old"), replayed("rule", 0.95))
UNDECIDED = (replayed("new", 0.99, spread=0.3, seed=1), OLD, replayed("rule", 2.0))


class Clock:
    """Time that the test drives [s]."""

    now_s = 0.0

    def __call__(self):
        return self.now_s


class Slowest(RequestScheduler):
    """A bad policy: it sends everything to the last, slow server."""

    fingerprint = "bad0"

    def choose(self, view, rng):
        """See the class."""
        return len(view.up) - 1


class Alternating(RequestScheduler):
    """A bad policy, too: by turns, also to the slow server."""

    fingerprint = "turn"
    number = 0

    def choose(self, view, rng):
        """See the class."""
        self.number += 1
        return self.number % len(view.up)


class Broken(RequestScheduler):
    """Fails at every request."""

    def choose(self, view, rng):
        """See the class."""
        raise ZeroDivisionError("no speed")


POLICIES = {
    "good": REQUEST_SCHEDULERS["shortest-expected-delay"],
    "bad": Slowest,
    "turns": Alternating,
    "broken": Broken,
    "least-work-left": REQUEST_SCHEDULERS["least-work-left"],
}


def load(name):
    """The policy of a name."""
    if name not in POLICIES:
        raise ConfigurationError(f"no policy {name!r}")
    return POLICIES[name]()


class Overseen:
    """A gateway over emulated servers with an overseer whose looks and clock are the test's."""

    def __init__(self, dispatcher, settings, policy, file=None):
        self.clock, self.kept, self.dispatcher = Clock(), [], dispatcher
        self.gateway = Gateway(dispatcher, settings)
        self.history = PolicyHistory(file)
        self.overseer = Overseer(
            self.gateway,
            load(policy),
            self.history,
            load=load,
            keep=lambda name, scheduler: self.kept.append((name, type(scheduler))),
            clock=self.clock,
        )

    def ask(self, number, wait=True):
        """Have so many images drawn, a few steps each, six at a time."""

        async def one(steps, room):
            async with room:
                job = await self.gateway.submit(JobRequest(prompt="x", num_inference_steps=steps), Client())
                await self.gateway.finished(job)

        async def all_of_them():
            room = asyncio.Semaphore(6)
            await asyncio.gather(*(one((8, 16, 40)[index % 3], room) for index in range(number)))

        asyncio.run(all_of_them())

    def events(self):
        """What became of policies: event and policy."""
        return [(record["event"], record["policy"]) for record in self.history.records]

    def look(self, after_s):
        """Take a look after so many seconds."""
        self.clock.now_s += after_s
        self.overseer.look()


@contextlib.contextmanager
def overseen(policy, file=None, **settings):
    """See :class:`Overseen`."""
    settings = ApiSettings(**{"shadow_requests": 60, "canary_requests": 30, "canary_share": 0.3, **settings})
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(edge_server(f"s{i}", speed)) for i, speed in enumerate(SPEEDS)]
        guarded = GuardedScheduler(load(policy), policy)
        dispatcher = stack.enter_context(
            Dispatcher(servers, network(SPEEDS), WORK, guarded, seed=1, requests=with_past(SPEEDS))
        )
        one = Overseen(dispatcher, settings, policy, file)
        stack.callback(one.gateway.close)
        stack.callback(one.overseer.close)
        yield one


def test_a_bad_policy_that_is_put_in_charge_by_hand_is_out_again_within_the_stated_time():
    with overseen("good", go_back_after_s=600.0) as one:
        one.ask(FEWEST)
        one.look(1.0)
        assert one.overseer.status()["look"]["why"] == "worse in nothing"
        assert one.overseer.swap("bad") == "bad"
        one.ask(80)
        one.look(10.0)
        assert one.overseer.in_charge == DecidedBy("bad", "bad0") and one.events()[-1] == ("worse", "bad")
        one.look(299.0)
        assert one.overseer.in_charge.policy == "bad"
        one.look(2.0)
        assert one.overseer.in_charge.policy in ("good", "least-work-left")
        record = one.history.records[-1]
        one.ask(FEWEST)
        one.look(5.0)
    assert (record["event"], record["previous"]) == ("went back", "bad")
    assert "times that of" in record["why"] and record["figures"]["ratios"]["least-work-left"]["mean_low"] > 1
    assert [name for name, _ in one.kept] == ["bad", record["policy"]]
    assert one.events()[-1][0] == "went back"


def test_open_requests_of_a_bad_policy_count_before_they_end():
    with overseen("good") as one:
        one.overseer.swap("bad")

        async def ask():
            asked = JobRequest(prompt="x", num_inference_steps=200, n=4)  # 2 s there
            return [await one.gateway.submit(asked, Client()) for _ in range(FEWEST)]

        jobs = asyncio.run(ask())
        one.look(10.0)
        assert one.events()[-1] == ("worse", "bad") and sum(job.delivery is None for job in jobs) > FEWEST / 2
        for job in jobs:
            job.cancel()


@pytest.mark.parametrize("policy", ["bad", "broken"])
def test_a_bad_policy_that_is_tried_never_decides_for_all(policy):
    with overseen("good") as one:
        one.overseer.try_policy(policy, "somebody said so")
        for _ in range(8):
            one.ask(60)
            if policy == "broken":
                until(lambda: one.overseer._tried is None or one.overseer._tried.beside.figures().failures >= 3)
            one.look(10.0)
            if one.overseer.status()["trial"] is None:
                break
    steps = [event for event, _ in one.events() if event not in ("worse", "recovered")]
    assert steps[:2] == ["began", "shadow"] and steps[-1] == "rejected" and "swapped" not in steps
    assert one.history.records[1]["why"] == "somebody said so" and one.kept == []
    assert {delivered_by.policy for delivered_by in [one.overseer.in_charge]} == {"good"}


def test_a_better_policy_is_tried_in_shadow_then_on_its_share_and_then_is_in_charge():
    with overseen("turns", go_back_after_s=1e6) as one:
        one.overseer.try_policy("good")
        assert one.overseer.status()["trial"]["stage"] == "shadow"
        with pytest.raises(ConfigurationError, match="good is tried at present"):
            one.overseer.try_policy("bad")
        one.ask(70)
        one.look(10.0)
        status = one.overseer.status()
        assert status["trial"]["stage"] == "canary" and status["shares"] == {"turns": 0.7, "good": 0.3}
        for _ in range(12):
            one.ask(70)
            one.look(10.0)
            if one.overseer.status()["trial"] is None:
                break
        seen = one.gateway.shadow.since(0.0)
    assert one.overseer.in_charge.policy == "good" and [name for name, _ in one.kept] == ["good"]
    assert [event for event in one.events() if event[0] not in ("worse", "recovered")] == [
        *[("began", "turns"), ("shadow", "good"), ("canary", "good"), ("swapped", "good")]
    ]
    swapped = one.history.records[-1]
    assert swapped["figures"]["ratios"]["turns"]["mean_high"] < 1 and swapped["previous"] == "turns"
    by = [seen_one.handle.decided_by.policy for seen_one in seen]
    assert set(by[:70]) == {"turns"} and 0.15 < np.mean([name == "good" for name in by[70:]]) < 0.45


def test_a_trial_ends_by_hand_by_a_swap_and_by_a_restart_and_the_present_policy_stays(tmp_path):
    file = str(tmp_path / "deep" / "policies.jsonl")
    with overseen("turns", file) as one:
        with pytest.raises(ConfigurationError, match="no policy is tried"):
            one.overseer.stop_trial()
        with pytest.raises(ConfigurationError, match="turns is in charge already"):
            one.overseer.try_policy("turns")
        one.overseer.try_policy("good")
        one.overseer.stop_trial()
        one.overseer.try_policy("good")
        one.overseer.swap("bad")
        one.overseer.note("keep: nothing better was found")
        one.overseer.try_policy("good")
    assert [event for event, _ in one.events()] == [
        *["began", "shadow", "stopped", "shadow", "stopped", "swapped by hand", "kept", "shadow"]
    ]
    with open(file, "a") as lines:
        lines.write('{"event": "canary", "pol')  # it was written when the machine went down
    with overseen("bad", file) as again:
        assert again.events()[-2:] == [("stopped", "good"), ("began", "bad")]
        assert "started again during its shadow" in again.history.records[-2]["why"]
        assert again.history.previous_of("bad") == "turns" and again.overseer.status()["trial"] is None
    assert [record["event"] for record in PolicyHistory(file).records[-2:]] == ["stopped", "began"]


def test_records_and_trials_are_asked_for_over_http(tmp_path):
    guarded = GuardedScheduler(load("good"), "good")
    with service([2000, 1000], guarded) as running:
        steering = Steering()
        steering.oversight = Overseer(running.gateway, load("good"), PolicyHistory(), load=load)
        with service([2000, 1000], guarded, control=steering) as shown:
            client = shown.client
            policies = Policies.model_validate(client.get("/v1/fleet/policies").json())
            assert (policies.policy, policies.trial, policies.look) == ("good", None, None)
            tried = Policies.model_validate(client.post("/v1/fleet/trial", json={"policy": "bad"}).json())
            assert (tried.trial.policy, tried.trial.stage, tried.trial.share) == ("bad", "shadow", 0.0)
            refused(client.post("/v1/fleet/trial", json={"policy": "good"}), 422, "invalid_request")
            refused(client.post("/v1/fleet/trial", json={"policy": "nothing"}), 422, "invalid_request")
            ended = Policies.model_validate(client.delete("/v1/fleet/trial").json())
            assert ended.trial is None and [record.event for record in ended.records] == ["began", "shadow", "stopped"]
            noted = Policies.model_validate(client.post("/v1/fleet/trial", json={"why": "nothing better"}).json())
            assert (noted.records[-1].event, noted.records[-1].why) == ("kept", "nothing better")
            refused(client.delete("/v1/fleet/trial"), 422, "invalid_request")
            assert client.get("/v1/fleet/file").json()["name"] == "paper"
        steering.oversight.close()


# The guard and the trial by themselves.


def test_the_guard_acts_when_every_look_of_half_the_time_says_the_same():
    guard, worse, fine = Guard(600.0), replayed("sent", 1.3), replayed("sent", 0.9)
    assert not guard.look(0.0, worse, [OLD]).is_over
    assert guard.look(299.0, worse, [OLD]).worse_s == 299.0
    assert not guard.look(299.5, fine, [OLD]).worse
    assert not guard.look(300.0, worse, [OLD]).is_over and not guard.look(599.0, worse, [OLD]).is_over
    look = guard.look(600.0, worse, [OLD])
    assert look.is_over and "mean 1.30 (1.30–1.30) times that of old" in look.why
    guard.forget()
    assert guard.last is None and not guard.look(900.0, worse, [OLD]).is_over


def test_a_look_judges_the_latest_half_of_the_time_and_replays_what_came_before_it_too():
    guard, second = Guard(600.0), np.arange(20_000.0)
    assert guard.judged(second[:10], 10.0) == (0, 0)
    assert guard.judged(second[:200], 199.0) == (0, 0)
    assert guard.judged(second[:2000], 1999.5) == (2000 - 300 * (1 + BEFORE), 1700)
    assert guard.judged(60 * second[:100], 60 * 99.0) == (100 - FEWEST * 2, 50)
    assert guard.judged(second / 10, 2000.0) == (20_000 - MOST - MOST_BEFORE, 19_000)


def test_what_is_before_the_latest_time_fills_the_queues_and_is_not_judged():
    with overseen("turns") as one:
        one.ask(60)
        shadow = one.gateway.shadow
        seen = shadow.since(0.0)
        whole, latest = (shadow.played(seen, {}, first)["as sent"].delay_s for first in (0, 40))
    assert latest.tolist() == whole[40:].tolist() and len(latest) == 20


def test_the_guard_minds_the_tail_and_not_what_may_be_chance():
    guard = Guard(600.0)
    assert "99th percentile" in guard.look(0.0, replayed("sent", 0.9, tail=2.0), [OLD]).why
    guard.forget()
    assert not guard.look(0.0, replayed("sent", 1.02, spread=0.3, seed=2), [OLD]).worse


def beside(**figures):
    """A policy that decided 100 requests."""
    usual = dict(decisions=100, failures=0, reason="", left_out=0, agreed=0.5, median_s=0.001, p99_s=0.002)
    return BesideFigures(**usual | {"own_s": 1.0, "other_s": 1.0} | figures)


def trial(**settings):
    """One that began at 0."""
    return Trial(
        DecidedBy("new"), ApiSettings(shadow_requests=100, canary_requests=50, trial_s=3600.0, **settings), 0.0
    )


@pytest.mark.parametrize(
    ("figures", "replays", "do", "why"),
    [
        (beside(), (NEW, OLD, RULE), "canary", "not surely worse"),
        (beside(failures=3, reason="no speed"), None, "reject", "failed 3 times: no speed"),
        (beside(median_s=0.006), None, "reject", "6.0 ms"),
        (beside(decisions=99), None, "wait", "99 of 100"),
        (beside(), (replayed("new", 1.2), OLD, RULE), "reject", "mean 1.20"),
        (beside(), (replayed("new", 0.99), OLD, replayed("rule", 0.8)), "reject", "times that of rule"),
        (beside(), (replayed("new", 0.9, tail=2.0), OLD, RULE), "reject", "99th percentile"),
    ],
)
def test_after_the_shadow(figures, replays, do, why):
    step = trial().after_shadow(10.0, figures, replays and {one.name: one for one in replays})
    assert step.do == do and why in step.why


def shares(requests=60, low=0.9, high=1.1):
    """What the delays of a share are over the others'."""
    return {"requests": float(requests)} | {
        f"{name}_{key}": value
        for name in ("mean", "p99")
        for key, value in (("ratio", (low + high) / 2), ("low", low), ("high", high))
    }


@pytest.mark.parametrize(
    ("told", "left", "replays", "do", "why"),
    [
        (shares(), "", (NEW, OLD, RULE), "swap", "mean 0.800"),
        (shares(40), "", None, "wait", "40 of 50"),
        (shares(20, 1.6, 2.0), "", None, "reject", "its share of the requests"),
        (shares(20, 1.1, 2.0), "", None, "wait", "20 of 50"),
        (shares(60, 1.1, 2.0), "", (NEW, OLD, RULE), "reject", "its share of the requests"),
        (shares(), "it failed", None, "reject", "it failed"),
        (shares(), "", (replayed("new", 1.2), OLD, RULE), "reject", "replayed: mean 1.20"),
        (shares(), "", UNDECIDED, "wait", "not surely better"),
        (shares(), "", (replayed("new", 0.8, tail=1.25, spread=0.1, seed=1), OLD, RULE), "wait", "99th percentile 1."),
        (None, "", None, "wait", "too few"),
    ],
)
def test_after_the_canary(told, left, replays, do, why):
    step = trial().after_canary(10.0, told, left, replays and {one.name: one for one in replays})
    assert step.do == do and why in step.why


def test_what_stays_undecided_is_rejected_after_four_times_the_requests_or_the_longest_time():
    undecided = {one.name: one for one in UNDECIDED}
    one = trial()
    seen = [requests for requests in range(50, 260) if one.is_due(requests)]
    assert seen[0] == 50
    for requests in (50, 100):
        assert one.is_due(requests) and one.after_canary(10.0, shares(requests), "", undecided).do == "wait"
        assert not one.is_due(2 * requests - 1)
    assert one.after_canary(10.0, shares(200), "", undecided).do == "reject"
    late = trial().after_shadow(3601.0, beside(decisions=5), None)
    assert late.do == "reject" and "undecided after 3600 s" in late.why


def test_shares_are_compared_at_the_same_time():
    rng = np.random.default_rng(0)
    busy = np.repeat([1.0, 5.0], 1000)  # all are slower in the second half, in which the share has most of its requests
    is_own = rng.random(2000) < np.repeat([0.05, 0.3], 1000)
    delay_s = busy * rng.uniform(0.9, 1.1, 2000)
    assert delay_s[is_own].mean() > 1.2 * delay_s[~is_own].mean()
    same = compare_shares(delay_s, is_own)
    assert same["mean_ratio"] == pytest.approx(1.0, abs=0.02) and same["mean_low"] < 1 < same["mean_high"]
    worse = compare_shares(np.where(is_own, 1.3 * delay_s, delay_s), is_own)
    assert worse["mean_ratio"] == pytest.approx(1.3, rel=0.02) and worse["mean_low"] > 1.2 and worse["p99_low"] > 1.2
    assert compare_shares(delay_s[:100], is_own[:100]) is None
