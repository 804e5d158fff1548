"""Delays that become known some slots after the decision are credited to the transitions that they belong to."""

import numpy as np
import pytest

from lad_rllib import names
from lad_rllib.algorithms.common.delayed_rewards import DelayedRewards
from lad_rllib.envs import FleetVectorEnv
from tests.algorithms.small import NUM_SLOTS, curve, delay, small_config


class LateFleetVectorEnv(FleetVectorEnv):
    """The simulator, but a delay is reported when its task would be done; what is left over, with the last step."""

    log = ()  # every (input size [Mbit], delay [s]) of all environments made

    def reset(self, **kwargs):
        self._open = []
        return super().reset(**kwargs)

    def step(self, actions):
        slot, before = self.simulator.slot, self.simulator.tasks
        observation, _, terminated, truncated, infos = super().step(actions)
        delays = infos.pop(names.TASK_DELAYS)
        for place in np.argwhere(before.mask):
            due = slot + 1 + int(delays[tuple(place)])
            self._open.append((due, (slot, *place[1:], delays[tuple(place)])))
            type(self).log += ((np.float32(before.task_mbit[tuple(place)]), delays[tuple(place)]),)
        rows = [row for due, row in self._open if due <= slot + 1 or truncated[0]]
        self._open = [] if truncated[0] else [entry for entry in self._open if entry[0] > slot + 1]
        reported = np.array(rows, dtype=np.float32).reshape(-1, 4)
        return (
            observation,
            -reported[:, 3].sum(keepdims=True),
            terminated,
            truncated,
            {"reported_delays": reported[None]},
        )


@pytest.fixture(autouse=True)
def empty_log():
    LateFleetVectorEnv.log = ()


def build(env, **env_runners):
    return small_config(env=env).env_runners(**env_runners).build_algo()


@pytest.mark.parametrize("latent_index", ["station_slot_task", "station_task"])
def test_whole_episodes_give_the_same_transitions_and_weights_as_with_delays_known_at_once(latent_index, no_cluster):
    algos = []
    for env in (FleetVectorEnv, LateFleetVectorEnv):
        config = small_config(env=env, latent_index=latent_index).env_runners(rollout_fragment_length=NUM_SLOTS)
        algos.append(config.build_algo())
    assert curve(algos[0], 4) == pytest.approx(curve(algos[1], 4), rel=1e-6)
    at_once, late = (algo.replay_buffer for algo in algos)
    np.testing.assert_array_equal(at_once.count, late.count)
    np.testing.assert_array_equal(at_once.rows, late.rows)


def test_slot_by_slot_every_transition_has_the_delay_of_its_own_task(no_cluster):
    algo = build(LateFleetVectorEnv)
    results = [algo.train() for _ in range(3)]
    delays = {float(size): value for size, value in LateFleetVectorEnv.log}
    buffer = algo.replay_buffer
    for station, count in enumerate(buffer.size):
        for row in buffer.rows[station, :count]:
            size, reward = float(row[buffer._columns["state"]][0]), float(row[buffer._columns["reward"]][0])
            assert reward == -delays[size]
    assert buffer.size.sum() > 100
    episode = [value for _, value in LateFleetVectorEnv.log]
    assert np.mean([delay(r) for r in results]) == pytest.approx(np.mean(episode), rel=0.1)


def test_the_metrics_of_an_episode_count_late_delays(no_cluster):
    results = [build(env, rollout_fragment_length=NUM_SLOTS).train() for env in (FleetVectorEnv, LateFleetVectorEnv)]
    for key in ("mean_service_delay_s", "episode_return_mean"):
        at_once, late = (result["env_runners"][key] for result in results)
        assert late == pytest.approx(at_once, rel=1e-6)


def test_slots_are_held_back_until_their_delays_are_known(no_cluster):
    runner = build(LateFleetVectorEnv).env_runner
    collected = [runner.collect(1) for _ in range(NUM_SLOTS)]
    slots = [[sample.slot for sample in samples] for samples in collected]
    assert sum(slots, []) == list(range(NUM_SLOTS))
    assert [] in slots and len(slots[-1]) > 1
    assert collected[-1][-1].is_last


class Forgetful(LateFleetVectorEnv):
    """Leaves the last report out."""

    def step(self, actions):
        results = super().step(actions)
        if results[3][0]:
            results[4]["reported_delays"] = np.zeros((1, 0, 4), np.float32)
        return results


class Twice(LateFleetVectorEnv):
    """Reports everything twice."""

    def step(self, actions):
        results = super().step(actions)
        results[4]["reported_delays"] = np.concatenate([results[4]["reported_delays"]] * 2, axis=1)
        return results


@pytest.mark.parametrize(
    ("env", "message"), [(Forgetful, "tasks were never reported"), (Twice, "a delay that nobody waits for")]
)
def test_an_environment_that_breaks_its_promise_is_told(env, message, no_cluster):
    with pytest.raises(ValueError, match=message):
        build(env).train()


def test_clearing_forgets_what_waits():
    late = DelayedRewards()
    mask = np.array([[[True, False]]])
    infos = [{"reported_delays": np.zeros((0, 4), np.float32)}]
    delays = late.delays_s(infos, mask)
    assert np.isnan(delays[0, 0, 0]) and delays[0, 0, 1] == 0
    late.clear()
    assert not late._waiting
