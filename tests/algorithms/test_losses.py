"""Losses against the formulas, sample by sample and action by action, and gradients by hand."""

import math

import pytest
import torch

from lad_rllib.algorithms.soft_actor_critic import losses

AGENTS, ACTIONS, SAMPLES = 2, 3, 4


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_entropy_of_a_uniform_choice_is_the_logarithm_of_its_options():
    probabilities, entropy = losses.probabilities_and_entropy(torch.full((1, 5, 1), 3.0))
    assert probabilities.flatten().tolist() == pytest.approx([0.2] * 5)
    assert entropy.item() == pytest.approx(math.log(5))


def test_the_entropy_of_a_certain_choice_is_zero_and_has_a_finite_gradient():
    logits = torch.tensor([[[500.0], [-500.0]]], requires_grad=True)
    _, entropy = losses.probabilities_and_entropy(logits)
    entropy.sum().backward()
    assert entropy.item() == 0.0
    assert torch.isfinite(logits.grad).all()


def test_soft_value_is_the_expected_least_value_plus_the_entropys_worth():
    logits, q_values = random(AGENTS, ACTIONS, SAMPLES), random(2, AGENTS, ACTIONS, SAMPLES, seed=1)
    temperature = torch.tensor([0.3, 0.05], dtype=torch.float64)
    values = losses.soft_value(logits, q_values, temperature)
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
    loss = losses.critic_loss(q_values, action, target)
    for g in range(AGENTS):
        errors = [
            [(q_values[k, g, action[g, m], m] - target[g, m]).item() ** 2 for m in range(SAMPLES)] for k in range(2)
        ]
        assert loss[g].item() == pytest.approx(sum(sum(one) / SAMPLES for one in errors), rel=1e-12)


def test_critic_loss_has_no_gradient_at_actions_not_taken():
    q_values = random(2, 1, ACTIONS, 1).requires_grad_()
    losses.critic_loss(q_values, torch.tensor([[1]]), torch.zeros(1, 1)).sum().backward()
    assert q_values.grad[:, 0, [0, 2]].abs().max() == 0
    torch.testing.assert_close(q_values.grad[:, 0, 1], 2 * q_values[:, 0, 1].detach())


@pytest.mark.parametrize(("target_entropy", "falls"), [(-1.0, True), (0.5, True), (2.0, False)])
def test_the_temperature_falls_while_the_entropy_is_above_its_target(target_entropy, falls):
    log_temperature = torch.tensor([math.log(0.05)], requires_grad=True)
    entropy = torch.tensor([[0.9, 1.1]])
    loss = losses.temperature_loss(log_temperature.exp(), entropy, target_entropy)
    loss.sum().backward()
    assert loss.item() == pytest.approx((1.0 - target_entropy) * 0.05, rel=1e-6)
    assert log_temperature.grad.item() == pytest.approx((1.0 - target_entropy) * 0.05, rel=1e-6)
    assert (log_temperature.grad.item() > 0) == falls


def test_each_agents_loss_depends_on_that_agent_alone():
    logits, q_values = random(AGENTS, ACTIONS, SAMPLES), random(2, AGENTS, ACTIONS, SAMPLES, seed=1)
    temperature = torch.ones(AGENTS, dtype=torch.float64)
    before = losses.soft_value(logits, q_values, temperature)
    logits[0], q_values[:, 0], temperature[0] = 0.0, 9.0, 7.0
    after = losses.soft_value(logits, q_values, temperature)
    assert torch.equal(before[1], after[1])
    assert not torch.equal(before[0], after[0])


def float32(*shape, seed=0, scale=1.0):
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("scale", [1.0, 200.0])
def test_the_compiled_soft_value_and_its_gradient_are_those_of_torch(scale):
    logits, q_values = float32(3, 5, 70, scale=scale), float32(2, 3, 5, 70, seed=1, scale=20.0)
    temperature, weights = torch.tensor([0.3, 0.05, 2.0]), float32(3, 70, seed=2)
    results = []
    for kernels in ("torch", "compiled"):
        given = logits.clone().requires_grad_()
        value, entropy = losses.soft_value_and_entropy(given, q_values, temperature, kernels)
        assert not entropy.requires_grad
        (gradient,) = torch.autograd.grad((value * weights).sum(), given)
        results.append((value.detach(), entropy, gradient))
    for own, reference in zip(*results, strict=True):
        torch.testing.assert_close(own, reference, rtol=1e-5, atol=1e-5)


def test_the_compiled_critic_loss_and_its_gradient_are_those_of_torch():
    q_values, target, weights = float32(2, 3, 5, 70), float32(3, 70, seed=1), float32(3, seed=2)
    action = torch.randint(5, (3, 70), generator=torch.Generator().manual_seed(3))
    results = []
    for kernels in ("torch", "compiled"):
        given = q_values.clone().requires_grad_()
        loss = losses.critic_loss(given, action, target, kernels)
        (gradient,) = torch.autograd.grad((loss * weights).sum(), given)
        results.append((loss.detach(), gradient))
    for own, reference in zip(*results, strict=True):
        torch.testing.assert_close(own, reference, rtol=1e-5, atol=1e-6)
