"""Stacked networks equal a loop over agents with torch's own layers."""

import math

import pytest
import torch
from torch import nn

from lad_rllib.diffusion import StackedMLP
from lad_rllib.diffusion.reference import split_layers


def torch_network(stacked, agent):
    """One agent's network, made of torch's own layers."""
    layers = []
    for weight, bias in stacked.layers:
        linear = nn.Linear(weight.shape[2], weight.shape[1])
        linear.load_state_dict({"weight": weight[agent], "bias": bias[agent, :, 0]})
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


@pytest.mark.parametrize("sizes", [(4, 3), (4, 8, 3), (4, 8, 6, 3)])
def test_outputs_and_gradients_equal_a_loop_over_agents(sizes):
    generator = torch.Generator().manual_seed(0)
    stacked = StackedMLP(3, sizes, generator)
    x = torch.randn(3, sizes[0], 5, generator=generator)
    out = stacked(x)
    out.square().sum().backward()
    for agent in range(3):
        network = torch_network(stacked, agent)
        expected = network(x[agent].T).T
        torch.testing.assert_close(out[agent], expected)
        expected.square().sum().backward()
        for (weight, bias), linear in zip(split_layers(stacked.weights.grad, stacked.sizes), network[::2], strict=True):
            torch.testing.assert_close(weight[agent], linear.weight.grad)
            torch.testing.assert_close(bias[agent, :, 0], linear.bias.grad)


def test_initial_weights_fill_the_range_of_torchs_own_layers():
    stacked = StackedMLP(50, (16, 25, 4), torch.Generator().manual_seed(1))
    for weight, bias in stacked.layers:
        bound = 1 / math.sqrt(weight.shape[2])
        values = torch.cat([weight.detach().flatten(), bias.detach().flatten()])
        assert 0.98 * bound < values.abs().max() <= bound
        assert abs(values.mean()) < 0.05 * bound


def test_initial_weights_depend_on_the_generator_alone():
    first, same, other = (StackedMLP(2, (3, 4, 2), torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), same.parameters(), strict=True))
    assert not torch.equal(first.layers[0][0], other.layers[0][0])


def test_the_input_is_left_as_it_was():
    x = torch.randn(2, 3, 4)
    before = x.clone()
    StackedMLP(2, (3, 4, 2))(x)
    assert torch.equal(x, before)
