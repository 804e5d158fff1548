"""Hyperparameters that algorithms share, each declared once: type, bounds, default, meaning.

``training(...)``, checks, policy files, help and tables are derived from these declarations. A field whose value the
networks take is marked :data:`NETWORK`, one that trained weights depend on for their meaning :data:`MEANING`, and one
that is a property of the policy for another reason :data:`POLICY`. Whoever learns on from a policy keeps its
:data:`MEANING` and its :data:`POLICY`, see :func:`of_policy`; all others say how the next run learns. With a
:class:`Flag` a field is an option of the command line, too. Declarations need neither torch nor RLlib.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from lad_rllib.declared import Declared, shown
from lad_rllib.errors import ConfigurationError

MAX_RATE = 10.0
MAX_STEPS = 1000
MAX_UPDATES_PER_SLOT = 10_000
MAX_LAYER_WIDTH = 65_536
MAX_STALENESS = 100
THREADS_PER_CORE, MIN_THREAD_LIMIT = 4, 64


class Mark(Enum):
    """What else a hyperparameter is, beside a value that decides how an algorithm learns."""

    NETWORK = "an argument of the networks"
    MEANING = "changes what trained weights mean"
    POLICY = "a property of the policy, whatever its weights mean"


NETWORK, MEANING, POLICY = Mark.NETWORK, Mark.MEANING, Mark.POLICY


@dataclass(frozen=True)
class Flag:
    """Marks a hyperparameter that is an option of the command line, too.

    Attributes:
        metavar: What stands for its value in help texts.
        read: Makes a value of the text that is given; None: the text is the value.
    """

    metavar: str | None = None
    read: Callable[[str], Any] | None = None


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
    if not all(0 < pair[1] <= MAX_RATE for pair in pairs):
        raise ValueError(f"must be a schedule whose rates are above 0 and at most {MAX_RATE:g}")
    return value


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -math.inf < value < math.inf


def _whole(value: Any) -> Any:
    """Search algorithms give whole numbers as 3.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1), WHOLE]
Width = Annotated[int, Field(ge=1, le=MAX_LAYER_WIDTH), WHOLE]
Rate = Annotated[
    Annotated[float, Field(gt=0, le=MAX_RATE)] | list[list[float]],
    BeforeValidator(_schedule, json_schema_input_type=Any),
]
"""A learning rate, or a schedule over environment steps (slots times environments): ``[[0, 1e-4], [30_000, 1e-5]]``."""


class LearningHyperparameters(Declared):
    """What every algorithm has; a sibling's own group inherits from this one and adds to it."""

    torch_threads: Count = 1
    """Threads of torch in the algorithm, each learner and each runner; with networks this small more threads are
    slower."""
    kernels: Annotated[Literal["auto", "torch", "compiled"], NETWORK] = "auto"
    """Who computes: auto: compiled kernels on the CPU where numba is installed, torch's operations elsewhere; torch:
    torch's alone; compiled: an error without numba. Results agree but for float32 rounding; kernels draw other noise
    from the same seed."""
    max_staleness: Annotated[int, Field(ge=0, le=MAX_STALENESS), WHOLE, Flag("N")] = 0
    """Most updates by which the weights may be behind that remote env runners played an episode with when it is learned
    from. 0: they wait for new weights; 1: they play the next episodes while the learner learns from the last ones;
    more: a long episode holds up nobody, and results depend on the clock."""


class Hyperparameters(LearningHyperparameters):
    """What every algorithm of a fleet in slots has."""

    hidden_sizes: Annotated[list[Width], Field(min_length=1, max_length=16), NETWORK, MEANING] = [20, 20]
    """Widths of the hidden layers of all networks."""
    draws: Literal["independent", "stratified", "coordinated"] = "independent"
    """How servers are drawn from the probabilities when exploring: independently for each task; stratified: each with
    its own probabilities still, but the tasks of a station in a slot spread as evenly as those say; coordinated: the
    tasks of all stations, which share one random number for each slot and tell one another how many tasks they have."""
    gamma: Annotated[Share, Flag("X")] = 0.95
    """Discount factor of later rewards."""
    grad_clip: Positive | None = None
    """Limit of each network's gradient by itself, as grad_clip_by says; null: no limit."""
    grad_clip_by: Literal["value", "norm", "global_norm"] = "global_norm"
    """What grad_clip limits: each value, or the norm of each network, which is one parameter."""
    train_batch_size_per_learner: Annotated[int, Field(ge=1, le=10**7), WHOLE] = 64
    """Tasks of each station in an update, for each learner."""
    updates_per_slot: Annotated[float, Field(ge=0, le=MAX_UPDATES_PER_SLOT), Flag("X")] = 1.0
    """Updates of all stations for each slot of each environment."""


class DiffusionHyperparameters(Hyperparameters):
    """What a diffusion actor has."""

    policy_denoising_steps: Annotated[int, Field(ge=1, le=MAX_STEPS), WHOLE, NETWORK, MEANING, Flag("I")] = 5
    """Denoising steps I of the actor."""
    beta_min: Annotated[float, Field(gt=0, le=1000), NETWORK, MEANING] = 0.1
    """Lowest noise rate of the diffusion."""
    beta_max: Annotated[float, Field(gt=0, le=1000), NETWORK, MEANING] = 10.0
    """Highest noise rate of the diffusion."""
    denoiser_output: Annotated[Literal["softmax", "linear"], NETWORK, MEANING] = "softmax"
    """The denoiser's last layer."""
    clip_denoised: Annotated[Positive | None, NETWORK, MEANING] = None
    """Limit L to which each denoising step clamps its estimate of x_0, so that logits are in [-L, L] and no server's
    probability is below exp(-2 L) times another's; null: no limit."""

    @model_validator(mode="after")
    def _rates_in_order(self) -> Self:
        check_noise_rates(self.beta_min, self.beta_max)
        return self


