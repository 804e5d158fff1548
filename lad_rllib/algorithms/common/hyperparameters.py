"""Every hyperparameter's type and bounds, declared once; types are checked before bounds."""

from __future__ import annotations

import math
import os
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from lad_rllib.declared import Declared
from lad_rllib.errors import ConfigurationError

GREATEST_RATE = 10.0
MOST_STEPS = 1000
MOST_UPDATES_PER_SLOT = 10_000
WIDEST_LAYER = 65_536
THREADS_PER_CORE, LEAST_THREAD_LIMIT = 4, 64


def _schedule(value: Any) -> Any:
    """A learning rate: a number, or RLlib's ``[[timestep, rate], ...]`` from timestep 0 on."""
    if not isinstance(value, list):
        return value
    pairs = [pair for pair in value if isinstance(pair, list) and len(pair) == 2 and all(map(_is_finite, pair))]
    times = [pair[0] for pair in pairs]
    if len(pairs) < max(len(value), 2) or times[0] != 0 or times != sorted(set(times)):
        raise ValueError(
            "must be a number, or a schedule [[0, rate], [timestep, rate], ...] whose timesteps rise from 0"
        )
    if not all(0 < pair[1] <= GREATEST_RATE for pair in pairs):
        raise ValueError(f"must be a schedule whose rates are above 0 and at most {GREATEST_RATE:g}")
    return value


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -math.inf < value < math.inf


def _whole(value: Any) -> Any:
    """Search algorithms give whole numbers as 3.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Positive = Annotated[float, Field(gt=0)]
Rate = Annotated[
    Annotated[float, Field(gt=0, le=GREATEST_RATE)] | list[list[float]],
    BeforeValidator(_schedule, json_schema_input_type=Any),
]
Share = Annotated[float, Field(ge=0, le=1)]
WHOLE = BeforeValidator(_whole)
Count = Annotated[int, Field(ge=1), WHOLE]
Width = Annotated[int, Field(ge=1, le=WIDEST_LAYER), WHOLE]


def _no_text_but_auto(value: Any) -> Any:
    if isinstance(value, str) and value != "auto":
        raise ValueError("must be a number or 'auto'")
    return value


class Hyperparameters(Declared):
    """What :meth:`LADTSConfig.training` takes, as values; see there for meanings and sources."""

    preset: Literal["published_code", "paper"]
    actor: Literal["diffusion", "mlp"]
    latent_start: Literal["memory", "noise", "zero", "learned"]
    policy_denoising_steps: Annotated[int, Field(ge=1, le=MOST_STEPS), WHOLE]
    hidden_sizes: Annotated[list[Width], Field(min_length=1, max_length=16)]
    beta_min: Annotated[float, Field(gt=0, le=1000)]
    beta_max: Annotated[float, Field(gt=0, le=1000)]
    latent_index: Literal["station_slot_task", "station_task"]
    latent_content: Literal["probabilities", "logits"]
    denoiser_output: Literal["softmax", "linear"]
    clip_denoised: Positive | None
    replay_latent: Literal["after_acting", "before_acting"]
    replay_next_queues: Literal["zeros", "actual"]
    draws: Literal["independent", "stratified", "coordinated"]
    objective: Literal["own_delay", "system_delay"]
    penalty: dict[str, Any] | None
    bounded_percentile: Annotated[float, Field(gt=0, lt=100)] | None
    percentile_bound_s: Positive | None
    step_size: Positive
    last_step_size: Positive
    step_size_iterations: Count
    momentum: Annotated[float, Field(ge=0, lt=1)]
    shared_actor: bool
    prior_queue_weight: Annotated[float, Field(ge=0)]
    in_slot_view: Literal["none", "own", "all"]
    latent_decay: Share
    start_lr: Rate
    averaging_exponent: Annotated[float, Field(ge=0)] | None
    tau: Annotated[float, Field(gt=0, le=1)]
    gamma: Share
    initial_alpha: Annotated[float, Field(gt=0, le=1e6)]
    target_entropy: Annotated[float | str, BeforeValidator(_no_text_but_auto)]
    actor_lr: Rate
    critic_lr: Rate
    alpha_lr: Rate
    grad_clip: Positive | None
    grad_clip_by: Literal["value", "norm", "global_norm"]
    replay_capacity: Annotated[int, Field(ge=1, le=10**8), WHOLE]
    learning_starts: Annotated[int, Field(ge=0, le=10**8), WHOLE]
    train_batch_size_per_learner: Annotated[int, Field(ge=1, le=10**7), WHOLE]
    updates_per_slot: Annotated[float, Field(ge=0, le=MOST_UPDATES_PER_SLOT)]
    torch_threads: Annotated[int, Field(ge=1), WHOLE]
    kernels: Literal["auto", "torch", "compiled"]


def check_torch_threads(threads: int) -> None:
    """Refuse more threads than could run.

    Raises:
        ConfigurationError: names the limit.
    """
    most = max(LEAST_THREAD_LIMIT, THREADS_PER_CORE * (os.cpu_count() or 1))
    if threads > most:
        raise ConfigurationError(f"torch_threads must be at most {most} on this machine, got {threads}")
