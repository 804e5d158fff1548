"""How the learner's weights get to the runners."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ray
import torch
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_RL_MODULE, DEFAULT_MODULE_ID

from lad_rllib.algorithms.common.networks import ActingNetworks

if TYPE_CHECKING:
    from lad_rllib.algorithms.common.base_algorithm import SchedulingAlgorithm


class WeightSharing:
    """Gives an algorithm's runners the weights of its learner.

    The local runner gets them at once. They are put into Ray's object store once for all remote runners, whose next
    request carries a reference to them: a runner that still plays is not waited for, and never plays with other weights
    than its request says.

    Attributes:
        version: How often weights were shared.
        latest: Reference to the latest weights; None: runners have them.
    """

    def __init__(self, algorithm: SchedulingAlgorithm) -> None:
        self._algorithm = algorithm
        self._copied: dict[ActingNetworks, list[torch.Tensor]] = {}
        self.version = 0
        self.latest: ray.ObjectRef | None = None

    def share(self) -> None:
        """Give the training runners what they act with."""
        algorithm = self._algorithm
        if algorithm.rollouts.are_remote or algorithm.learner_group.is_remote:
            weights = self._of_learner()
            self._publish(weights)
            algorithm.env_runner.set_state(weights)
        else:
            self._copy_actors()
        self.version += 1

    def _of_learner(self) -> dict[str, Any]:
        state = self._algorithm.learner_group.get_state(
            components=f"{COMPONENT_LEARNER}/{COMPONENT_RL_MODULE}", inference_only=True
        )
        weights: dict[str, Any] = state[COMPONENT_LEARNER]
        return weights

    def _publish(self, weights: dict[str, Any]) -> None:
        """Have the next request of every remote runner carry these weights."""
        if self._algorithm.rollouts.are_remote:
            self.latest = ray.put(weights)

    @torch.no_grad()
    def _copy_actors(self) -> None:
        """Copy the actors from the local learner to the local runner, past the object store."""
        learner, runner = self._algorithm.learner_group._learner, self._algorithm.env_runner
        source: ActingNetworks = learner.module[DEFAULT_MODULE_ID].networks
        target: ActingNetworks = runner.module.networks
        if self._copied.keys() != {source, target}:
            self._copied = {networks: _acting_tensors(networks) for networks in (source, target)}
        torch._foreach_copy_(self._copied[target], self._copied[source])
        runner._weights_seq_no = learner._weights_seq_no

    def force(self) -> None:
        """Give all runners the learner's weights: by itself, RLlib leaves a runner with newer ones as it is."""
        algorithm = self._algorithm
        weights = self._of_learner()
        for group in (algorithm.env_runner_group, algorithm.eval_env_runner_group):
            if group is not None:
                group.foreach_env_runner(lambda runner: _load_weights(runner, weights))
        self._publish(weights)


def _acting_tensors(networks: ActingNetworks) -> list[torch.Tensor]:
    """All weights and buffers of the actors that environment runners need."""
    return [tensor for actor in networks.inference_actors() for tensor in (*actor.parameters(), *actor.buffers())]


def _load_weights(runner: Any, state: dict[str, Any]) -> None:
    """Load weights whatever version the runner has."""
    runner._weights_seq_no = 0
    runner.set_state(state)
