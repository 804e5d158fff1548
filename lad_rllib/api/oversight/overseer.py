"""Looks at the policy in charge and the one that is tried, and changes who decides."""

from __future__ import annotations

import copy
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lad_rllib.api.gateway import Gateway
from lad_rllib.api.oversight import history as events
from lad_rllib.api.oversight.guard import FEWEST, MOST, Guard
from lad_rllib.api.oversight.history import PolicyHistory
from lad_rllib.api.oversight.trial import Step, Trial, compare_shares
from lad_rllib.api.shadow import SENT, Seen
from lad_rllib.edge.errors import one_line
from lad_rllib.errors import ConfigurationError
from lad_rllib.scheduling.judgement import Replayed
from lad_rllib.scheduling.request_scheduler import REQUEST_SCHEDULERS, RequestScheduler
from lad_rllib.service.beside import Beside
from lad_rllib.service.deciders import FALLBACK
from lad_rllib.service.decision import DecidedBy
from lad_rllib.service.guarded import GuardedScheduler
from lad_rllib.service.named_scheduler import NamedScheduler
from lad_rllib.service.trying import ShadowedScheduler, SplitScheduler

BUSY = 20.0
"""Looks take at most one part in so many of the time."""

_LOG = logging.getLogger("lad_rllib.api")


