"""Hyperparameters of LAD-Dispatch: those of its actor, and how that learns; needs no torch."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lad_rllib.algorithms.common.hyperparameters import (
    MAX_RATE,
    MAX_STEPS,
    MEANING,
    NETWORK,
    POLICY,
    WHOLE,
    Count,
    Flag,
    LearningHyperparameters,
    Positive,
    Share,
    TaskLossHyperparameters,
    Width,
    check_noise_rates,
)
from lad_rllib.declared import Declared


class ActorHyperparameters(Declared):
    """What an actor is, apart from its weights."""

    hidden_size: Annotated[Width, NETWORK, MEANING] = 32
    """Width of the network."""
    policy_denoising_steps: Annotated[int, Field(ge=0, le=MAX_STEPS), WHOLE, NETWORK, MEANING] = 5
    """Denoising steps I of the actor; 0 is a plain network without a chain."""
    beta_min: Annotated[float, Field(gt=0, le=1000), NETWORK, MEANING] = 0.1
    """Lowest noise rate of the diffusion."""
    beta_max: Annotated[float, Field(gt=0, le=1000), NETWORK, MEANING] = 10.0
    """Highest noise rate of the diffusion."""
    latent_start: Annotated[Literal["memory", "zero", "learned"], NETWORK, MEANING] = "zero"
    """What a chain starts from: zero; memory: the last x_0 of the same server; or learned from what is seen of it."""
    latent_decay: Annotated[Share, NETWORK, MEANING] = 0.5
    """With latent_start memory: share of the last x_0 that is kept in the start."""
    prior_weight: Annotated[float, Field(ge=0, le=1000), NETWORK, MEANING] = 6.0
    """Weight of the prior's log cost in the logits."""
    wait_cap: Annotated[float | None, Field(ge=0), NETWORK, POLICY, Flag("X")] = None
    """Once it is trained, a request goes only where it would wait for at most the least delay that it can have and so
    many times the wait that all servers would have if their work was spread evenly: the longest delays get shorter, and
    the mean may grow. null: no limit."""

    @model_validator(mode="after")
    def _rates_in_order(self) -> Self:
        check_noise_rates(self.beta_min, self.beta_max)
        return self


class LADDispatchHyperparameters(TaskLossHyperparameters, ActorHyperparameters, LearningHyperparameters):
    """What LAD-Dispatch has: an actor that scores servers, and policy mirror descent."""

    percentile_bound_ratio: Positive | None = None
    """The bound of bounded_percentile over what least-work-left has on the same requests, instead of
    percentile_bound_s: every episode has a bound of its own, so that hard ones do not count as misses, and fleets may
    differ."""
    sampled_requests: Count = 4000
    """Requests of an episode whose costs are computed and learned from."""
    updates_per_iteration: Annotated[int, Field(ge=1, le=100_000), WHOLE] = 60
    """Gradient steps for each iteration."""
    train_batch_size_per_learner: Annotated[int, Field(ge=1, le=10**7), WHOLE] = 256
    """Requests in a gradient step, for each learner."""
    actor_lr: Annotated[float, Field(gt=0, le=MAX_RATE)] = 3e-3
    """First learning rate."""
    last_actor_lr: Annotated[float, Field(gt=0, le=MAX_RATE)] = 1e-3
    """Learning rate from step_size_iterations on; until then it falls geometrically."""
    step_size: Positive = 8.0
    """First step size of mirror descent, over the policy's mean cost."""
    last_step_size: Positive = 0.5
    """Step size from step_size_iterations on; until then it falls geometrically."""
    step_size_iterations: Count = 60
    """Iterations over which step size and learning rate fall."""
    grad_clip: Positive | None = 1.0
    """Limit of the gradient's norm; null: no limit."""
    discount: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Weight of another request's delay for each second that it comes later; 1 counts an episode to its end."""
    temperature: Positive = 1.0
    """What logits are divided by before a server is drawn, while it learns."""
    averaging_exponent: Annotated[float, Field(ge=0)] | None = 8.0
    """The actor that is evaluated and deployed is the mean of the actors of all iterations, the k-th weighted with
    about k ** averaging_exponent (8: the last ninth, roughly); null: the last one."""

    @property
    def bounds(self) -> dict[str, float | None]:
        """See :class:`TaskLossHyperparameters`."""
        return super().bounds | {"percentile_bound_ratio": self.percentile_bound_ratio}
