"""Hyperparameters of LAD-Dispatch: those of its actor, and how that learns."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lad_rllib.algorithms.common.hyperparameters import MAX_RATE, WHOLE, Count, LearningHyperparameters, Positive
from lad_rllib.algorithms.common.task_loss import TaskLossHyperparameters
from lad_rllib.algorithms.lad_dispatch.actor_settings import ActorSettings


class LADDispatchHyperparameters(TaskLossHyperparameters, ActorSettings, LearningHyperparameters):
    """What LAD-Dispatch has: an actor that scores servers, and policy mirror descent."""

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
