"""Hyperparameters of LAD-PMD; needs no torch."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lad_rllib.algorithms.common.hyperparameters import (
    MEANING,
    NETWORK,
    Count,
    DiffusionHyperparameters,
    Flag,
    Positive,
    Rate,
    Share,
    TaskLossHyperparameters,
    Width,
)


class LADPMDHyperparameters(TaskLossHyperparameters, DiffusionHyperparameters):
    """What LAD-PMD has: a diffusion actor on a prior, and policy mirror descent."""

    hidden_sizes: Annotated[list[Width], Field(min_length=1, max_length=16), NETWORK, MEANING] = [64, 64]
    """Widths of the denoiser's hidden layers."""
    denoiser_output: Annotated[Literal["softmax", "linear"], NETWORK, MEANING] = "linear"
    """The denoiser's last layer."""
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.99
    """Discount factor of the delay of tasks in later slots; 1 counts an episode to its end."""
    actor_lr: Rate = 1e-3
    """Learning rate of the actors; in a file also a schedule."""
    latent_start: Annotated[Literal["memory", "zero", "learned"], NETWORK, MEANING] = "zero"
    """What the diffusion starts from: the latent action (memory), zeros, or a start of each station and task index that
    is learned with the network."""
    latent_index: Annotated[Literal["station_slot_task", "station_task"], MEANING] = "station_task"
    """What a latent action belongs to, with latent_start memory."""
    latent_decay: Annotated[Share, NETWORK, MEANING] = 0.5
    """With latent_start memory: share of an action's x_0 that is left in the latent action that the next chain starts
    from."""
    start_lr: Rate = 0.03
    """With latent_start learned: learning rate of the starts, in units of logits, a number or a schedule."""
    shared_actor: Annotated[bool, NETWORK, MEANING] = True
    """One actor for all stations, which learns from the tasks of all, or one for each station."""
    prior_queue_weight: Annotated[float, Field(ge=0), NETWORK, MEANING] = 1.0
    """By how much the prior's logit of a server falls for each slot of waiting time in its queue. More makes learning
    steadier; too much makes stations herd."""
    in_slot_view: Annotated[Literal["none", "own", "all"], NETWORK, MEANING, Flag()] = "none"
    """What a decision knows of earlier ones in the same slot: none: all are made at slot start; own: where the
    station's earlier tasks went; all: where all earlier tasks went, station by station, as one dispatcher for all
    stations knows it, and the greedy oracle. With all, a strong prior (prior_queue_weight 4) does not make stations
    herd."""
    step_size: Positive = 3.0
    """First step size of mirror descent, over the policy's mean cost."""
    last_step_size: Positive = 0.1
    """Step size from step_size_iterations on; until then it falls geometrically."""
    step_size_iterations: Count = 100
    """Iterations over which the step size falls."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the policy's last step that is taken again. It speeds learning up where costs differ little, as below
    saturation, and makes it less steady."""
    averaging_exponent: Annotated[float, Field(ge=0)] | None = 8.0
    """The actor that is evaluated and deployed is the mean of the actors of all iterations, the k-th weighted with
    about k ** averaging_exponent (8: the last ninth, roughly); null: the last one. The one that plays while it learns
    is always the last one."""

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.in_slot_view == "all" and not self.shared_actor:
            raise ValueError("in_slot_view 'all' is one dispatcher's: it needs shared_actor=True")
        return self
