"""A trained policy of LAD-Dispatch by itself: a scheduler of requests that decides without RLlib, torch and Ray."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from lad_rllib.algorithms.lad_dispatch.actor_settings import ActorSettings
from lad_rllib.algorithms.lad_dispatch.familiar import SeenRange
from lad_rllib.algorithms.lad_dispatch.features import FEATURES, NUM_FEATURES
from lad_rllib.algorithms.lad_dispatch.hyperparameters import ActorHyperparameters
from lad_rllib.algorithms.lad_dispatch.knowledge import HANDED_OVER, knowledge
from lad_rllib.declared import shown
from lad_rllib.errors import ConfigurationError
from lad_rllib.names import SHIPPED_POLICIES
from lad_rllib.scheduling.request_scheduler import RuleScheduler
from lad_rllib.simulator.order import Order, order_text
from lad_rllib.simulator.requests import Requests, RequestWorld
from lad_rllib.simulator.requests.play import CompiledRule
from lad_rllib.simulator.requests.view import View

if TYPE_CHECKING:
    from lad_rllib.algorithms.common.policy_file import SavedPolicy

_LOG = logging.getLogger(__name__)
FINGERPRINT = 12
"""Digits of the weights' SHA-256 by which a policy is told from others of its name."""


class DispatchPolicy(RuleScheduler):
    """Sends each request to the server that a trained actor scores highest, or draws it from the actor's policy.

    The same weights decide for any number of servers.

    Args:
        actor: What the actor is; an algorithm's hyperparameters have it.
        weights: Its weights.
        explore: Draw servers from the policy; otherwise take the most probable ones.
        title: Name of the algorithm that trained it.
        orders: Orders of service that it was trained for, as policy files have them; another one is said in a warning.
        seen: What it has seen while it learned. A request for which anything is beyond that goes where least work is
            left, and a warning says what it was. None: it decides for all.
        fingerprint: First digits of the SHA-256 of its weights' file.
    """

    def __init__(
        self,
        actor: ActorHyperparameters,
        weights: NDArray[np.float32],
        *,
        explore: bool = False,
        title: str = "policy",
        orders: Sequence[str] = (),
        seen: SeenRange | None = None,
        fingerprint: str = "",
    ) -> None:
        super().__init__()
        self.actor, self.weights = ActorSettings.of(actor), weights
        self.explore, self.title = explore, title
        self.orders, self.seen, self._said = tuple(orders), seen, frozenset[str]()
        self.fingerprint = fingerprint

    @classmethod
    def from_checkpoint(cls, path: str | Path, explore: bool = False) -> Self:
        """Load the policy of a checkpoint, or its folder ``policy`` alone; runs no code of the files.

        Args:
            path: Folder on this machine.
            explore: See the class.

        Raises:
            ConfigurationError: if there is no policy, it is damaged or malformed, or does not decide by request.
        """
        from lad_rllib.algorithms.common.policy_file import read_policy  # loads RLlib and torch

        return cls.of_saved(read_policy(path), explore)

    @classmethod
    def pretrained(cls, name: str = "any-fleet", explore: bool = False) -> Self:
        """A policy that comes with the package.

        Args:
            name: Which one: ``any-fleet``, for every fleet, order of service and traffic like those of
                ``--setting any-fleet``.
            explore: See the class.

        Raises:
            ConfigurationError: if there is none of this name.

        >>> from lad_rllib import build_request_setting, play_requests
        >>> setting = build_request_setting({"preset": "unequal-8", "requests": 1000})
        >>> requests, rng = setting.draw(np.random.default_rng(0)), np.random.default_rng(1)
        >>> policy = DispatchPolicy.pretrained("any-fleet")
        >>> served = play_requests(policy, setting.world, requests, setting.history(), rng)
        >>> bool(served.delay_s.mean() < 20)
        True
        """
        if name not in SHIPPED_POLICIES:
            raise ConfigurationError(f"there is no policy {shown(name)}; choose from {', '.join(SHIPPED_POLICIES)}")
        return cls.from_checkpoint(name, explore)

    @classmethod
    def of_saved(cls, saved: SavedPolicy, explore: bool = False) -> Self:
        """The policy that was read from a file.

        Raises:
            ConfigurationError: if it does not decide request by request.
        """
        from lad_rllib.algorithms.lad_dispatch.policy_file import SavedDispatchPolicy

        if not isinstance(saved, SavedDispatchPolicy):
            raise ConfigurationError(f"a policy of {saved.title} decides slot by slot, this takes one of requests")
        actor = saved.load_networks().evaluated_actor
        return cls(
            actor.settings,
            actor.packed(),
            explore=explore,
            title=saved.title,
            orders=saved.description.orders,
            seen=saved.seen,
            fingerprint=saved.description.weights.sha256[:FINGERPRINT],
        )

    def with_wait_cap(self, cap: float | None) -> Self:
        """The same policy with another limit to what a request may wait, see :class:`ActorSettings`."""
        actor = type(self.actor).model_validate(self.actor.model_dump() | {"wait_cap": cap})
        return type(self)(
            actor,
            self.weights,
            explore=self.explore,
            title=self.title,
            orders=self.orders,
            seen=self.seen,
            fingerprint=self.fingerprint,
        )

    def is_meant_for(self, order: Order) -> bool:
        """Whether it was trained for an order of service."""
        text = order_text(order)
        return not self.orders or text in self.orders or text.partition(":")[0] in self.orders

    def rule(self, world: RequestWorld, history: Requests) -> CompiledRule:
        """See :class:`RuleScheduler`; warns of an order of service that it was not trained for."""
        if not self.is_meant_for(world.order):
            meant, here = ", ".join(self.orders), order_text(world.order)
            _LOG.warning("%s was trained for order %s and is served %s; train one for it", self.title, meant, here)
        bounds = None if self.seen is None else self.seen.bounds()
        temperature = 1.0 if self.explore else 0.0
        return self.actor.rule(knowledge(world, history), self.weights, temperature, bounds=bounds)

    def begin(self, world: RequestWorld, history: Requests) -> None:
        """See :class:`RuleScheduler`."""
        super().begin(world, history)
        self._said = frozenset()

    def choose(self, view: View, rng: np.random.Generator) -> int:
        """See :class:`RuleScheduler`; warns the first time that something is beyond what was seen in training."""
        before = self.handed_over
        server = super().choose(view, rng)
        if self.handed_over > before and (new := self.unfamiliar.keys() - self._said):
            self._said |= new
            _LOG.warning(
                "%s hands a request over to least work left: beyond what training saw: %s",
                self.title,
                "; ".join(sorted(new)),
            )
        return server

    @property
    def handed_over(self) -> int:
        """Requests since :meth:`begin` that least work left decided, as they were not like those of training."""
        return int(self._memory[HANDED_OVER]) if len(self._memory) else 0

    @property
    def unfamiliar(self) -> dict[str, int]:
        """What was beyond what training saw, and for how many requests since :meth:`begin`."""
        counts = self._memory[-NUM_FEATURES:] if len(self._memory) else ()
        return {FEATURES[column]: int(count) for column, count in enumerate(counts) if count}


def load_request_scheduler(path: str | Path, explore: bool = False) -> DispatchPolicy:
    """The scheduler of requests that a checkpoint holds, see :meth:`DispatchPolicy.from_checkpoint`."""
    return DispatchPolicy.from_checkpoint(path, explore)
