"""Compiled kernels do what torch's operations do, gradients included, and leave the rest to torch."""

import copy
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from lad_rllib import kernels
from lad_rllib.diffusion import TORCH, LatentActionActor, StackedMLP
from lad_rllib.errors import ConfigurationError
from lad_rllib.kernels import make_backend
from lad_rllib.kernels.compiled import COMPILED

AGENTS = 3


def random(*shape, seed=0, scale=1.0):
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def actors(state_size, actions, hidden_sizes, steps, output, limit):
    """The same actor with kernels and without."""
    generator = torch.Generator().manual_seed(1)
    sizes = (AGENTS, state_size, actions, hidden_sizes, steps)
    actor = LatentActionActor(*sizes, output, clip_denoised=limit, generator=generator, backend=COMPILED)
    other = copy.deepcopy(actor)
    other.denoiser.use(TORCH)
    return actor, other


def with_gradient(module, *inputs):
    """Output, and gradients of a sum of it with random weights by all parameters, and inputs that ask for one."""
    out = module(*inputs)
    by = [*module.parameters(), *(value for value in inputs if value.requires_grad)]
    return out.detach(), *torch.autograd.grad((out * random(*out.shape, seed=9)).sum(), by)


def assert_same(own, reference, rounding=1e-5):
    for a, b in zip(own, reference, strict=True):
        torch.testing.assert_close(a, b, rtol=rounding, atol=rounding * float(b.abs().max()))


@pytest.mark.parametrize("output", ["softmax", "linear"])
@pytest.mark.parametrize("limit", [None, 0.8])
@pytest.mark.parametrize(
    ("state_size", "actions", "hidden_sizes", "steps", "samples"),
    [
        (22, 20, (20, 20), 5, 50),
        (22, 20, (20, 20), 5, 64),
        (7, 5, (6, 9, 7), 3, 70),  # rows and samples that fill no tile or block
        (3, 1, (33,), 1, 1),
        (12, 10, (5, 17), 2, 200),
    ],
)
def test_chains_and_their_gradients_are_those_of_torch(
    state_size, actions, hidden_sizes, steps, samples, output, limit
):
    own, reference = actors(state_size, actions, hidden_sizes, steps, output, limit)
    inputs = (
        random(AGENTS, state_size, samples, seed=2, scale=3.0),
        random(AGENTS, actions, samples, seed=3),
        random(steps - 1, AGENTS, actions, samples, seed=4),
    )
    assert_same(with_gradient(own, *inputs), with_gradient(reference, *inputs))
    inputs[1].requires_grad_()
    assert_same(with_gradient(own, *inputs), with_gradient(reference, *inputs))
    with torch.no_grad():
        assert_same([own(*inputs)], [reference(*inputs)])


def test_gradients_of_a_saturated_chain_are_those_of_torch():
    own, reference = actors(22, 20, (20, 20), 5, "softmax", None)
    inputs = random(AGENTS, 22, 64, scale=300.0), random(AGENTS, 20, 64, seed=1), random(4, AGENTS, 20, 64, seed=2)
    assert_same(with_gradient(own, *inputs), with_gradient(reference, *inputs), rounding=1e-4)


@pytest.mark.parametrize(("sizes", "samples"), [((22, 20, 20, 20), 64), ((5, 6, 9, 3), 70), ((1, 2), 1)])
def test_networks_and_their_gradients_are_those_of_torch(sizes, samples):
    own = StackedMLP(2 * AGENTS, sizes, torch.Generator().manual_seed(1), COMPILED)
    reference = copy.deepcopy(own)
    reference.use(TORCH)
    for networks in (2 * AGENTS, AGENTS):
        x = random(networks, sizes[0], samples, seed=2)
        assert_same(with_gradient(own, x), with_gradient(reference, x))
    assert torch.equal(own(x), own(x.repeat(2, 1, 1)))


def test_inputs_in_another_order_in_memory_make_no_difference():
    own, _ = actors(7, 5, (6, 9), 3, "softmax", None)
    inputs = random(AGENTS, 7, 10), random(AGENTS, 5, 10, seed=1), random(2, AGENTS, 5, 10, seed=2)
    turned = [value.mT.contiguous().mT for value in inputs]
    assert torch.equal(own(*inputs), own(*turned))


def test_what_is_not_a_number_stays_so_in_its_sample_alone():
    own, _ = actors(7, 5, (6, 9), 3, "softmax", None)
    state, latent, noise = random(AGENTS, 7, 10), random(AGENTS, 5, 10, seed=1), random(2, AGENTS, 5, 10, seed=2)
    before = own(state, latent, noise)
    latent[1, 2, 3] = torch.nan
    after = own(state, latent, noise)
    assert after[1, :, 3].isnan().any()
    after[1, :, 3] = before[1, :, 3]
    assert torch.equal(after, before)


