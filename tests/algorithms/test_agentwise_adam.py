"""Adam over stacked agents equals one ``torch.optim.Adam`` per agent, whenever each of them started."""

import copy

import pytest
import torch
from torch import nn

from lad_rllib.algorithms.common.agentwise_adam import AgentwiseAdam
from lad_rllib.kernels import make_backend

SHAPES = ((3, 4, 2), (3, 4, 1), (3,))
AGENTS = 3


def stacked_parameters(seed=0, shapes=SHAPES):
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]


def gradients(parameters, step):
    """Gradients of a step, of sizes from 0.001 to 100."""
    generator = torch.Generator().manual_seed(100 + step)
    scales = 10.0 ** torch.randint(-3, 3, (len(parameters),), generator=generator)
    return [s * torch.randn(p.shape, generator=generator) for s, p in zip(scales, parameters, strict=True)]


def train(parameters, optimizer, steps, starts=(0, 0, 0), first=0):
    """Take steps in which agents take part that have started."""
    for step in range(first, first + steps):
        active = torch.tensor([step >= start for start in starts])
        for parameter, gradient in zip(parameters, gradients(parameters, step), strict=True):
            rows = active.repeat(len(parameter) // AGENTS).reshape(-1, *[1] * (parameter.ndim - 1))
            parameter.grad = torch.where(rows, gradient, 0.0)
        optimizer.set_active(None if active.all() else active)
        optimizer.step()


@pytest.mark.parametrize("starts", [(0, 0, 0), (0, 3, 11)])
@pytest.mark.parametrize("lr", [1e-3, 0.1])
@pytest.mark.parametrize("kernels", ["torch", "compiled"])
def test_each_agent_gets_the_steps_of_an_adam_of_its_own(starts, lr, kernels):
    parameters = stacked_parameters()
    literal = [[nn.Parameter(p.detach()[agent].clone()) for p in parameters] for agent in range(AGENTS)]
    train(parameters, AgentwiseAdam(parameters, lr, backend=make_backend(kernels)), 20, starts)
    for agent, start in enumerate(starts):
        optimizer = torch.optim.Adam(literal[agent], lr)
        for step in range(start, 20):
            for own, gradient in zip(literal[agent], gradients(parameters, step), strict=True):
                own.grad = gradient[agent].clone()
            optimizer.step()
        for own, stacked in zip(literal[agent], parameters, strict=True):
            torch.testing.assert_close(stacked.detach()[agent], own.detach(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kernels", ["torch", "compiled"])
def test_an_agent_that_has_not_started_stays_where_it_is(kernels):
    parameters = stacked_parameters()
    before = [p.detach().clone() for p in parameters]
    train(parameters, AgentwiseAdam(parameters, 0.1, backend=make_backend(kernels)), 5, (0, 99, 0))
    for now, then in zip(parameters, before, strict=True):
        assert torch.equal(now[1], then[1])
        assert not torch.equal(now[0], then[0])


@pytest.mark.parametrize("kernels", ["torch", "compiled"])
def test_two_networks_of_each_agent_count_their_agents_steps(kernels):
    twice = [nn.Parameter(torch.ones(2 * AGENTS, 5))]
    train(twice, AgentwiseAdam(twice, 0.01, backend=make_backend(kernels)), 1, (0, 9, 0))
    moved = (twice[0] - 1).abs().amax(1) > 0
    assert moved.tolist() == [True, False, True, True, False, True]


def test_training_goes_on_from_a_saved_state_as_if_it_had_not_stopped():
    parameters = stacked_parameters()
    optimizer = AgentwiseAdam(parameters, 0.01)
    train(parameters, optimizer, 7, (0, 3, 6))
    saved, weights = copy.deepcopy(optimizer.state_dict()), [p.detach().clone() for p in parameters]
    restored_parameters = [nn.Parameter(w.clone()) for w in weights]
    restored = AgentwiseAdam(restored_parameters, 0.01)
    restored.load_state_dict(saved)
    train(parameters, optimizer, 5, (0, 3, 6), first=7)
    train(restored_parameters, restored, 5, (0, 3, 6), first=7)
    assert all(torch.equal(a, b) for a, b in zip(parameters, restored_parameters, strict=True))


def test_an_older_state_loaded_into_a_running_optimiser_undoes_what_came_after():
    parameters = stacked_parameters()
    optimizer = AgentwiseAdam(parameters, 0.01)
    train(parameters, optimizer, 4)
    saved, weights = copy.deepcopy(optimizer.state_dict()), [p.detach().clone() for p in parameters]
    train(parameters, optimizer, 3, first=4)
    expected = [p.detach().clone() for p in parameters]
    with torch.no_grad():
        for parameter, weight in zip(parameters, weights, strict=True):
            parameter.copy_(weight)
    optimizer.load_state_dict(saved)
    train(parameters, optimizer, 3, first=4)
    assert all(torch.equal(a, b) for a, b in zip(parameters, expected, strict=True))


def test_a_state_saved_before_the_first_step_can_be_loaded():
    parameters = stacked_parameters()
    optimizer = AgentwiseAdam(parameters, 0.01)
    optimizer.load_state_dict(AgentwiseAdam(stacked_parameters(), 0.01).state_dict())
    train(parameters, optimizer, 1)