REPLAY_PRESETS: dict[str, dict[str, Any]] = {
    "published_code": {"replay_next_queues": "zeros"},
    "paper": {"replay_next_queues": "actual"},
}
"""Where the paper's text and its published code differ in what is replayed."""


class ReplayHyperparameters(Hyperparameters):
    """What a replay buffer has, and which reading of the paper it follows."""

    preset: Annotated[Literal["published_code", "paper"], Flag()] = "published_code"
    """Which of the two readings of arXiv 2412.18212 sets its group: published_code gives the published curves."""
    replay_capacity: Annotated[int, Field(ge=1, le=10**8), WHOLE] = 1000
    """Transitions that each station keeps."""
    learning_starts: Annotated[int, Field(ge=0, le=10**8), WHOLE] = 300
    """A station is updated once it holds more transitions than this."""
    replay_next_queues: Literal["zeros", "actual"] = "zeros"
    """Queues in the next state of a station's last task of a slot: zeros (published code, which reads the next slot's
    queues before it has updated them) or actual."""


def _penalty(text: str) -> dict[str, Any]:
    from lad_rllib.simulator import parse_penalty  # loads pandas

    return parse_penalty(text)


class TaskLossHyperparameters(Declared):
    """What a task's delay costs: the delay itself, another loss of it, or the delay with a bound on a percentile."""

    penalty: Annotated[dict[str, Any] | None, Flag("NAME[:FIELD=X,...]", _penalty)] = None
    """Loss of a task by its delay, as name and fields of lad_rllib.simulator.make_penalty, such as {name: tail,
    threshold_s: 14, strength: 4} or {name: deadline-miss, deadline_s: 5}, on the command line
    tail:threshold_s=14,strength=4; null: the delay itself."""
    bounded_percentile: Annotated[float, Field(gt=0, lt=100)] | None = None
    """Percentile of the delays to keep below percentile_bound_s, for example 95; null: no bound."""
    percentile_bound_s: Positive | None = None
    """Its bound [s]. Each env runner weighs it by the delays of its own episodes (metric loss_strength)."""
    bound_gain: Positive = 0.1
    """How fast the weight changes. Each episode adds to its logarithm bound_gain * (share of delays above the bound in
    the latest episodes / share that may be - 1), 1 at most; and 2.5 times as much while that lasts."""

    @property
    def bounds(self) -> dict[str, float | None]:
        """The ways to give a bound of the percentile, by name."""
        return {"percentile_bound_s": self.percentile_bound_s}

    @model_validator(mode="after")
    def _one_loss(self) -> Self:
        if self.penalty is not None and not isinstance(self.penalty.get("name"), str):
            raise ValueError(
                f"penalty must be a mapping with a name, or None for the delay itself, got {shown(self.penalty)}"
            )
        given = [name for name, bound in self.bounds.items() if bound is not None]
        if len(given) > 1:
            raise ValueError(f"give {' or '.join(given)}, not both")
        if (self.bounded_percentile is None) != (not given):
            raise ValueError(f"give bounded_percentile and {' or '.join(self.bounds)} together, or neither")
        if self.bounded_percentile is not None and self.penalty is not None:
            raise ValueError("bounded_percentile makes a penalty of its own; leave penalty out")
        return self


def check_noise_rates(lowest: float, highest: float) -> None:
    """Refuse noise rates of a diffusion that are the wrong way round.

    Raises:
        ValueError: names both.
    """
    if lowest > highest:
        raise ValueError(f"beta_min {lowest} must not exceed beta_max {highest}")


def marked(group: type[LearningHyperparameters], mark: Mark) -> list[str]:
    """Names of a group's hyperparameters with a mark."""
    return [name for name, field in group.model_fields.items() if mark in field.metadata]


def of_policy(group: type[LearningHyperparameters], values: Mapping[str, Any]) -> dict[str, Any]:
    """What a policy's own hyperparameters are, by name: a run that starts from it has these unless it says others.

    Args:
        group: The algorithm's declaration.
        values: The hyperparameters of the policy's file; those that it does not have are left out.
    """
    names = {*marked(group, MEANING), *marked(group, POLICY)}
    return {name: values[name] for name in group.model_fields if name in names and name in values}


def defaults(group: type[LearningHyperparameters]) -> dict[str, Any]:
    """Default values of a group by name."""
    return {name: field.get_default() for name, field in group.model_fields.items()}


def arguments_text(group: type[LearningHyperparameters]) -> str:
    """The group as the section ``Args:`` of a docstring."""
    lines = [
        f"    {name}: {' '.join((field.description or '').split())} ({field.get_default()!r})"
        for name, field in group.model_fields.items()
    ]
    return "\n".join(["Args:", *lines])


def check_torch_threads(threads: int) -> None:
    """Refuse more threads than could run.

    Raises:
        ConfigurationError: names the limit.
    """
    limit = max(MIN_THREAD_LIMIT, THREADS_PER_CORE * (os.cpu_count() or 1))
    if threads > limit:
        raise ConfigurationError(f"torch_threads must be at most {limit} on this machine, got {threads}")
