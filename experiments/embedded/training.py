"""Training of the embedded model: rectified flow in latent space, text encoders and transformer together."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusion3Pipeline
from torch import nn

from experiments.embedded import pipeline as parts
from experiments.embedded.pictures import COLOURS, Digits, draw
from experiments.embedded.prompts import DIGITS, prompt_table
from lad_rllib import durable

STATE_EVERY = 100
"""Iterations between two states on disk."""


@dataclass(frozen=True)
class TrainingSettings:
    """How the embedded model is trained; the same settings give the same weights on the same machine.

    Attributes:
        seed: Of weights, pictures, prompts and noise.
        iterations: Optimiser steps; a fixed number, not a time, so that a busy machine gives the same model.
        batch_size: Pictures per step.
        learning_rate: After the warm-up; constant for 30 % of the iterations, then along a half cosine down to 2 %.
        warm_up: Iterations over which the learning rate rises from 0.
        prompts_per_kind: Different prompts for each of the 70 digits in colours.
        no_prompt: Share of pictures shown with the empty prompt, for classifier-free guidance (arXiv 2207.12598).
        pure_noise: Share of pictures at noise level 1, where generation starts, which logit-normal levels never reach.
        average: Decay per iteration of the running mean of the weights, which is what is kept.
    """

    seed: int = 0
    iterations: int = 4000
    batch_size: int = 64
    learning_rate: float = 2e-3
    warm_up: int = 50
    prompts_per_kind: int = 200
    no_prompt: float = 0.1
    pure_noise: float = 0.1
    average: float = 0.998


def train(
    settings: TrainingSettings,
    digits: Digits,
    report: Callable[[int, float], None] = lambda iteration, loss: None,
    state: Path | None = None,
) -> StableDiffusion3Pipeline:
    """Train from scratch, or go on.

    Args:
        settings: See ``TrainingSettings``.
        digits: Scans to learn from.
        report: Called after every iteration with its number, from 1, and its loss.
        state: File to keep the state in, every 100 iterations; if there is one already, training goes on from it and
            ends with the same weights as if it had not been interrupted. Removed at the end.

    Raises:
        ValueError: if the state is of other settings.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)  # diffusers and transformers draw first weights from torch's own generator
        run = _Run(settings, digits)
    done = run.load(state) if state is not None and state.exists() else 0
    for iteration in range(done, settings.iterations):
        report(iteration + 1, run.step(iteration))
        if state is not None and (iteration + 1) % STATE_EVERY == 0:
            run.save(state, iteration + 1)
    if state is not None:
        state.unlink(missing_ok=True)
    return run.finish()