class Overseer:
    """Tries policies on live requests, watches the one in charge, and goes back to a better one.

    Methods may be called from any thread; changes are made one after the other.

    Args:
        gateway: Knows the latest requests, and the dispatcher.
        present: The policy that is in charge at first, a copy of which decides.
        history: Takes a record of each step.
        load: The policy of a name.
        keep: Told of the name and the policy of who is put in charge, so that it is after a restart, too.
        on_decision: Called with the time of each decision of a policy that decides [s].
        clock: The time [s]; fleets have a clock of their own.
    """

    def __init__(
        self,
        gateway: Gateway,
        present: RequestScheduler,
        history: PolicyHistory,
        *,
        load: Callable[[str], RequestScheduler],
        keep: Callable[[str, RequestScheduler], object] = lambda policy, scheduler: None,
        on_decision: Callable[[float], object] = lambda seconds: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.history = history
        self._gateway, self._dispatcher, self._shadow = gateway, gateway.dispatcher, gateway.shadow
        self._settings = gateway.settings
        self._load, self._keep, self._on_decision, self._clock = load, keep, on_decision, clock
        self._changes = threading.RLock()
        self._guard = Guard(self._settings.go_back_after_s)
        self._trial: Trial | None = None
        self._present = present
        self._candidate: RequestScheduler | None = None
        self._beside: Beside | None = None
        self._said_left = False
        self._since_s = self._tried_s = self._dispatcher.now_s
        self._closed, self._thread = threading.Event(), threading.Thread(target=self._run, name="overseer", daemon=True)
        self._begin()

    def _begin(self) -> None:
        """Go on from the records of the process before: a trial that had not ended is over."""
        if (trial := self.history.open_trial) is not None:
            by = DecidedBy(trial["policy"], trial.get("policy_hash", ""))
            self.history.add(events.STOPPED, by, f"the service was started again during its {trial['event']}")
        by, self._previous = self.in_charge, self._loaded(self.history.previous_of(self.in_charge.policy))
        before = "" if self._previous is None else self._previous[0]
        self.history.add(events.BEGAN, by, "the service began", previous=before)

    def start(self) -> None:
        """Look from now on, in a thread of its own."""
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()
        self._end_beside()

    @property
    def records(self) -> list[dict[str, Any]]:
        """What became of policies, the oldest record first."""
        return self.history.records

    @property
    def in_charge(self) -> DecidedBy:
        """Who decides, unless another policy is tried on a share of the requests."""
        scheduler = self._dispatcher.scheduler
        if not isinstance(scheduler, NamedScheduler):
            return DecidedBy(FALLBACK)  # a fleet changed, and the policy could not follow
        present = scheduler.in_charge
        return DecidedBy(present.decides, "" if present.left else present.fingerprint)

    def swap(self, policy: str) -> str:
        """Put a policy in charge by hand; what is tried is ended.

        Raises:
            ConfigurationError: if there is no such policy, or it cannot decide for the fleet.
        """
        scheduler = self._load(policy)
        with self._changes:
            self._stop("another policy was put in charge by hand")
            self._put(policy, scheduler, events.BY_HAND, "asked for by a client")
            return self.in_charge.policy

    def try_policy(self, policy: str, why: str = "") -> None:
        """Begin the trial of a policy.

        Args:
            policy: Its name, as of :meth:`swap`.
            why: Why it may be better, for the record.

        Raises:
            ConfigurationError: if there is no such policy, it is in charge already, or another one is tried.
        """
        scheduler = self._load(policy)
        with self._changes:
            by = DecidedBy(policy, scheduler.fingerprint)
            if by == self.in_charge:
                raise ConfigurationError(f"{policy} is in charge already; try another policy")
            if self._trial is not None:
                raise ConfigurationError(f"{self._trial.by.policy} is tried at present; end that trial first")
            self._candidate, self._beside = scheduler, Beside(scheduler)
            self._trial = Trial(by, self._settings, self._clock())
            try:
                self._split(self._beside)
            except BaseException:
                self._forget_trial()
                raise
            self.history.add(events.SHADOW, by, why or "asked for by a client")

    def stop_trial(self, why: str = "asked for by a client") -> None:
        """End a trial; the policy in charge stays.

        Raises:
            ConfigurationError: if none is tried.
        """
        with self._changes:
            if self._trial is None:
                raise ConfigurationError("no policy is tried at present")
            self._stop(why)

    def note(self, why: str) -> None:
        """Record that whoever looked for a better policy found none."""
        self.history.add(events.KEPT_PRESENT, self.in_charge, why)

    def status(self) -> dict[str, Any]:
        """Who decides, what is tried, and what the latest look at the policy in charge said."""
        by, trial, look = self.in_charge, self._trial, self._guard.last
        scheduler = self._dispatcher.scheduler
        shares = scheduler.shares if isinstance(scheduler, NamedScheduler) else {by.policy: 1.0}
        tried = trial and {
            "policy": trial.by.policy,
            "policy_hash": trial.by.fingerprint,
            "stage": trial.stage,
            "share": self._settings.canary_share if trial.stage == "canary" else 0.0,
            "seconds": round(self._clock() - trial.began_s, 1),
            "why": trial.last.why,
            "figures": trial.last.figures,
        }
        return {
            "policy": by.policy,
            "policy_hash": by.fingerprint,
            "shares": dict(shares),
            "trial": tried,
            "look": look and {"why": look.why, **look.figures()},
        }

    # Looks.

    def _run(self) -> None:
        pause_s = self._settings.look_s
        while not self._closed.wait(pause_s):
            start_s = time.monotonic()
            try:
                self.look()
            except Exception:  # a dispatcher that is closed, a fleet that changes
                _LOG.exception("the policy in charge could not be looked at; the service goes on")
            pause_s = max(self._settings.look_s, BUSY * (time.monotonic() - start_s))

    def look(self) -> None:
        """Take a look now: at what is tried, and at the policy in charge."""
        with self._changes:
            if self._trial is not None:
                self._look_at_trial(self._trial)
            self._look_at_charge()

    def _look_at_charge(self) -> None:
        scheduler, by = self._dispatcher.scheduler, self.in_charge
        left = scheduler.in_charge.left if isinstance(scheduler, NamedScheduler) else ""
        if left and not self._said_left:
            self.history.add(events.LEFT, DecidedBy(scheduler.in_charge.name), left)  # type: ignore[union-attr]
        self._said_left = bool(left)
        seen, judged = ([], 0) if by.policy == FALLBACK else self._latest()
        if len(seen) - judged < FEWEST:
            self._guard.forget()
            return
        replays = self._shadow.played(seen, self._yardsticks(), judged)
        before = self._guard.last
        sent, *others = replays.values()
        look = self._guard.look(self._clock(), sent, others)
        if look.worse and not (before and before.worse):
            self.history.add(events.WORSE, by, look.why, **look.figures())
        elif before and before.worse and not look.worse:
            self.history.add(events.RECOVERED, by, look.why, **look.figures())
        if look.is_over:
            self._go_back(look.why, look.figures(), others)

    def _latest(self) -> tuple[list[Seen], int]:
        """The requests to replay, since the policy came into charge, and the first of them that is judged."""
        seen, scale = self._shadow.since(self._since_s), self._dispatcher.time_scale
        arrival_s = np.array([scale * one.arrival_s for one in seen])
        first, judged = self._guard.judged(arrival_s, scale * self._dispatcher.now_s)
        return seen[first:], judged - first

    def _yardsticks(self) -> dict[str, Callable[[], RequestScheduler]]:
        """What the policy in charge may not be worse than."""
        rivals: dict[str, Callable[[], RequestScheduler]] = {FALLBACK: REQUEST_SCHEDULERS[FALLBACK]}
        if self._previous is not None and self._previous[0] not in rivals:
            name, scheduler = self._previous
            rivals[name] = lambda: copy.copy(scheduler)
        return rivals

    def _go_back(self, why: str, figures: dict[str, Any], others: Sequence[Replayed]) -> None:
        """Put the better one of the heuristic and the policy before in charge, or end a trial that may be the cause."""
        if self._trial is not None and self._trial.stage == "canary":
            self._stop(f"requests fared worse during the canary: {why}", event=events.REJECTED)
            self._since_s = self._dispatcher.now_s
            self._guard.forget()
            return
        best = min(others, key=lambda other: other.mean_s).name
        scheduler = REQUEST_SCHEDULERS[FALLBACK]() if self._previous is None or best == FALLBACK else self._previous[1]
        self._stop("the policy in charge was left")
        self._put(best, scheduler, events.WENT_BACK, f"for {figures['worse_s']:g} s {why}", **figures)

    # Trials.

    def _look_at_trial(self, trial: Trial) -> None:
        now_s, seen = self._clock(), self._shadow.since(self._tried_s)
        try:
            step = (self._shadow_step if trial.stage == "shadow" else self._canary_step)(trial, now_s, seen)
        except Exception as error:  # foreign code
            step = Step("reject", f"it cannot be replayed: {one_line(error)}", {})
        self._do(trial, step)

    def _shadow_step(self, trial: Trial, now_s: float, seen: Sequence[Seen]) -> Step:
        assert self._beside is not None
        beside = self._beside.figures()
        is_due = beside.decisions >= self._settings.shadow_requests and len(seen) >= FEWEST
        return trial.after_shadow(now_s, beside, self._replayed(trial, seen[-MOST:]) if is_due else None)

    def _do(self, trial: Trial, step: Step) -> None:
        """Do what a step of a trial says."""
        if step.do == "canary":
            trial.stage = "canary"
            self._split(None)
            share = f"it decides {self._settings.canary_share:.0%} of the requests"
            self.history.add(events.CANARY, trial.by, f"{step.why}; {share}", **step.figures)
        elif step.do == "swap":
            assert self._candidate is not None
            candidate = self._candidate
            self._forget_trial()
            self._put(trial.by.policy, candidate, events.SWAPPED, step.why, **step.figures)
        elif step.do == "reject":
            self._stop(step.why, event=events.REJECTED, **step.figures)

    def _canary_step(self, trial: Trial, now_s: float, seen: Sequence[Seen]) -> Step:
        scheduler = self._dispatcher.scheduler
        if not isinstance(scheduler, SplitScheduler):
            return trial.after_canary(now_s, None, "the fleet changed, and it could not follow", None)
        is_own = np.array([scheduler.is_for_candidate(one.task.task_id) for one in seen], dtype=bool)
        left = scheduler.candidate.left
        if len(seen) < FEWEST or left:
            return trial.after_canary(now_s, None, left, None)
        sent_s = self._shadow.played(seen, {})[SENT].delay_s
        ended_s = [np.nan if one.delivery is None else one.delivery.service_delay_s for one in seen]
        shares = compare_shares(np.where(np.isnan(ended_s), sent_s, ended_s), is_own)
        replays = self._replayed(trial, seen) if trial.is_due(int(is_own.sum())) else None
        return trial.after_canary(now_s, shares, left, replays)

    def _replayed(self, trial: Trial, seen: Sequence[Seen]) -> dict[str, Replayed]:
        """The requests replayed by the candidate, the present policy and the heuristic, and as they were sent."""
        scheduler, candidate, by = self._dispatcher.scheduler, self._candidate, self.in_charge
        assert candidate is not None
        made: dict[str, Callable[[], RequestScheduler]] = {trial.by.policy: lambda: copy.copy(candidate)}
        if isinstance(scheduler, NamedScheduler):
            present = scheduler.in_charge.policy
            made[_told_apart(by, trial.by)] = lambda: copy.copy(present)
        made.setdefault(FALLBACK, REQUEST_SCHEDULERS[FALLBACK])
        return _without_sent(self._shadow.played(seen, made))

    # Changes.

    def _split(self, beside: Beside | None) -> None:
        """Have the candidate decide in shadow, or for its share."""
        scheduler, trial = self._dispatcher.scheduler, self._trial
        assert self._candidate is not None and trial is not None
        if not isinstance(scheduler, NamedScheduler):
            raise ConfigurationError("what decides is not a policy of this service; swap one in first")
        present = copy.copy(scheduler.in_charge)
        if beside is not None:
            self._dispatcher.swap(ShadowedScheduler(present, beside))
        else:
            self._end_beside()
            candidate = GuardedScheduler(copy.copy(self._candidate), trial.by.policy, self._on_decision)
            self._dispatcher.swap(SplitScheduler(present, candidate, self._settings.canary_share))
        self._tried_s = self._dispatcher.now_s

    def _put(self, policy: str, scheduler: RequestScheduler, event: str, why: str, **figures: Any) -> None:
        """Put a policy in charge, and watch it from now on."""
        before, present = self.in_charge, self._dispatcher.scheduler
        self._dispatcher.swap(GuardedScheduler(copy.copy(scheduler), policy, self._on_decision))
        self._keep(policy, scheduler)
        is_usable = event != events.WENT_BACK and isinstance(present, NamedScheduler) and not present.in_charge.left
        self._previous = (before.policy, self._present) if is_usable else None
        self._present = scheduler
        self._since_s = self._dispatcher.now_s
        self._guard.forget()
        self.history.add(event, self.in_charge, why, previous=before.policy, **figures)

    def _stop(self, why: str, event: str = events.STOPPED, **figures: Any) -> None:
        """End what is tried, if anything is."""
        trial = self._trial
        if trial is None:
            return
        self._forget_trial()
        scheduler = self._dispatcher.scheduler
        if isinstance(scheduler, NamedScheduler):
            self._dispatcher.swap(copy.copy(scheduler.in_charge))
        self.history.add(event, trial.by, why, **figures)

    def _forget_trial(self) -> None:
        self._end_beside()
        self._trial = self._candidate = None

    def _end_beside(self) -> None:
        if self._beside is not None:
            self._beside.close()
            self._beside = None

    def _loaded(self, policy: str) -> tuple[str, RequestScheduler] | None:
        """A policy of the process before, by its name; None if it has no name, or cannot be read."""
        try:
            return (policy, self._load(policy)) if policy else None
        except ConfigurationError as error:
            _LOG.warning("the policy before, %s, cannot be read: %s", policy, error)
            return None


def _without_sent(replays: dict[str, Replayed]) -> dict[str, Replayed]:
    return {name: one for name, one in replays.items() if name != SENT}


def _told_apart(by: DecidedBy, candidate: DecidedBy) -> str:
    """Name of the present policy beside a candidate, which may be another version of the same name."""
    return by.policy if by.policy != candidate.policy else f"{by.policy} {by.fingerprint}"
