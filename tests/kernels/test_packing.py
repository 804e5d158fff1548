"""Parameters in common storage: where they are found, and what becomes of that when they move."""

import copy

import torch

from lad_rllib.diffusion import StackedMLP
from lad_rllib.kernels.packing import pack

GENERATOR = torch.Generator().manual_seed(0)


def joined(network):
    return torch.cat([p.detach().flatten(1) for p in network.flat_parameters], dim=1)


def test_packed_parameters_are_the_parameters_themselves():
    network = StackedMLP(3, (4, 5, 2), GENERATOR)
    packed = network.packed_parameters
    assert torch.equal(packed, joined(network))
    packed.add_(1.0)
    assert torch.equal(packed, joined(network)) and network.packed_parameters is packed


def test_packed_parameters_follow_parameters_that_move():
    network = StackedMLP(3, (4, 5, 2), GENERATOR)
    before = network.packed_parameters.clone()
    network.layers[1][0].data = network.layers[1][0].data + 1.0
    after = network.packed_parameters
    assert torch.equal(after, joined(network)) and not torch.equal(after, before)
    network.layers[1][0].data.add_(1.0)  # a copy was handed out, and must not be handed out again
    assert torch.equal(network.packed_parameters, joined(network))


def test_a_gradient_buffer_keeps_its_place_and_a_copy_has_one_of_its_own():
    network = StackedMLP(3, (4, 5, 2), GENERATOR)
    buffer = network.gradient_buffer
    assert [view.shape for view in buffer.views] == [p.shape for p in network.flat_parameters]
    buffer.flat.copy_(joined(network))
    for view, parameter in zip(network.gradient_buffer.views, network.flat_parameters, strict=True):
        assert torch.equal(view, parameter)
    other = copy.deepcopy(network)
    other.gradient_buffer.flat.zero_()
    assert torch.equal(network.gradient_buffer.flat, joined(network))


def test_a_copy_has_packed_parameters_of_its_own():
    network = StackedMLP(3, (4, 5, 2), GENERATOR)
    before = network.packed_parameters.clone()
    other = copy.deepcopy(network)
    pack(other.flat_parameters).zero_()
    assert torch.equal(network.packed_parameters, before) and not other.packed_parameters.any()
    other.load_state_dict(network.state_dict())
    assert torch.equal(other.packed_parameters, before)
