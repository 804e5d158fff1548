"""The actor's whole chain against the equations written out, one agent at a time."""

import math

import numpy as np
import pytest
import torch

from lad_rllib.diffusion import LatentActionActor
from lad_rllib.diffusion.latent_actor import step_embedding

AGENTS, STATE, ACTIONS, SAMPLES = 3, 5, 4, 7


def written_out(actor, agent, state, latent, noise, softmax, limit=np.inf):
    """``x_0`` of one agent in float64 NumPy; state (M, S), latent (M, A), noise (I - 1, M, A)."""
    layers = [
        (w[agent].detach().double().numpy(), b[agent, :, 0].detach().double().numpy()) for w, b in actor.denoiser.layers
    ]
    steps = len(actor.steps)
    i = np.arange(1, steps + 1)
    beta = 1 - np.exp(-0.1 / steps - 9.9 * (2 * i - 1) / (2 * steps**2))
    alpha_bar = np.cumprod(1 - beta)
    x = latent.double().numpy()
    for i in range(steps, 0, -1):
        angles = (i - 1) * 10000.0 ** (-np.arange(8) / 7)
        h = np.concatenate(
            [x, np.tile([*np.sin(angles), *np.cos(angles)], (len(x), 1)), state.double().numpy()], axis=1
        )
        for layer, (weight, bias) in enumerate(layers):
            h = h @ weight.T + bias
            h = np.maximum(h, 0) if layer < len(layers) - 1 else h
        eps = np.exp(h) / np.exp(h).sum(1, keepdims=True) if softmax else h
        a, before = alpha_bar[i - 1], alpha_bar[i - 2] if i > 1 else 1.0
        clean = np.clip(x / math.sqrt(a) - math.sqrt(1 / a - 1) * eps, -limit, limit)
        b = beta[i - 1]
        x = b * math.sqrt(before) / (1 - a) * clean + (1 - before) * math.sqrt(1 - b) / (1 - a) * x
        if i > 1:
            x = x + math.sqrt(b * (1 - before) / (1 - a)) * noise[steps - i].double().numpy()
    return x


def inputs(steps, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((AGENTS, STATE, SAMPLES), (AGENTS, ACTIONS, SAMPLES), (steps - 1, AGENTS, ACTIONS, SAMPLES))
    return [torch.randn(shape, generator=generator) for shape in shapes]


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("output", ["softmax", "linear"])
@pytest.mark.parametrize("limit", [None, 0.8])
def test_a_chain_is_the_equations_written_out(steps, output, limit):
    generator = torch.Generator().manual_seed(1)
    actor = LatentActionActor(AGENTS, STATE, ACTIONS, (6, 5), steps, output, clip_denoised=limit, generator=generator)
    state, latent, noise = inputs(steps)
    with torch.no_grad():
        logits = actor(state, latent, noise)
    for agent in range(AGENTS):
        given = state[agent].T, latent[agent].T, noise[:, agent].mT
        expected = written_out(actor, agent, *given, output == "softmax", limit or np.inf)
        np.testing.assert_allclose(logits[agent].T.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_a_chain_that_is_fed_back_grows_without_a_limit_and_stays_within_it_otherwise():
    state, latent, noise = inputs(5)
    greatest = {}
    for limit in (None, 2.0):
        actor = LatentActionActor(AGENTS, STATE, ACTIONS, denoiser_output="linear", clip_denoised=limit)
        x = latent
        with torch.no_grad():
            for _ in range(20):
                x = actor(state, x, noise)
        greatest[limit] = float(x.abs().max())
    assert greatest[None] > 1e15
    assert greatest[2.0] == pytest.approx(2.0)


def test_noise_of_the_last_step_is_ignored():
    actor = LatentActionActor(AGENTS, STATE, ACTIONS)
    state, latent, noise = inputs(5)
    with_last = torch.cat([noise, torch.full_like(noise[:1], 1e6)])
    assert torch.equal(actor(state, latent, noise), actor(state, latent, with_last))


@pytest.mark.parametrize("limit", [None, 0.8])
def test_gradients_run_through_all_denoising_steps(limit):
    generator = torch.Generator().manual_seed(1)  # no ReLU's kink is near
    actor = LatentActionActor(AGENTS, STATE, ACTIONS, (6, 5), 5, clip_denoised=limit, generator=generator).double()
    state, latent, noise = (value.double() for value in inputs(5))
    latent.requires_grad_()
    state.requires_grad_()
    assert torch.autograd.gradcheck(lambda s, x: actor(s, x, noise), (state, latent), eps=1e-6, atol=1e-6)


def test_no_agent_touches_another():
    actor = LatentActionActor(AGENTS, STATE, ACTIONS)
    state, latent, noise = inputs(5)
    before = actor(state, latent, noise)
    state[1], latent[1], noise[:, 1] = 9.0, -9.0, 3.0
    after = actor(state, latent, noise)
    assert [torch.equal(before[agent], after[agent]) for agent in range(AGENTS)] == [True, False, True]


def test_inputs_are_left_as_they_were():
    actor = LatentActionActor(AGENTS, STATE, ACTIONS)
    given = inputs(5)
    before = [value.clone() for value in given]
    actor(*given)
    assert all(torch.equal(a, b) for a, b in zip(given, before, strict=True))


def test_the_embedding_is_sines_then_cosines_of_frequencies_from_1_to_a_ten_thousandth():
    expected = [math.sin(3 * 10000 ** (-k / 7)) for k in range(8)] + [math.cos(3 * 10000 ** (-k / 7)) for k in range(8)]
    np.testing.assert_allclose(step_embedding(3).numpy(), expected, rtol=1e-5, atol=1e-7)
