"""LAD-TS learns on edge servers that are Ray actors: from remote runners, each with its own fleet or all on one."""

import numpy as np
import pytest

from lad_rllib import names
from lad_rllib.algorithms.lad_ts import LADTSConfig
from lad_rllib.envs import LiveFleetVectorEnv
from lad_rllib.errors import ConfigurationError
from lad_rllib.fleet import Fleet
from tests.envs.live_fleets import FLEET, env_config

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("ray_cluster")]


@pytest.fixture
def build():
    """Build an algorithm on a live fleet, and stop it afterwards."""
    built = []

    def make(runners=2, **changes):
        config = LADTSConfig().environment(LiveFleetVectorEnv, env_config=env_config(in_process=False, **changes))
        config.training(learning_starts=4, train_batch_size_per_learner=4).debugging(seed=0)
        built.append(config.env_runners(num_env_runners=runners).build_algo())
        return built[-1]

    yield make
    for algorithm in built:
        algorithm.stop()


def train(algorithm, iterations=2):
    """Mean delays, and whether the learner has learned anything in the last iteration."""
    results = [algorithm.train() for _ in range(iterations)]
    assert [result["env_runners"]["num_episodes"] for result in results] == [algorithm.config.num_env_runners] * 2
    return [result["env_runners"][names.MEAN_DELAY] for result in results], results[-1]["learners"]["default_policy"]


def test_two_runners_learn_on_a_fleet_of_actors_each(build):
    delays, learner = train(build())
    assert all(0.3 < delay_s < 10 for delay_s in delays)  # an image takes 0.35 to 0.7 s
    assert np.isfinite(learner["critic_loss"])


def test_two_runners_learn_on_one_shared_fleet_and_leave_it_alone(build):
    with Fleet.start(FLEET, shared=True) as fleet:
        delays, _ = train(build(sharing="shared"))
        served = [server.status().tasks_served for server in fleet.servers]
    assert all(0.3 < delay_s < 20 for delay_s in delays)
    assert 48 <= sum(served) <= 144  # four episodes of four slots in which three stations have one to three tasks


@pytest.mark.slow
def test_a_fleet_that_no_node_can_take_ends_training_with_one_line(build):
    fleet = FLEET | {
        "placement_timeout_s": 1.0,
        "servers": [FLEET["servers"][0] | {"num_gpus": 1}, FLEET["servers"][1]],
    }
    algorithm = build(fleet=fleet)
    with pytest.raises(
        ConfigurationError, match="^environment runner [12]: fleet two, server s0: no node offers GPU 1"
    ):
        algorithm.train()


def test_an_iteration_in_which_no_runner_ends_an_episode_is_an_error(build):
    algorithm = build()
    algorithm.config._is_frozen = False
    algorithm.config.env_runners(sample_timeout_s=0.001)
    with pytest.raises(RuntimeError, match="no environment runner finished an episode.*sample_timeout_s=0.001"):
        algorithm.train()