class _Run:
    """Networks, optimiser and random generators of one training run."""

    def __init__(self, settings: TrainingSettings, digits: Digits) -> None:
        self.settings, self.digits = settings, digits
        self.rng = torch.Generator().manual_seed(settings.seed)
        prompts = prompt_table(settings.prompts_per_kind, np.random.default_rng(settings.seed))
        every = [prompt for kind in prompts for prompt in kind]
        self.tokenizer = parts.make_tokenizer(every)
        self.tokens = self._tokens([*every, ""])  # (prompt, token); the last is the empty prompt
        self.autoencoder = parts.make_autoencoder()
        self._standardise_latents()
        self.text_encoders = (parts.make_text_encoder(self.tokenizer), parts.make_text_encoder(self.tokenizer))
        self.transformer = parts.make_transformer()
        self.networks = nn.ModuleList([self.transformer, *self.text_encoders]).train()
        self.weights = list(self.networks.parameters())
        self.mean_weights = [weight.detach().clone() for weight in self.weights]
        self.optimizer = torch.optim.AdamW(self.weights, settings.learning_rate, betas=(0.9, 0.98), fused=True)

    def save(self, path: Path, iterations: int) -> None:
        """Write all that goes on changing; the last state stays until this one is complete."""
        state = {
            "settings": asdict(self.settings),
            "iterations": iterations,
            "networks": self.networks.state_dict(),
            "mean_weights": self.mean_weights,
            "optimizer": self.optimizer.state_dict(),
            "rng": self.rng.get_state(),
        }
        beside = path.with_name(f"{path.name}.unfinished")
        torch.save(state, beside)
        durable.sync(beside)
        beside.replace(path)
        durable.sync(path.parent)

    def load(self, path: Path) -> int:
        """Go on from a state; the number of iterations that it has behind it."""
        state = torch.load(path, weights_only=True)
        if state["settings"] != asdict(self.settings):
            raise ValueError(f"{path} is of other settings: {state['settings']}")
        self.networks.load_state_dict(state["networks"])
        self.mean_weights = state["mean_weights"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.rng.set_state(state["rng"])
        return int(state["iterations"])

    def _tokens(self, prompts: list[str]) -> torch.Tensor:
        return self.tokenizer(prompts, padding="max_length", truncation=True, return_tensors="pt").input_ids

    def _standardise_latents(self) -> None:
        """Tell the autoencoder's mean and scale, with which the pipeline makes latents of mean 0 and variance 1."""
        latents = self.autoencoder.encode(self._pictures(2000)[0]).latents
        shift, scale = float(latents.mean()), float(1 / latents.std())
        self.autoencoder.register_to_config(shift_factor=shift, scaling_factor=scale)

    def _pictures(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Random pictures (count, 3, 32, 32) and the kind of prompt that fits each."""
        chosen = torch.randint(len(self.digits), (count,), generator=self.rng)
        colours = torch.randint(len(COLOURS), (count,), generator=self.rng)
        pictures = draw(self.digits.ink[chosen], colours, self.rng)
        return pictures, colours * len(DIGITS) + self.digits.labels[chosen]

    def _choose_prompts(self, kinds: torch.Tensor) -> torch.Tensor:
        """Tokens of a prompt for each kind, of the empty one now and then: (batch, token)."""
        count, per_kind = len(kinds), self.settings.prompts_per_kind
        rows = kinds * per_kind + torch.randint(per_kind, (count,), generator=self.rng)
        empty = torch.rand(count, generator=self.rng) < self.settings.no_prompt
        return self.tokens[rows.masked_fill(empty, len(self.tokens) - 1)]

    def _noise_levels(self, count: int) -> torch.Tensor:
        levels = torch.randn(count, generator=self.rng).sigmoid()  # logit-normal, arXiv 2403.03206, section 3.1
        return levels.masked_fill(torch.rand(count, generator=self.rng) < self.settings.pure_noise, 1.0)

    def step(self, iteration: int) -> float:
        """One optimiser step; its loss, the mean squared error of the velocity (1: nothing learned about the noise)."""
        pictures, kinds = self._pictures(self.settings.batch_size)
        config = self.autoencoder.config
        latents = (self.autoencoder.encode(pictures).latents - config.shift_factor) * config.scaling_factor
        levels = self._noise_levels(len(latents))
        noise = torch.randn(latents.shape, generator=self.rng)
        share = levels.view(-1, 1, 1, 1)
        velocity = self._velocity((1 - share) * latents + share * noise, levels, self._choose_prompts(kinds))
        loss = (velocity - (noise - latents)).square().mean()
        self.optimizer.param_groups[0]["lr"] = self.settings.learning_rate * self._rate(iteration)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimizer.step()
        decay = min(self.settings.average, (1 + iteration) / (10 + iteration))
        torch._foreach_lerp_(self.mean_weights, [weight.detach() for weight in self.weights], 1 - decay)
        return loss.item()

    def _velocity(self, noisy: torch.Tensor, levels: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """What the transformer is asked in ``StableDiffusion3Pipeline`` without T5: see ``encode_prompt`` there."""
        encoded = [encoder(tokens, output_hidden_states=True) for encoder in self.text_encoders]
        return self.transformer(
            hidden_states=noisy,
            timestep=levels * 1000,
            encoder_hidden_states=torch.cat([e.hidden_states[-2] for e in encoded], dim=-1),
            pooled_projections=torch.cat([e.text_embeds for e in encoded], dim=-1),
            return_dict=False,
        )[0]

    def _rate(self, iteration: int) -> float:
        """Share of the full learning rate."""
        settings, constant = self.settings, 0.3
        done = iteration / settings.iterations
        fall = 1.0 if done < constant else 0.5 + 0.5 * math.cos(math.pi * (done - constant) / (1 - constant))
        return min(1.0, (iteration + 1) / settings.warm_up) * (0.02 + 0.98 * fall)

    @torch.no_grad()
    def finish(self) -> StableDiffusion3Pipeline:
        """The pipeline with the mean weights."""
        for weight, mean in zip(self.weights, self.mean_weights, strict=True):
            weight.copy_(mean)
        return parts.assemble(self.transformer, self.text_encoders, self.tokenizer, self.autoencoder)
