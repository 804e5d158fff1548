"""Looks at the policy in charge and the one that is tried, and changes who decides."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from lad_rllib.api.gateway import Gateway
from lad_rllib.api.oversight import history as events
from lad_rllib.api.oversight.charge import Charge, ChargeWatch, TooLong
from lad_rllib.api.oversight.history import PolicyHistory
from lad_rllib.api.oversight.live_trial import LiveTrial
from lad_rllib.api.oversight.trial import Step, Trial
from lad_rllib.errors import ConfigurationError
from lad_rllib.scheduling.request_scheduler import REQUEST_SCHEDULERS, RequestScheduler
from lad_rllib.service.deciders import FALLBACK
from lad_rllib.service.decision import DecidedBy

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
        self._gateway, self._settings, self._load, self._clock = gateway, gateway.settings, load, clock
        self._changes = threading.RLock()
        self._charge = Charge(gateway.dispatcher, present, history, load, keep, on_decision)
        self._watch = ChargeWatch(self._charge, gateway, history, clock)
        self._tried: LiveTrial | None = None
        self._closed, self._thread = threading.Event(), threading.Thread(target=self._run, name="overseer", daemon=True)
        self._begin()

    def _begin(self) -> None:
        """Go on from the records of the process before: a trial that had not ended is over."""
        if (trial := self.history.open_trial) is not None:
            by = DecidedBy(trial["policy"], trial.get("policy_hash", ""))
            self.history.add(events.STOPPED, by, f"the service was started again during its {trial['event']}")
        self._charge.begin()

    def start(self) -> None:
        """Look from now on, in a thread of its own."""
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._tried is not None:
            self._tried.close()

    @property
    def records(self) -> list[dict[str, Any]]:
        """What became of policies, the oldest record first."""
        return self.history.records

    @property
    def in_charge(self) -> DecidedBy:
        """Who decides, unless another policy is tried on a share of the requests."""
        return self._charge.by

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
            if self._tried is not None:
                raise ConfigurationError(f"{self._tried.trial.by.policy} is tried at present; end that trial first")
            trial = Trial(by, self._settings, self._clock())
            self._tried = LiveTrial(trial, scheduler, self._charge, self._gateway, self._clock)
            self.history.add(events.SHADOW, by, why or "asked for by a client")

    def stop_trial(self, why: str = "asked for by a client") -> None:
        """End a trial; the policy in charge stays.

        Raises:
            ConfigurationError: if none is tried.
        """
        with self._changes:
            if self._tried is None:
                raise ConfigurationError("no policy is tried at present")
            self._stop(why)

    def note(self, why: str) -> None:
        """Record that whoever looked for a better policy found none."""
        self.history.add(events.KEPT_PRESENT, self.in_charge, why)

    def status(self) -> dict[str, Any]:
        """Who decides, what is tried, and what the latest look at the policy in charge said."""
        by, look, scheduler = self.in_charge, self._watch.last, self._charge.scheduler
        shares = {by.policy: 1.0} if scheduler is None else scheduler.shares
        trial = self._tried and self._tried.trial
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
            if self._tried is not None:
                self._do(self._tried, self._tried.step())
            if (found := self._watch.look()) is not None:
                self._go_back(found)

    def _go_back(self, found: TooLong) -> None:
        """Put the better one of the heuristic and the policy before in charge, or end a trial that may be the cause."""
        look, previous = found.look, self._charge.previous
        if self._tried is not None and self._tried.trial.stage == "canary":
            self._stop(f"requests fared worse during the canary: {look.why}", event=events.REJECTED)
            self._watch.begin_anew()
            return
        scheduler = REQUEST_SCHEDULERS[FALLBACK]() if previous is None or found.best == FALLBACK else previous[1]
        self._stop("the policy in charge was left")
        figures = look.figures()
        self._put(found.best, scheduler, events.WENT_BACK, f"for {figures['worse_s']:g} s {look.why}", **figures)

    def _do(self, tried: LiveTrial, step: Step) -> None:
        """Do what a step of a trial says."""
        by = tried.trial.by
        if step.do == "canary":
            tried.begin_canary()
            share = f"it decides {self._settings.canary_share:.0%} of the requests"
            self.history.add(events.CANARY, by, f"{step.why}; {share}", **step.figures)
        elif step.do == "swap":
            tried.close()
            self._tried = None
            self._put(by.policy, tried.candidate, events.SWAPPED, step.why, **step.figures)
        elif step.do == "reject":
            self._stop(step.why, event=events.REJECTED, **step.figures)

    def _put(self, policy: str, scheduler: RequestScheduler, event: str, why: str, **figures: Any) -> None:
        """Put a policy in charge, and watch it from now on."""
        self._charge.put(policy, scheduler, event, why, **figures)
        self._watch.begin_anew()

    def _stop(self, why: str, event: str = events.STOPPED, **figures: Any) -> None:
        """End what is tried, if anything is."""
        tried, self._tried = self._tried, None
        if tried is not None:
            tried.withdraw()
            self.history.add(event, tried.trial.by, why, **figures)
