"""A small LAD-TS for tests: four stations, seven decided slots, updates from the second episode on."""

import numpy as np
import torch

from lad_rllib.algorithms import CONFIGS
from lad_rllib.algorithms.common.config import FleetConfig
from lad_rllib.algorithms.lad_ts import LADTSConfig
from lad_rllib.envs import FleetVectorEnv

SLOT_ALGORITHMS = [name for name in CONFIGS if issubclass(CONFIGS[name], FleetConfig)]
NUM_SLOTS = 7  # decided slots of an episode
STATIONS, TASKS, SERVERS = 4, 6, 4


def small_config(seed=3, env=FleetVectorEnv, **training):
    """Configuration on the preset ``small``; keyword arguments go to ``training()``."""
    values = {"learning_starts": 20, "train_batch_size_per_learner": 8, "replay_capacity": 200} | training
    return LADTSConfig().environment(env, env_config={"setting": "small"}).training(**values).debugging(seed=seed)


def delay(result):
    """Mean service delay [s] of a training or evaluation result."""
    return float(result["env_runners"]["mean_service_delay_s"])


def curve(algo, episodes):
    """Mean service delays of the next training iterations."""
    return [delay(algo.train()) for _ in range(episodes)]


def learner_state(algo):
    """Weights and optimiser states of the learner, flat: name -> array."""
    state = algo.learner_group.get_state()["learner"]
    arrays = {f"weights.{key}": value for key, value in state["rl_module"]["default_policy"].items()}
    for name, optimizer in state["optimizer"].items():
        for index, entry in optimizer["state"]["state"].items():
            arrays |= {f"{name}.{index}.{key}": value for key, value in entry.items()}
    return {key: np.array(value) for key, value in arrays.items()}


def actor_weights(runner):
    """Weights of a runner's actors, flat."""
    return torch.cat([p.detach().flatten() for p in runner.module.networks.actor.parameters()]).numpy().copy()


def assert_same(one, other):
    """Two dictionaries of arrays hold exactly the same."""
    assert one.keys() == other.keys()
    for key in one:
        np.testing.assert_array_equal(one[key], other[key], err_msg=key)
