"""Numbers of the published code: one agent's probabilities, and all its parameters after one update.

``ladn_sac_update.npz`` holds parameters before and after an update, its batch, and the noise that it drew.
"""

import numpy as np
import pytest
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch

from lad_rllib.algorithms.common.learner import READY
from lad_rllib.algorithms.lad_ts import LADTSConfig
from lad_rllib.algorithms.lad_ts.networks import LADTSNetworks
from lad_rllib.algorithms.soft_actor_critic.networks import optimizer_step, update_stations
from lad_rllib.diffusion import reference
from lad_rllib.envs import FleetVectorEnv
from tests.parity import DATA

PUBLISHED = np.load(DATA / "ladn_sac_update.npz")
TOLERANCE = {"rtol": 0.0, "atol": 1e-5}
MAX_MOVE_ERROR = 0.005
"""Norm of a parameter's error, relative to that of its move; float32 rounding makes 0.002 of it in target critics."""
SERVERS, SAMPLES = 20, 64
RATES = {"actor_lr": 1e-4, "critic_lr": 1e-3, "alpha_lr": 3e-4}
UPDATE = {"gamma": 0.95, "tau": 0.005, "target_entropy": -1.0}


@pytest.fixture(params=["torch", "compiled"])
def kernels(request):
    return request.param


def published(key):
    return torch.from_numpy(PUBLISHED[key])


def parameters_of(networks, station):
    """One station's parameters by the published code's names, as views."""
    groups = {"actor.model": (networks.actor.denoiser, station)}
    for k in range(2):
        groups[f"critic_{k + 1}"] = (networks.critics, k * networks.num_stations + station)
        groups[f"target_{k + 1}"] = (networks.target_critics, k * networks.num_stations + station)
    named = {"log_alpha": networks.log_temperature.data[station]}
    for name, (network, row) in groups.items():
        for layer, (weight, bias) in enumerate(network.layers):
            named[f"{name}.fc{layer + 1}.weight"] = weight.data[row]
            named[f"{name}.fc{layer + 1}.bias"] = bias.data[row, :, 0]
    return named


def load_published(networks, station):
    for name, value in parameters_of(networks, station).items():
        value.copy_(published(f"before.{name}"))


def assert_published_after(networks, station):
    """Compare each parameter's move, not its value: a target critic moves by 5e-6 only."""
    wrong = {}
    for name, value in parameters_of(networks, station).items():
        before, after = (published(f"{when}.{name}").double() for when in ("before", "after"))
        move = after - before
        error = float((value.double() - after).norm() / move.norm())
        if not error < MAX_MOVE_ERROR:
            wrong[name] = error
    assert not wrong, f"these moved otherwise, by such shares of the published move: {wrong}"


def columns(num_stations, station):
    """The published batch for one station, something else for the others: (B, features, M) or (B, M)."""
    generator = torch.Generator().manual_seed(7)
    names = {
        "state": "states",
        "latent": "latent_action_probs",
        "next_state": "next_states",
        "next_latent": "next_latent_action_probs",
        "action": "actions",
        "reward": "rewards",
    }
    batch = {}
    for name, theirs in names.items():
        value = published(f"batch.{theirs}").movedim(0, -1)
        value = value if name == "action" else value.float()
        stacked = torch.stack([value[..., torch.randperm(SAMPLES, generator=generator)] for _ in range(num_stations)])
        stacked[station] = value
        batch[name] = stacked
    return batch


def noise(key, num_stations, station):
    """The published noise (I, M, A), i = I ... 1, for one station, other noise for the others: (I, B, A, M)."""
    value = published(key).mT
    stacked = torch.randn((len(value), num_stations, *value.shape[1:]), generator=torch.Generator().manual_seed(8))
    stacked[:, station] = value
    return stacked


def update(networks, station, ready=None, rates=RATES, change_gradients=lambda name, gradients: gradients, **settings):
    step = optimizer_step(networks.optimizers(**rates), ready)
    update_stations(
        networks,
        columns(networks.num_stations, station),
        noise("update.noise_next", networks.num_stations, station),
        noise("update.noise_current", networks.num_stations, station),
        lambda name, gradients: step(name, change_gradients(name, gradients)),
        **UPDATE | settings,
    )


def test_the_actor_puts_out_the_published_probabilities(kernels):
    networks = LADTSNetworks(3, SERVERS, seed=0, kernels=kernels)
    load_published(networks, 1)
    batch = columns(3, 1)
    with torch.no_grad():
        logits = networks.actor(batch["state"], batch["latent"], noise("forward.noise", 3, 1))
    torch.testing.assert_close(logits.softmax(1)[1].T, published("forward.probabilities"), **TOLERANCE)


