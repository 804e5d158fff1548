"""Try a policy on live tasks: beside the one in charge without effect, or in charge of a share of the tasks."""

from __future__ import annotations

import copy
import hashlib

import numpy as np

from lad_rllib.service.beside import Beside
from lad_rllib.service.decision import Decision
from lad_rllib.service.guarded import GuardedScheduler
from lad_rllib.service.named_scheduler import NamedScheduler
from lad_rllib.simulator.requests import Requests, RequestWorld
from lad_rllib.simulator.requests.view import View


class ShadowedScheduler(NamedScheduler):
    """Lets one policy decide, and another beside it without effect.

    Args:
        present: The one in charge; it begins anew.
        beside: The other one.
    """

    def __init__(self, present: GuardedScheduler, beside: Beside) -> None:
        self._present, self._beside = present, beside

    def __copy__(self) -> ShadowedScheduler:
        """One that may begin on another fleet while this one decides."""
        return ShadowedScheduler(copy.copy(self._present), self._beside)

    @property
    def in_charge(self) -> GuardedScheduler:
        """See :class:`NamedScheduler`."""
        return self._present

    @property
    def shares(self) -> dict[str, float]:
        """See :class:`NamedScheduler`."""
        return self._present.shares

    def begin(self, world: RequestWorld, history: Requests) -> None:
        """See :class:`RequestScheduler`."""
        self._present.begin(world, history)
        self._beside.begin(world, history)

    def decide(self, task_id: str, view: View, rng: np.random.Generator) -> Decision:
        """See :class:`NamedScheduler`."""
        decision = self._present.decide(task_id, view, rng)
        if task_id:
            self._beside.offer(view, decision.server)
        return decision


class SplitScheduler(NamedScheduler):
    """Lets a candidate decide for a share of the tasks, by a hash of their ids, and the present policy for the others.

    Args:
        present: The present policy; it begins anew.
        candidate: The candidate; where it fails, least-work-left decides, see :class:`GuardedScheduler`.
        share: Share of the tasks [1].

    Attributes:
        candidate: See above.
    """

    def __init__(self, present: GuardedScheduler, candidate: GuardedScheduler, share: float) -> None:
        self._present, self.candidate, self._share = present, candidate, share

    def __copy__(self) -> SplitScheduler:
        """One that may begin on another fleet while this one decides."""
        return SplitScheduler(copy.copy(self._present), copy.copy(self.candidate), self._share)

    @property
    def in_charge(self) -> GuardedScheduler:
        """See :class:`NamedScheduler`."""
        return self._present

    @property
    def shares(self) -> dict[str, float]:
        """See :class:`NamedScheduler`."""
        shares = dict.fromkeys((self._present.decides, self.candidate.decides), 0.0)
        shares[self._present.decides] += 1.0 - self._share
        shares[self.candidate.decides] += self._share
        return shares

    def is_for_candidate(self, task_id: str) -> bool:
        """Whether the candidate decides for a task; one has the same answer always, and after a restart."""
        return _fraction(f"{self.candidate.fingerprint}{task_id}") < self._share

    def begin(self, world: RequestWorld, history: Requests) -> None:
        """See :class:`RequestScheduler`."""
        self._present.begin(world, history)
        self.candidate.begin_or_leave(world, history)

    def decide(self, task_id: str, view: View, rng: np.random.Generator) -> Decision:
        """See :class:`NamedScheduler`."""
        decides = self.candidate if self.is_for_candidate(task_id) else self._present
        return decides.decide(task_id, view, rng)


def _fraction(text: str) -> float:
    """A number between 0 and 1, always the same for a text, and as if drawn for texts that differ."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) / 2**64
