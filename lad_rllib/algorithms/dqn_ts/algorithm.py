"""DQN-TS: one deep Q network for each base station, with the environment, replay and pace of LAD-TS.

A learned baseline of arXiv 2412.18212, whose text gives its exploration (0.01), learning rate (1e-4) and the period of
its target (200 updates); plain Q-learning of arXiv 1312.5602 and a target network, neither double nor dueling.
"""

from __future__ import annotations

from torch import Tensor

from lad_rllib.algorithms.common.learner import FleetTorchLearner
from lad_rllib.algorithms.common.off_policy import OffPolicyAlgorithm, OffPolicyConfig
from lad_rllib.algorithms.common.rl_module import FleetTorchRLModule
from lad_rllib.algorithms.dqn_ts.hyperparameters import DQNTSHyperparameters
from lad_rllib.algorithms.dqn_ts.networks import QNetworks, update_q_networks


class DQNTSTorchRLModule(FleetTorchRLModule):
    """RLModule around :class:`QNetworks`; its action logits are log-probabilities of the epsilon-greedy policy."""

    networks_class = QNetworks


class DQNTSTorchLearner(FleetTorchLearner):
    """Q-learning step of every station."""

    def update_networks(self, networks: QNetworks, batch: dict[str, Tensor], ready: Tensor | None) -> dict[str, Tensor]:
        """One update of all stations, see :func:`update_q_networks`."""
        return update_q_networks(
            networks,
            batch,
            lambda name, gradients: self.take_step(gradients, {name: ready}),
            gamma=self.config.gamma,
            target_update_period=self.config.target_update_period,
            ready=ready,
        )


class DQNTSConfig(OffPolicyConfig):
    """Configures :class:`DQNTS`."""

    name = "dqn-ts"
    title = "DQN-TS"
    hyperparameters = DQNTSHyperparameters
    module_class = DQNTSTorchRLModule

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or DQNTS)

    def get_default_learner_class(self) -> type:
        """Learner of the algorithm."""
        return DQNTSTorchLearner


class DQNTS(OffPolicyAlgorithm):
    """Learns where to send each task with Q-learning."""

    @classmethod
    def get_default_config(cls) -> DQNTSConfig:
        """The published settings."""
        return DQNTSConfig(algo_class=cls)
