"""Losses against the formulas, sample by sample and action by action, and gradients by hand."""

import math

import numpy as np
import pytest
import torch

from lad_rllib.algorithms.soft_actor_critic.networks import temperature_loss
from lad_rllib.diffusion import reference
from lad_rllib.kernels.losses import soft_value, squared_error

AGENTS, ACTIONS, SAMPLES = 2, 3, 4


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_entropy_of_a_uniform_choice_is_the_logarithm_of_its_options():
    logits, q_values = torch.full((1, 5, 1), 3.0), torch.arange(5.0)[:, None].expand(2, 1, 5, 1)
    value, entropy = reference.soft_value_and_entropy(logits, q_values, torch.zeros(1))
    assert value.item() == pytest.approx(0.2 * (0 + 1 + 2 + 3 + 4))
    assert entropy.item() == pytest.approx(math.log(5))


def test_the_entropy_of_a_certain_choice_is_zero_and_has_a_finite_gradient():
    logits = torch.tensor([[[500.0], [-500.0]]], requires_grad=True)
    _, entropy = reference.soft_value_and_entropy(logits, torch.zeros(2, 1, 2, 1), torch.zeros(1))
    entropy.sum().backward()
    assert entropy.item() == 0.0
    assert torch.isfinite(logits.grad).all()


def test_soft_value_is_the_expected_least_value_plus_the_entropys_worth():
    logits, q_values = random(AGENTS, ACTIONS, SAMPLES), random(2, AGENTS, ACTIONS, SAMPLES, seed=1)
    temperature = torch.tensor([0.3, 0.05], dtype=torch.float64)
    values = reference.soft_value_and_entropy(logits, q_values, temperature)[0]
    for g in range(AGENTS):
        for m in range(SAMPLES):
            weights = [math.exp(logits[g, a, m]) for a in range(ACTIONS)]
            pi = [w / sum(weights) for w in weights]
            least = [min(q_values[0, g, a, m].item(), q_values[1, g, a, m].item()) for a in range(ACTIONS)]
            expected = sum(p * q for p, q in zip(pi, least, strict=True))
            expected -= temperature[g].item() * sum(p * math.log(p) for p in pi)
            assert values[g, m].item() == pytest.approx(expected, rel=1e-12)


def test_critic_loss_is_the_squared_error_at_the_actions_taken_of_both_critics():
    q_values, target = random(2, AGENTS, ACTIONS, SAMPLES), random(AGENTS, SAMPLES, seed=1)
    action = torch.tensor([[0, 2, 1, 1], [2, 2, 0, 1]])
    loss = reference.critic_loss(q_values, action, target)
    for g in range(AGENTS):
        errors = [
            [(q_values[k, g, action[g, m], m] - target[g, m]).item() ** 2 for m in range(SAMPLES)] for k in range(2)
        ]
        assert loss[g].item() == pytest.approx(sum(sum(one) / SAMPLES for one in errors), rel=1e-12)


def test_critic_loss_has_no_gradient_at_actions_not_taken():
    q_values = random(2, 1, ACTIONS, 1).requires_grad_()
    reference.critic_loss(q_values, torch.tensor([[1]]), torch.zeros(1, 1)).sum().backward()
    assert q_values.grad[:, 0, [0, 2]].abs().max() == 0
    torch.testing.assert_close(q_values.grad[:, 0, 1], 2 * q_values[:, 0, 1].detach())


@pytest.mark.parametrize(("target_entropy", "falls"), [(-1.0, True), (0.5, True), (2.0, False)])
def test_the_temperature_falls_while_the_entropy_is_above_its_target(target_entropy, falls):
    log_temperature = torch.tensor([math.log(0.05)], requires_grad=True)
    entropy = torch.tensor([[0.9, 1.1]])
    loss = temperature_loss(log_temperature.exp(), entropy, target_entropy)
    loss.sum().backward()
    assert loss.item() == pytest.approx((1.0 - target_entropy) * 0.05, rel=1e-6)
    assert log_temperature.grad.item() == pytest.approx((1.0 - target_entropy) * 0.05, rel=1e-6)
    assert (log_temperature.grad.item() > 0) == falls


def test_each_agents_loss_depends_on_that_agent_alone():
    logits, q_values = random(AGENTS, ACTIONS, SAMPLES), random(2, AGENTS, ACTIONS, SAMPLES, seed=1)
    temperature = torch.ones(AGENTS, dtype=torch.float64)
    before = reference.soft_value_and_entropy(logits, q_values, temperature)[0]
    logits[0], q_values[:, 0], temperature[0] = 0.0, 9.0, 7.0
    after = reference.soft_value_and_entropy(logits, q_values, temperature)[0]
    assert torch.equal(before[1], after[1])
    assert not torch.equal(before[0], after[0])


def float32(*shape, seed=0, scale=1.0):
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("scale", [1.0, 200.0])
def test_the_compiled_soft_value_and_its_gradient_are_those_of_torch(scale):
    logits, q_values = float32(3, 5, 70, scale=scale), float32(2, 3, 5, 70, seed=1, scale=20.0)
    temperature, weights = torch.tensor([0.3, 0.05, 2.0]), float32(3, 70, seed=2)
    given = logits.clone().requires_grad_()
    value, entropy = reference.soft_value_and_entropy(given, q_values, temperature)
    (gradient,) = torch.autograd.grad((value * weights).sum(), given)
    for agent in range(3):
        arrays = [tensor.numpy() for tensor in (logits[agent], *q_values[:, agent])]
        own_gradient, scratch = np.empty((5, 70), np.float32), np.empty((5, 70), np.float32)
        own = soft_value(*arrays, temperature[agent].numpy()[()], own_gradient, scratch)
        own = [torch.from_numpy(array) for array in (*own, own_gradient)]
        own[2] *= weights[agent]
        for one, other in zip(own, (value[agent], entropy[agent], gradient[agent]), strict=True):
            torch.testing.assert_close(one, other.detach(), rtol=1e-5, atol=1e-5)


def test_the_compiled_critic_loss_and_its_gradient_are_those_of_torch():
    q_values, target = float32(2, 3, 5, 70), float32(3, 70, seed=1)
    action = torch.randint(5, (3, 70), generator=torch.Generator().manual_seed(3))
    given = q_values.clone().requires_grad_()
    loss = reference.critic_loss(given, action, target)
    (gradient,) = torch.autograd.grad(loss.sum(), given)
    for agent in range(3):
        total = 0.0
        for critic in range(2):
            own = np.empty((5, 70), np.float32)
            arrays = [tensor.numpy() for tensor in (q_values[critic, agent], action[agent], target[agent])]
            total += squared_error(own, *arrays, 0)
            torch.testing.assert_close(torch.from_numpy(own), gradient[critic, agent], rtol=1e-5, atol=1e-6)
        assert total == pytest.approx(loss[agent].item(), rel=1e-5, abs=1e-6)
