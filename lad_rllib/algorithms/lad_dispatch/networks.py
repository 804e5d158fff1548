"""The actor of LAD-Dispatch: one small network that scores every server of every fleet."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lad_rllib.algorithms.common.networks import seeded_generator
from lad_rllib.algorithms.lad_dispatch.actor_settings import ActorSettings
from lad_rllib.algorithms.lad_dispatch.features import OF_MODELS
from lad_rllib.algorithms.lad_dispatch.hyperparameters import ActorHyperparameters
from lad_rllib.kernels import Kernels
from lad_rllib.kernels.scoring import scoring_chain

_FIRST_GAIN, _STEP_RANGE = 1.5, 0.3


class ScoringActor(nn.Module):
    """Logits ``x_0 - prior_weight * log cost``: a prior, and what the latent action diffusion adds to it.

    The readout of the denoiser starts at zero, so that the first policy is the prior. All weights are one vector, which
    the compiled rule takes as it is.

    Args:
        settings: What it is.
        seed: Seed of the initial weights; None draws one.
        kernels: What computes, see :func:`~lad_rllib.kernels.make_backend`.

    >>> from lad_rllib.algorithms.lad_dispatch.features import NUM_FEATURES
    >>> actor = ScoringActor(ActorSettings(), seed=0)
    >>> tokens, share = torch.randn(3, 8, NUM_FEATURES), torch.full((3, 8), 1 / 8)
    >>> torch.equal(actor(tokens, share, torch.zeros(3, 8)), -12 * tokens[..., 0])
    True
    """

    def __init__(self, settings: ActorHyperparameters, seed: int | None = None, kernels: Kernels = "auto") -> None:
        super().__init__()
        self.settings, self.kernels = ActorSettings.of(settings), kernels
        self._blocks = self.settings.shape.blocks()
        self._scales = self.settings.scales
        self.weights = nn.Parameter(_initial(self._blocks, seeded_generator(seed)))

    def forward(self, tokens: Tensor, share: Tensor, start: Tensor) -> Tensor:
        """Logits (M, A) of M requests; those of servers that are not up mean nothing.

        Args:
            tokens: What is known of each server (M, A, F).
            share: Share of each in the capacity of those that are up (M, A).
            start: What chains start from, besides what is learned (M, A).
        """
        requests, servers, _ = tokens.shape
        net = self._split()
        flat = tokens.reshape(requests * servers, -1)
        hidden = torch.relu(torch.addmm(net["encode_bias"], flat, net["encode"]))
        pooled = torch.bmm(share[:, None], hidden.view(requests, servers, -1))[:, 0]
        common = torch.addmm(net["mix_bias"], pooled, net["pool"])
        encoded = (hidden @ net["mix"]).view(requests, servers, -1) + common[:, None]
        x = start.reshape(-1)
        if net["start_bias"].numel():
            learned = torch.relu(torch.addmm(net["start_bias"], flat, net["start_encode"])) @ net["start_readout"]
            x = x + self.settings.start_gain * learned
        denoiser = (net["readout"], net["latent"], net["step_bias"])
        x = scoring_chain(encoded.flatten(0, 1), x, denoiser, self._scales, self.kernels)
        return x.view(requests, servers) - 2.0 * self.settings.prior_weight * tokens[..., 0]

    def _split(self) -> dict[str, Tensor]:
        parts = self.weights.split([math.prod(shape) for shape in self._blocks.values()])
        return {name: part.view(shape) for part, (name, shape) in zip(parts, self._blocks.items(), strict=True)}

    def packed(self) -> NDArray[np.float32]:
        """A copy of the weights for the compiled rule."""
        return self.weights.detach().cpu().numpy().astype(np.float32, copy=True)


def _initial(blocks: dict[str, tuple[int, ...]], generator: torch.Generator) -> Tensor:
    """Initial weights: uniform, within 1 / sqrt(fan in); zero readouts and biases."""

    def uniform(shape: tuple[int, ...], bound: float) -> Tensor:
        return (2.0 * torch.rand(shape, generator=generator) - 1.0) * bound

    parts = {}
    for name, shape in blocks.items():
        if name in ("latent", "step_bias"):
            parts[name] = uniform(shape, _STEP_RANGE)
        elif name.endswith("encode"):
            parts[name] = uniform((shape[0] - OF_MODELS, shape[1]), _encoder_bound(shape))
        elif len(shape) == 2:
            parts[name] = uniform(shape, 1.0 / math.sqrt(shape[0]))
        else:
            parts[name] = torch.zeros(shape)
    for name, shape in blocks.items():
        if name.endswith("encode"):  # the rows of image models last, so that all others are the same without them
            of_models = uniform((OF_MODELS, shape[1]), _encoder_bound(shape))
            parts[name] = torch.cat([parts[name], of_models])
    return torch.cat([part.flatten() for part in parts.values()])


def _encoder_bound(shape: tuple[int, ...]) -> float:
    return _FIRST_GAIN / math.sqrt(shape[0] - OF_MODELS)