def test_a_gradient_by_the_state_and_other_precisions_come_from_torch():
    own, reference = actors(7, 5, (6, 9), 3, "softmax", None)
    state, latent, noise = random(AGENTS, 7, 10), random(AGENTS, 5, 10, seed=1), random(2, AGENTS, 5, 10, seed=2)
    gradients = []
    for actor in (own, reference):
        given = state.clone().requires_grad_()
        gradients += torch.autograd.grad(actor(given, latent, noise).square().sum(), given)
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-3)
    assert own.double()(state.double(), latent.double(), noise.double()).dtype == torch.float64


def test_gradients_are_refused_after_inputs_were_overwritten():
    own, _ = actors(7, 5, (6, 9), 3, "softmax", None)
    state, latent, noise = random(AGENTS, 7, 10), random(AGENTS, 5, 10, seed=1), random(2, AGENTS, 5, 10, seed=2)
    loss = own(state, latent, noise).sum()
    latent.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_parameters_that_were_replaced_are_the_ones_used():
    own, reference = actors(7, 5, (6, 9), 3, "softmax", None)
    inputs = random(AGENTS, 7, 10), random(AGENTS, 5, 10, seed=1), random(2, AGENTS, 5, 10, seed=2)
    for actor in (own, reference):
        for k, parameter in enumerate(actor.parameters()):
            parameter.data = random(*parameter.shape, seed=20 + k, scale=0.3)
    assert_same(with_gradient(own, *inputs), with_gradient(reference, *inputs))


def test_a_module_that_moves_computes_with_what_suits_it():
    own, _ = actors(7, 5, (6, 9), 3, "softmax", None)
    assert own.denoiser.backend is COMPILED
    assert own.double().denoiser.backend is TORCH
    assert own.float().denoiser.backend is COMPILED
    assert own.to("meta").denoiser.backend is TORCH
    assert StackedMLP(1, (2, 257, 3), backend=COMPILED).backend is TORCH


@pytest.fixture
def unknown_compiler():
    """Nothing is known of numba yet, nor afterwards."""
    for known in (kernels.obstacle, kernels._can_compile):
        known.cache_clear()
    yield
    for known in (kernels.obstacle, kernels._can_compile):
        known.cache_clear()


@pytest.mark.usefixtures("unknown_compiler")
def test_without_numba_torch_computes_silently_and_compiled_kernels_are_refused(monkeypatch, recwarn):
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(ConfigurationError, match="needs numba, but it is not installed"):
        make_backend("compiled")
    assert make_backend("auto") is make_backend("torch") is TORCH
    assert not recwarn.list


@pytest.mark.usefixtures("unknown_compiler")
@pytest.mark.parametrize("failure", [ImportError("Numba needs NumPy 2.3\nor less"), OSError("no libllvmlite.so")])
def test_a_numba_that_does_not_load_is_told_once_and_torch_computes(monkeypatch, tmp_path, failure):
    (tmp_path / "numba.py").write_text(f"raise {failure!r}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "numba", raising=False)
    with pytest.warns(RuntimeWarning) as warned:
        assert all(make_backend("auto") is TORCH for _ in range(3))
    reason = " ".join(str(failure).split())
    assert [reason in str(one.message) for one in warned] == [True]
    with pytest.raises(ConfigurationError, match=reason):
        make_backend("compiled")


def test_the_compiler_is_loaded_only_when_kernels_run():
    code = "import sys, lad_rllib.diffusion; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=os.environ, check=False).returncode == 0


@pytest.mark.parametrize(
    "failure", [RuntimeError("cannot cache function: no locator available"), OSError(28, "No space left on device")]
)
def test_kernels_work_where_no_file_can_be_kept(monkeypatch, failure):
    from lad_rllib import compiling
    from lad_rllib.arrays import Vector

    compile_now = compiling.njit

    def no_file(*signature, cache=False, **options):
        if cache:
            raise failure
        return compile_now(*signature, **options)

    monkeypatch.setattr(compiling, "njit", no_file)

    @compiling.kernel
    def double(x: Vector):
        for k in range(len(x)):
            x[k] *= np.float32(2.0)

    numbers = np.arange(3, dtype=np.float32)
    double(numbers)
    assert numbers.tolist() == [0.0, 2.0, 4.0]
