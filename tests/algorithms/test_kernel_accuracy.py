"""Compiled kernels' gradients of a whole update are as near to those in double precision as torch's are."""

import copy

import pytest
import torch

from lad_rllib.algorithms.d2sac_ts import D2SACTSNetworks
from lad_rllib.algorithms.lad_ts.networks import LADTSNetworks
from lad_rllib.algorithms.soft_actor_critic.networks import update_stations
from lad_rllib.diffusion import StackedMLP
from lad_rllib.kernels import make_backend

STATIONS, SERVERS, SAMPLES, STEPS = 4, 20, 64, 5


def gradients(networks, batch, noises, kernels):
    """Gradients by all actors' and by all critics' parameters, in double precision."""
    networks = copy.deepcopy(networks)
    for module in networks.modules():
        if isinstance(module, StackedMLP):
            module.use(make_backend(kernels))
    found = {}

    def step(name, parts):
        found[name] = torch.cat([part.detach().reshape(-1).double() for part in parts])

    update_stations(networks, batch, *noises, step, gamma=0.95, tau=0.005, target_entropy=-1.0)
    return found


@pytest.mark.parametrize("networks_class", [LADTSNetworks, D2SACTSNetworks])
@pytest.mark.parametrize("samples", [7, 64, 100])
@pytest.mark.parametrize(
    "chain", [{}, {"denoiser_output": "linear", "clip_denoised": 2.0, "policy_denoising_steps": 1}]
)
def test_a_fused_update_equals_one_by_autograd(networks_class, samples, chain):
    generator = torch.Generator().manual_seed(2)
    batch = {name: torch.rand(3, 7, samples, generator=generator) for name in ("state", "next_state")}
    batch |= {name: torch.rand(3, 5, samples, generator=generator) for name in ("latent", "next_latent")}
    batch["reward"] = -torch.rand(3, samples, generator=generator)
    batch["action"] = torch.randint(5, (3, samples), generator=generator)
    noises = [torch.randn(5, 3, 5, samples, generator=generator) for _ in range(2)]
    updates = []
    for kernels in ("torch", "compiled"):
        networks, found = networks_class(3, 5, seed=4, kernels=kernels, **chain), {}
        diagnostics = update_stations(
            networks, batch, *noises, found.__setitem__, gamma=0.9, tau=0.1, target_entropy=-1.0
        )
        updates.append({"diagnostics": diagnostics, "targets": networks.target_critics.state_dict()} | found)
    torch.testing.assert_close(*updates, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("scale", [1.0, 30.0])
@pytest.mark.parametrize(("output", "limit"), [("softmax", None), ("linear", 3.0)])
def test_gradients_are_as_near_to_double_precision_as_those_of_torch(scale, output, limit):
    generator = torch.Generator().manual_seed(5)
    networks = LADTSNetworks(STATIONS, SERVERS, seed=1, denoiser_output=output, clip_denoised=limit)

    def uniform(size):
        return torch.rand((STATIONS, size, SAMPLES), generator=generator)

    batch = {name: scale * uniform(SERVERS + 2) for name in ("state", "next_state")}
    batch |= {name: uniform(SERVERS) for name in ("latent", "next_latent")}
    batch["reward"] = -20 * uniform(1)[:, 0]
    batch["action"] = torch.randint(SERVERS, (STATIONS, SAMPLES), generator=generator)
    noises = [torch.randn((STEPS - 1, STATIONS, SERVERS, SAMPLES), generator=generator) for _ in range(2)]
    twice = {key: value.double() if value.is_floating_point() else value for key, value in batch.items()}
    exact = gradients(copy.deepcopy(networks).double(), twice, [noise.double() for noise in noises], "torch")
    reference, own = (gradients(networks, batch, noises, kernels) for kernels in ("torch", "compiled"))
    for name in ("critic", "actor"):
        error = (own[name] - exact[name]).square().mean().sqrt()
        assert 0 < error < 1.5 * (reference[name] - exact[name]).square().mean().sqrt(), name
