"""Hyperparameters of DQN-TS; needs no torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lad_rllib.algorithms.common.hyperparameters import NETWORK, Count, Rate, ReplayHyperparameters


class DQNTSHyperparameters(ReplayHyperparameters):
    """What Q-learning has."""

    critic_lr: Rate = 1e-4
    """Learning rate of the Q networks; in a file also a schedule."""
    epsilon: Annotated[float, Field(ge=0, lt=1), NETWORK] = 0.01
    """Probability of a uniform choice when exploring."""
    target_update_period: Count = 200
    """Updates of a station between two copies of its network into its target."""
