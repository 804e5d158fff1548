"""The batched training equals the paper's loops over tasks and stations, fed with the same random draws."""

import math
from unittest import mock

import numpy as np
import pytest
import torch
from torch.nn.utils import parameters_to_vector

from lad_rllib.algorithms.lad_ts import LADTSConfig
from lad_rllib.envs import FleetVectorEnv
from tests.algorithms.literal_training import Choices, LiteralTraining
from tests.algorithms.recorded_draws import RecordedDraws

EPISODES = 2
# float32 rounding alone: parameters, up to 1 in size, differ by at most 5e-7 after some 30 updates. Compiled kernels
# round elsewhere, no worse (test_kernel_accuracy.py); where a gradient is next to 0, Adam makes its rounding a part of
# a step, which is 1e-4 long.
TOLERANCES = {"torch": {"rtol": 2e-6, "atol": 2e-6}, "compiled": {"rtol": 1e-5, "atol": 3e-5}}
# Latent actions are further from it: states of about 100 go into the networks, and outputs of about 50 come back. Where
# logits are carried from slot to slot, each chain multiplies a difference by up to 12.5 until a clamp removes it.
LATENT_TOLERANCES = {
    ("published_code", "torch"): {"rtol": 1e-5, "atol": 1e-5},
    ("published_code", "compiled"): {"rtol": 1e-5, "atol": 3e-4},
    ("paper", "torch"): {"rtol": 0.0, "atol": 1e-3},
    ("paper", "compiled"): {"rtol": 0.0, "atol": 1e-3},
}

SETTINGS = {
    "uniform": {"preset": "small", "slots": 12, "arrivals": {"max_tasks": 8}},
    "slots without a task": {
        "preset": "small",
        "slots": 20,
        "arrivals": {"source": "poisson", "mean_tasks": [0.7, 1.0, 1.5, 2.5], "max_tasks": 6},
    },
    "more servers than stations": {
        "preset": "small",
        "slots": 12,
        "network": {"stations": 3, "capacity_gcycles_per_s": [2.0, 3.0, 5.0, 2.0, 4.0]},
        "arrivals": {"max_tasks": 8},
    },
    "fewer servers than stations": {
        "preset": "small",
        "slots": 12,
        "network": {"stations": 4, "capacity_gcycles_per_s": [5.0, 7.0]},
        "arrivals": {"max_tasks": 8},
    },
}
PACE = {"learning_starts": 7, "train_batch_size_per_learner": 5, "replay_capacity": 10}


def literal_choices(preset, num_servers):
    """The preset in the literal training's words, from the specification and not from ``PRESETS``."""
    pace = {"learning_starts": 7, "batch_size": 5, "replay_capacity": 10}
    if preset == "published_code":
        return Choices(**pace)
    return Choices(
        latent_of_slot=False,
        keeps_probabilities=False,
        softmax_output=False,
        clip_denoised=3.0,
        stores_views=False,
        next_slot_looks_empty=False,
        target_entropy=0.5 * math.log(num_servers),
        **pace,
    )


@pytest.fixture(
    scope="module",
    params=[(s, p, "compiled") for s in SETTINGS for p in ("published_code", "paper")]
    + [("slots without a task", p, "torch") for p in ("published_code", "paper")],
    ids=", ".join,
)
def trainings(request):
    """Both trainings of one setting: the algorithm, its draws, the literal one, and the literal decisions."""
    setting, preset, kernels = request.param
    config = (
        LADTSConfig()
        .environment(FleetVectorEnv, env_config={"setting": SETTINGS[setting]})
        .training(preset=preset, kernels=kernels, **PACE)
        .debugging(seed=3)
    )
    with mock.patch("ray.put"):  # by which RLlib would start a cluster, for remote runners only
        algo = config.build_algo()
    draws = RecordedDraws(algo)
    with draws.recording():
        for _ in range(EPISODES):
            algo.training_step()
    built = algo.env_runner.env.unwrapped.setting
    choices = literal_choices(preset, built.network.num_servers)
    literal = LiteralTraining(built.network, built.num_slots, choices, draws)
    decisions = [literal.train_episode() for _ in range(EPISODES)]
    yield algo, draws, literal, decisions
    algo.stop()


def test_every_decision_is_the_same_and_every_delay_agrees(trainings):
    _, draws, literal, decisions = trainings
    num_slots = literal.num_slots - 1
    assert list(draws.samples) == [(episode, slot) for episode in range(EPISODES) for slot in range(num_slots)]
    for (episode, slot), sample in draws.samples.items():
        actions, delays = (values[slot] for values in decisions[episode])
        mask = np.arange(sample.action.shape[2]) < sample.task_counts[0][:, None]
        assert sample.action[0][mask].tolist() == actions
        np.testing.assert_allclose(sample.delay_s[0][mask], delays, rtol=1e-6)


def test_every_parameter_agrees_after_two_episodes(trainings):
    algo, _, literal, _ = trainings
    networks = algo.learner_group._learner.module["default_policy"].networks
    tolerance = TOLERANCES[algo.config.kernels]
    fast, stations = networks.state_dict(), networks.num_stations
    for station, agent in enumerate(literal.agents):
        pairs = [("actor.denoiser", station, agent.denoiser)]
        pairs += [("critics", k * stations + station, critic) for k, critic in enumerate(agent.critics)]
        pairs += [("target_critics", k * stations + station, target) for k, target in enumerate(agent.targets)]
        for name, row, network in pairs:
            own = fast[f"{name}.weights"][row]
            torch.testing.assert_close(own, parameters_to_vector(network.parameters()).detach(), **tolerance)
        torch.testing.assert_close(fast["log_temperature"][station], agent.log_temperature.data, **tolerance)


def test_the_parameters_have_moved_far_beyond_the_tolerance(trainings):
    algo, draws, _, _ = trainings
    for key, value in algo.learner_group._learner.module["default_policy"].networks.state_dict().items():
        assert (value - draws.weights[key]).abs().max() > 25 * TOLERANCES["compiled"]["atol"], key


def test_replay_buffers_and_latent_memories_agree(trainings):
    algo, _, literal, _ = trainings
    buffer, memory = algo.replay_buffer, algo.env_runner.latent_memory
    tolerance = LATENT_TOLERANCES[algo.config.preset, algo.config.kernels]
    for station, agent in enumerate(literal.agents):
        size, count = buffer.size[station], buffer.count[station]
        assert size == len(agent.replay)
        rows = buffer.rows[station, np.arange(count - size, count) % buffer.capacity]
        for row, (state, action, latent, reward, next_state, next_latent) in zip(rows, agent.replay, strict=True):
            literal_row = np.concatenate([state, latent, next_state, next_latent, [action, reward]])
            np.testing.assert_allclose(row, literal_row, **tolerance)
    for slot, latents in enumerate(literal.latents):
        np.testing.assert_allclose(memory.read(slot)[0].numpy(), latents, **tolerance)


def test_the_settings_are_hard_enough(trainings):
    """Stations begin at different slots, rings wrap in each episode, and no ring outlives an episode."""
    _, draws, literal, _ = trainings
    assert len(set(literal.num_updates)) > 1
    counts = np.array([sample.task_counts[0] for sample in draws.samples.values()])
    received = counts.reshape(EPISODES, -1, counts.shape[1]).sum(axis=1)
    assert received.min() > PACE["replay_capacity"]


def test_the_sparse_setting_has_slots_without_a_task(trainings, request):
    _, draws, _, _ = trainings
    empty = any((sample.task_counts == 0).any() for sample in draws.samples.values())
    assert empty == ("without" in request.node.callspec.id)
