"""A trained policy of LAD-Dispatch by itself: a scheduler of requests, without RLlib's runners or a Ray cluster."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lad_rllib.algorithms.common.policy_description import PolicyDescription
from lad_rllib.algorithms.common.policy_file import SavedPolicy, read_policy
from lad_rllib.algorithms.lad_dispatch.knowledge import knowledge
from lad_rllib.algorithms.lad_dispatch.networks import ActorSettings
from lad_rllib.algorithms.lad_dispatch.rl_module import DispatchNetworks
from lad_rllib.errors import ConfigurationError
from lad_rllib.scheduling.request_scheduler import RuleScheduler
from lad_rllib.simulator.order import Order, order_text
from lad_rllib.simulator.requests import Requests, RequestWorld
from lad_rllib.simulator.requests.play import CompiledRule

_LOG = logging.getLogger(__name__)


class DispatchPolicyDescription(PolicyDescription):
    """All of ``policy.json`` of a policy that decides request by request.

    Attributes:
        orders: Orders of service that it was trained for: ``name:field=number``, or a name alone, whatever its fields.
    """

    orders: list[str] = Field(min_length=1)


class SavedDispatchPolicy(SavedPolicy):
    """A trained policy of LAD-Dispatch as it was saved; it fits any fleet."""

    description_class = DispatchPolicyDescription
    description: DispatchPolicyDescription

    def build_networks(self, *, inference_only: bool = True) -> DispatchNetworks:
        """See :class:`SavedPolicy`."""
        return DispatchNetworks(inference_only=inference_only, **self.arguments)

    def check_size(self) -> None:
        """See :class:`SavedPolicy`."""
        hidden, there = self.hyperparameters["hidden_size"], sum(array.size for array in self.weights.values())
        if hidden > there:
            raise ValueError(f"a network of {hidden} hidden units has more weights than the {there} that there are")

    @classmethod
    def described(cls, algorithm: Any, spec: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """See :class:`SavedPolicy`."""
        return algorithm.trained_for, algorithm.seen.arrays()


class DispatchPolicy(RuleScheduler):
    """Sends each request to the server that a trained actor scores highest, or draws it from the actor's policy.

    The same weights decide for any number of servers.

    Args:
        actor: What the actor is.
        weights: Its weights.
        explore: Draw servers from the policy; otherwise take the most probable ones.
        title: Name of the algorithm that trained it.
        orders: Orders of service that it was trained for, as policy files have them; another one is said in a warning.
    """

    def __init__(
        self,
        actor: ActorSettings,
        weights: NDArray[np.float32],
        *,
        explore: bool = False,
        title: str = "policy",
        orders: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.actor, self.weights, self.explore, self.title = actor, weights, explore, title
        self.orders = tuple(orders)

    @classmethod
    def from_checkpoint(cls, path: str | Path, explore: bool = False) -> Self:
        """Load the policy of a checkpoint, or its folder ``policy`` alone; runs no code of the files.

        Args:
            path: Folder on this machine.
            explore: See the class.

        Raises:
            ConfigurationError: if there is no policy, it is damaged or malformed, or does not decide by request.
        """
        return cls.of_saved(read_policy(path), explore)

    @classmethod
    def of_saved(cls, saved: SavedPolicy, explore: bool = False) -> Self:
        """The policy that was read from a file.

        Raises:
            ConfigurationError: if it does not decide request by request.
        """
        if not isinstance(saved, SavedDispatchPolicy):
            raise ConfigurationError(f"a policy of {saved.title} decides slot by slot, this takes one of requests")
        actor = saved.load_networks().evaluated_actor
        return cls(actor.settings, actor.packed(), explore=explore, title=saved.title, orders=saved.description.orders)

    def is_meant_for(self, order: Order) -> bool:
        """Whether it was trained for an order of service."""
        text = order_text(order)
        return not self.orders or text in self.orders or text.partition(":")[0] in self.orders

    def rule(self, world: RequestWorld, history: Requests) -> CompiledRule:
        """See :class:`RuleScheduler`; warns of an order of service that it was not trained for."""
        if not self.is_meant_for(world.order):
            meant, here = ", ".join(self.orders), order_text(world.order)
            _LOG.warning("%s was trained for order %s and is served %s; train one for it", self.title, meant, here)
        return self.actor.rule(knowledge(world, history), self.weights, 1.0 if self.explore else 0.0)


def load_request_scheduler(path: str | Path, explore: bool = False) -> DispatchPolicy:
    """The scheduler of requests that a checkpoint holds, see :meth:`DispatchPolicy.from_checkpoint`."""
    return DispatchPolicy.from_checkpoint(path, explore)
