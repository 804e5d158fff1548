"""Hyperparameters of soft actor-critic, with and without a diffusion actor; needs no torch."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from lad_rllib.algorithms.common.hyperparameters import (
    NETWORK,
    REPLAY_PRESETS,
    DiffusionHyperparameters,
    Flag,
    Rate,
    ReplayHyperparameters,
)

PRESETS: dict[str, dict[str, Any]] = {
    "published_code": REPLAY_PRESETS["published_code"] | {"target_entropy": -1.0},
    "paper": REPLAY_PRESETS["paper"] | {"target_entropy": "auto"},
}
"""Where the paper's text and its published code differ in the learning of actors and critics."""


DIFFUSION_PRESETS: dict[str, dict[str, Any]] = {
    "published_code": PRESETS["published_code"] | {"denoiser_output": "softmax", "clip_denoised": None},
    "paper": PRESETS["paper"] | {"denoiser_output": "linear", "clip_denoised": 3.0},
}
"""Where the paper's text and its published code differ in actors, critics and replay."""


def _no_text_but_auto(value: Any) -> Any:
    if isinstance(value, str) and value != "auto":
        raise ValueError("must be a number or 'auto'")
    return value


class SoftActorCriticHyperparameters(ReplayHyperparameters):
    """What soft actor-critic has, whatever its actor."""

    tau: Annotated[float, Field(gt=0, le=1)] = 0.005
    """Share of the critics that goes into their targets at each update."""
    initial_alpha: Annotated[float, Field(gt=0, le=1e6), NETWORK, Flag("X")] = 0.05
    """Temperature at the start."""
    target_entropy: Annotated[float | str, BeforeValidator(_no_text_but_auto)] = -1.0
    """Entropy [nat] that the temperature steers to; auto: half of that of a uniform choice, log(A) / 2. The published
    -1 cannot be reached: there the temperature only falls."""
    actor_lr: Annotated[Rate, Flag("X")] = 1e-4
    """Learning rate of the actors; in a file also a schedule over environment steps (slots times environments):
    [[0, 1e-4], [30_000, 1e-5]]."""
    critic_lr: Annotated[Rate, Flag("X")] = 1e-3
    """Learning rate of the critics; in a file also a schedule."""
    alpha_lr: Annotated[Rate, Flag("X")] = 3e-4
    """Learning rate of the temperatures; in a file also a schedule."""


class DiffusionCriticHyperparameters(SoftActorCriticHyperparameters, DiffusionHyperparameters):
    """What soft actor-critic with a diffusion actor has."""
