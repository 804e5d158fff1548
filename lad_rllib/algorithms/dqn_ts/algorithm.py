"""DQN-TS: one deep Q network for each base station, with the environment, replay and pace of LAD-TS.

A learned baseline of arXiv 2412.18212, whose text gives its exploration (0.01), learning rate (1e-4) and the period of
its target (200 updates); plain Q-learning of arXiv 1312.5602 and a target network, neither double nor dueling.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from torch import Tensor

from lad_rllib.algorithms.common.algorithm import LADTS
from lad_rllib.algorithms.common.config import OBJECTIVE_SETTINGS, LADTSConfig
from lad_rllib.algorithms.common.hyperparameters import Count, Hyperparameters
from lad_rllib.algorithms.common.learner import LADTSTorchLearner
from lad_rllib.algorithms.common.rl_module import LADTSTorchRLModule
from lad_rllib.algorithms.dqn_ts.networks import QNetworks, update_q_networks
from lad_rllib.algorithms.sac_ts import DIFFUSION_SETTINGS


class DQNTSTorchRLModule(LADTSTorchRLModule):
    """RLModule around :class:`QNetworks`; its action logits are log-probabilities of the epsilon-greedy policy."""

    networks_class = QNetworks


class DQNTSTorchLearner(LADTSTorchLearner):
    """Q-learning step of every station."""

    def update_networks(self, networks: QNetworks, batch: dict[str, Tensor], ready: Tensor | None) -> dict[str, Tensor]:
        """One update of all stations, see :func:`update_q_networks`."""
        return update_q_networks(
            networks,
            batch,
            lambda name, gradients: self._apply_gradients(gradients, {name: ready}),
            gamma=self.config.gamma,
            target_update_period=self.config.target_update_period,
            ready=ready,
        )


class DQNHyperparameters(Hyperparameters):
    """Those of all algorithms, and two of Q-learning."""

    epsilon: Annotated[float, Field(ge=0, lt=1)]
    target_update_period: Count


class DQNTSConfig(LADTSConfig):
    """Configures :class:`DQNTS`.

    The learning rate is ``critic_lr``. The settings of actors, temperatures, diffusion and latent actions are refused;
    a preset changes nothing.
    """

    title = "DQN-TS"
    hyperparameters = DQNHyperparameters
    without = (
        DIFFUSION_SETTINGS | OBJECTIVE_SETTINGS | {"tau", "initial_alpha", "target_entropy", "actor_lr", "alpha_lr"}
    )

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or DQNTS)
        self.actor = "mlp"
        self.critic_lr = 1e-4
        self.epsilon = 0.01
        self.target_update_period = 200

    def training(
        self, *, epsilon: float = NotProvided, target_update_period: int = NotProvided, **kwargs: Any
    ) -> DQNTSConfig:
        """Set hyperparameters; values are those of the published experiments by default.

        Args:
            epsilon: Probability of a uniform choice when exploring (0.01).
            target_update_period: Updates of a station between two copies of its network into its target (200).
            **kwargs: Those of :meth:`LADTSConfig.training` that Q-learning has, among them ``critic_lr`` (1e-4).

        Raises:
            TypeError: for an unknown key.
        """
        super().training(**kwargs)
        if epsilon is not NotProvided:
            self.epsilon = epsilon
        if target_update_period is not NotProvided:
            self.target_update_period = target_update_period
        return self

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """Module that the algorithm builds unless the user gives another."""
        return RLModuleSpec(module_class=DQNTSTorchRLModule)

    def get_default_learner_class(self) -> type:
        """Learner of the algorithm."""
        return DQNTSTorchLearner

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        known = super()._model_config_auto_includes
        own = set(known) - set(self.without) - {"actor"}
        return {key: known[key] for key in own} | {"epsilon": self.epsilon}


class DQNTS(LADTS):
    """Learns where to send each task with Q-learning."""

    @classmethod
    def get_default_config(cls) -> DQNTSConfig:
        """The published settings."""
        return DQNTSConfig(algo_class=cls)
