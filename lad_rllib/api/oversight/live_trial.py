"""A policy that is tried on a service's requests: beside the one in charge, then on a share of them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import numpy as np

from lad_rllib.api.gateway import Gateway
from lad_rllib.api.oversight.charge import Charge
from lad_rllib.api.oversight.guard import FEWEST, MOST
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


class LiveTrial:
    """Has the dispatcher try a policy, and says after each look what is to be done with it.

    Args:
        trial: The rules, and where it is.
        candidate: The policy.
        charge: Who decides.
        gateway: Knows the latest requests, and the dispatcher.
        clock: The time [s].

    Attributes:
        trial: See above; it knows the stage, and what the latest look said.
        candidate: See above.
        beside: Decides without effect, during the first stage.

    Raises:
        ConfigurationError: if what decides is not a policy of this service.
    """

    def __init__(
        self, trial: Trial, candidate: RequestScheduler, charge: Charge, gateway: Gateway, clock: Callable[[], float]
    ) -> None:
        self.trial, self.candidate, self._charge, self._clock = trial, candidate, charge, clock
        self._settings, self._shadow, self._dispatcher = gateway.settings, gateway.shadow, gateway.dispatcher
        present = self._present()
        self.beside = Beside(candidate)
        try:
            self._begin_stage(ShadowedScheduler(present, self.beside))
        except BaseException:
            self.beside.close()
            raise

    def begin_canary(self) -> None:
        """Have it decide for its share of the requests from now on."""
        self.trial.stage = "canary"
        present = self._present()
        self.beside.close()
        candidate = self._charge.guarded(self.trial.by.policy, self.candidate)
        self._begin_stage(SplitScheduler(present, candidate, self._settings.canary_share))

    def close(self) -> None:
        """End what decides without effect."""
        self.beside.close()

    def withdraw(self) -> None:
        """Have the policy in charge decide alone again."""
        self.close()
        scheduler = self._charge.scheduler
        if scheduler is not None:
            self._dispatcher.swap(copy.copy(scheduler.in_charge))

    def step(self) -> Step:
        """What is to be done with it, from the requests of its stage until now."""
        now_s, seen = self._clock(), self._shadow.since(self._since_s)
        try:
            is_in_shadow = self.trial.stage == "shadow"
            return self._shadow_step(now_s, seen) if is_in_shadow else self._canary_step(now_s, seen)
        except Exception as error:  # foreign code
            return Step("reject", f"it cannot be replayed: {one_line(error)}", {})

    def _present(self) -> GuardedScheduler:
        """A copy of what is in charge."""
        scheduler = self._charge.scheduler
        if scheduler is None:
            raise ConfigurationError("what decides is not a policy of this service; swap one in first")
        return copy.copy(scheduler.in_charge)

    def _begin_stage(self, scheduler: NamedScheduler) -> None:
        self._dispatcher.swap(scheduler)
        self._since_s = self._dispatcher.now_s

    def _shadow_step(self, now_s: float, seen: Sequence[Seen]) -> Step:
        figures = self.beside.figures()
        is_due = figures.decisions >= self._settings.shadow_requests and len(seen) >= FEWEST
        return self.trial.after_shadow(now_s, figures, self._replayed(seen[-MOST:]) if is_due else None)

    def _canary_step(self, now_s: float, seen: Sequence[Seen]) -> Step:
        scheduler = self._charge.scheduler
        if not isinstance(scheduler, SplitScheduler):
            return self.trial.after_canary(now_s, None, "the fleet changed, and it could not follow", None)
        is_own = np.array([scheduler.is_for_candidate(one.task.task_id) for one in seen], dtype=bool)
        left = scheduler.candidate.left
        if len(seen) < FEWEST or left:
            return self.trial.after_canary(now_s, None, left, None)
        sent_s = self._shadow.played(seen, {})[SENT].delay_s
        ended_s = [np.nan if one.delivery is None else one.delivery.service_delay_s for one in seen]
        shares = compare_shares(np.where(np.isnan(ended_s), sent_s, ended_s), is_own)
        replays = self._replayed(seen) if self.trial.is_due(int(is_own.sum())) else None
        return self.trial.after_canary(now_s, shares, left, replays)

    def _replayed(self, seen: Sequence[Seen]) -> dict[str, Replayed]:
        """The requests replayed by the candidate, the present policy and the heuristic."""
        scheduler, by = self._charge.scheduler, self._charge.by
        made: dict[str, Callable[[], RequestScheduler]] = {self.trial.by.policy: lambda: copy.copy(self.candidate)}
        if scheduler is not None:
            present = scheduler.in_charge.policy
            made[_told_apart(by, self.trial.by)] = lambda: copy.copy(present)
        made.setdefault(FALLBACK, REQUEST_SCHEDULERS[FALLBACK])
        return {name: one for name, one in self._shadow.played(seen, made).items() if name != SENT}


def _told_apart(by: DecidedBy, candidate: DecidedBy) -> str:
    """Name of the present policy beside a candidate, which may be another version of the same name."""
    return by.policy if by.policy != candidate.policy else f"{by.policy} {by.fingerprint}"
