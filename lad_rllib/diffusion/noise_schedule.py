"""The variance-preserving noise schedule and the coefficients of its reverse steps.

Source: eqs. (6)-(10) of Ho et al., arXiv 2006.11239, with the schedule that arXiv 2412.18212 takes over from
Xiao et al., arXiv 2112.07804 (beta_min = 0.1, beta_max = 10).
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class ReverseStep:
    """One reverse step ``x_i -> x_{i-1}``, as a linear map of ``x_i``, the predicted noise and fresh noise.

    ``x_{i-1} = x_scale * x_i - noise_prediction_scale * eps + fresh_noise_scale * noise``

    The same in two parts, for what is done to the estimate of ``x_0`` between them:
    ``x0 = clean_x_scale * x_i - clean_noise_scale * eps``,
    ``x_{i-1} = mean_clean_scale * x0 + mean_x_scale * x_i + fresh_noise_scale * noise``.

    Attributes:
        index: Step number i, from I down to 1.
        beta: Noise added by forward step i.
        alpha_bar: Share of the signal's variance left after forward step i.
        x_scale: Factor of ``x_i``.
        noise_prediction_scale: Factor of the predicted noise.
        fresh_noise_scale: Standard deviation of the fresh noise; 0 in the last step (i = 1).
        clean_x_scale: Factor of ``x_i`` in the estimate of ``x_0``.
        clean_noise_scale: Factor of the predicted noise in it.
        mean_clean_scale: Factor of the estimate in the step; 1 in the last one.
        mean_x_scale: Factor of ``x_i`` beside it; 0 in the last step.
    """

    index: int
    beta: float
    alpha_bar: float
    x_scale: float
    noise_prediction_scale: float
    fresh_noise_scale: float
    clean_x_scale: float
    clean_noise_scale: float
    mean_clean_scale: float
    mean_x_scale: float


def reverse_steps(num_steps: int, beta_min: float = 0.1, beta_max: float = 10.0) -> tuple[ReverseStep, ...]:
    """Coefficients of all reverse steps, in the order they are taken (i = I ... 1).

    Args:
        num_steps: Number of denoising steps I of the policy, at least 1.
        beta_min: Least noise rate of the schedule.
        beta_max: Greatest noise rate of the schedule.

    Raises:
        ValueError: if there is no step, or the rates are not 0 < beta_min <= beta_max.

    >>> [round(step.beta, 4) for step in reverse_steps(5)][::-1]
    [0.1959, 0.4588, 0.6358, 0.7549, 0.835]
    """
    if num_steps < 1:
        raise ValueError(f"the policy needs at least one denoising step, got {num_steps}")
    if not 0 < beta_min <= beta_max:
        raise ValueError(f"need 0 < beta_min <= beta_max, got {beta_min} and {beta_max}")
    steps = []
    alpha_bar_before = 1.0
    for i in range(1, num_steps + 1):
        rate = beta_min / num_steps + (beta_max - beta_min) * (2 * i - 1) / (2 * num_steps**2)
        beta = -math.expm1(-rate)
        alpha_bar = alpha_bar_before * (1 - beta)
        # Posterior mean c1 * x0 + c2 * x_i, with x0 = x_i / sqrt(alpha_bar) - sqrt(1 / alpha_bar - 1) * eps.
        c1 = beta * math.sqrt(alpha_bar_before) / (1 - alpha_bar)
        c2 = (1 - alpha_bar_before) * math.sqrt(1 - beta) / (1 - alpha_bar)
        steps.append(
            ReverseStep(
                index=i,
                beta=beta,
                alpha_bar=alpha_bar,
                x_scale=c1 / math.sqrt(alpha_bar) + c2,
                noise_prediction_scale=c1 * math.sqrt(1 / alpha_bar - 1),
                fresh_noise_scale=math.sqrt(beta * (1 - alpha_bar_before) / (1 - alpha_bar)) if i > 1 else 0.0,
                clean_x_scale=1 / math.sqrt(alpha_bar),
                clean_noise_scale=math.sqrt(1 / alpha_bar - 1),
                mean_clean_scale=c1,
                mean_x_scale=c2,
            )
        )
        alpha_bar_before = alpha_bar
    return tuple(reversed(steps))