@pytest.mark.parametrize(("num_stations", "station"), [(1, 0), (3, 0), (3, 1), (3, 2)])
def test_one_update_gives_the_published_parameters_whatever_the_other_stations_hold(num_stations, station, kernels):
    networks = LADTSNetworks(num_stations, SERVERS, seed=0, kernels=kernels)
    load_published(networks, station)
    update(networks, station)
    assert_published_after(networks, station)


def swap_critics(name, gradients):
    return [gradient.flip(0) for gradient in gradients] if name == "critic" else gradients


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"tau": 2 * UPDATE["tau"]}, "target_1"),
        ({"rates": RATES | {"actor_lr": 2 * RATES["actor_lr"]}}, "actor"),
        ({"rates": RATES | {"critic_lr": 2 * RATES["critic_lr"]}}, "critic_1"),
        ({"rates": RATES | {"alpha_lr": 2 * RATES["alpha_lr"]}}, "log_alpha"),
        ({"change_gradients": swap_critics}, "critic_1"),
        ({"target_entropy": 10.0}, "log_alpha"),
    ],
    ids=["tau", "actor_lr", "critic_lr", "alpha_lr", "swapped_critics", "sign_of_the_temperature_step"],
)
def test_an_update_with_a_wrong_setting_does_not_pass_as_the_published_one(wrong, where, kernels):
    networks = LADTSNetworks(1, SERVERS, seed=0, kernels=kernels)
    load_published(networks, 0)
    update(networks, 0, **wrong)
    with pytest.raises(AssertionError, match=where):
        assert_published_after(networks, 0)


@pytest.mark.parametrize(("where", "wrong_with_gradient"), [("actor", True), ("critic_1", False)])
def test_an_entropy_term_of_the_wrong_sign_does_not_pass_as_the_published_one(where, wrong_with_gradient, monkeypatch):
    right = reference.soft_value_and_entropy

    def wrong(logits, q_values, temperature):
        return right(logits, q_values, -temperature if logits.requires_grad == wrong_with_gradient else temperature)

    monkeypatch.setattr(reference, "soft_value_and_entropy", wrong)
    networks = LADTSNetworks(1, SERVERS, seed=0, kernels="torch")
    load_published(networks, 0)
    update(networks, 0)
    with pytest.raises(AssertionError, match=where):
        assert_published_after(networks, 0)


@pytest.mark.parametrize("ready", [[False, True, False], [True, True, False]])
def test_stations_that_are_not_ready_change_nothing_and_are_not_changed(ready, kernels):
    networks = LADTSNetworks(3, SERVERS, seed=0, kernels=kernels)
    load_published(networks, 1)
    before = [{name: value.clone() for name, value in parameters_of(networks, b).items()} for b in range(3)]
    update(networks, 1, torch.tensor(ready))
    assert_published_after(networks, 1)
    for station in (0, 2):
        same = [torch.equal(value, before[station][name]) for name, value in parameters_of(networks, station).items()]
        assert all(same) if not ready[station] else not any(same)


@pytest.mark.parametrize("ready", [[True, True, True], [False, True, False]])
def test_the_learner_gives_the_published_parameters(ready, kernels):
    setting = {"preset": "paper", "network": {"stations": 3, "servers": SERVERS}, "arrivals": {"max_tasks": 4}}
    config = LADTSConfig().environment(FleetVectorEnv, env_config={"setting": setting})
    config.training(kernels=kernels).debugging(seed=0)
    env = FleetVectorEnv({"setting": setting})
    spaces = {DEFAULT_MODULE_ID: (env.single_observation_space, env.single_action_space)}
    learner = config.build_learner_group(spaces=spaces)._learner
    networks = learner.module[DEFAULT_MODULE_ID].networks
    load_published(networks, 1)
    drawn = iter([noise(key, 3, 1) for key in ("update.noise_next", "update.noise_current")])
    networks.draw_noise = lambda samples, generator: next(drawn)
    rows = {name: value.movedim(-1, 0) for name, value in columns(3, 1).items()}
    rows[READY] = torch.tensor(ready).expand(SAMPLES, 3)
    batch = MultiAgentBatch({DEFAULT_MODULE_ID: SampleBatch(rows)}, env_steps=SAMPLES)
    learner.update(training_data=TrainingData(batch=batch), timesteps={})
    assert_published_after(networks, 1)


def test_the_critics_loss_is_the_published_one(kernels):
    networks = LADTSNetworks(1, SERVERS, seed=0, kernels=kernels)
    load_published(networks, 0)
    for name, value in parameters_of(networks, 0).items():
        if name.startswith("critic_1"):  # only the second critic's loss was published: now both critics are that one
            value.copy_(published("before." + name.replace("critic_1", "critic_2")))
    diagnostics = update_stations(
        networks,
        columns(1, 0),
        noise("update.noise_next", 1, 0),
        noise("update.noise_current", 1, 0),
        lambda name, loss: None,
        **UPDATE,
    )
    assert diagnostics["critic_loss"].item() == pytest.approx(2 * float(PUBLISHED["critic_2_loss"]), rel=1e-5)
