"""Losses of discrete soft actor-critic with a latent action diffusion actor, as pure functions.

Axes: G agents (base stations), A actions (edge servers), M samples of one agent. Every loss is a vector over agents:
each agent's own mean over its samples. Agents share nothing, so the gradient of its sum is each agent's own gradient.

Source: section 4 of the algorithm's README; arXiv 2412.18212, and arXiv 1910.07207 for discrete SAC.
"""

from __future__ import annotations

from torch import Tensor


def temperature_loss(temperature: Tensor, entropy: Tensor, target_entropy: float) -> Tensor:
    """``mean[H(pi) - H_target] * xi``, shape (G,), and also its derivative by ``log xi``; ``entropy`` is (G, M)."""
    return (entropy - target_entropy).mean(-1) * temperature
