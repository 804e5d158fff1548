"""The promises of lad_rllib.algorithms.common.latent_memory, sentence by sentence.

Those about evaluation, restarted runners and checkpoints of several runners are in the ``test_rllib_*`` files.
"""

import numpy as np
import pytest
import torch

from lad_rllib.algorithms.common.latent_memory import LatentMemory
from lad_rllib.algorithms.lad_ts import LADTSConfig
from lad_rllib.envs import FleetVectorEnv
from tests.algorithms.small import (
    NUM_SLOTS,
    SERVERS,
    STATIONS,
    TASKS,
    assert_same,
    curve,
    learner_state,
    small_config,
)


def memory(index="station_slot_task", environments=2, tasks=3, seed=0):
    """Memory of two stations and four servers."""
    return LatentMemory(index, (environments, 2, tasks, 4), seeds=[[seed, e] for e in range(environments)])


def write_everywhere(target, slot, value):
    latents = target.read(slot)
    target.write(slot, torch.full_like(latents, value), torch.ones(latents.shape[:3], dtype=torch.bool))


def test_every_entry_starts_as_standard_normal_noise_of_its_own():
    one = LatentMemory("station_slot_task", (2, 10, 50, 20), seeds=[[0, 0], [0, 1]])
    noise = torch.stack([one.read(0), one.read(1)])
    assert abs(float(noise.mean())) < 0.01 and abs(float(noise.std()) - 1) < 0.01
    assert not torch.equal(noise[0], noise[1]) and not torch.equal(noise[0, 0], noise[0, 1])
    assert torch.equal(memory(environments=2).read(5)[0], memory(environments=1).read(5)[0])
    assert not torch.equal(memory(seed=1).read(0), memory(seed=2).read(0))


def test_station_slot_task_keeps_slots_apart_and_station_task_carries_them_on():
    apart, carried = memory("station_slot_task"), memory("station_task")
    for one in (apart, carried):
        write_everywhere(one, 0, 7.0)
    assert not (apart.read(1) == 7.0).any()
    assert (carried.read(1) == 7.0).all()
    assert (apart.first(0) == 7.0).all() and apart.first(0).shape == (2, 2, 4)


def test_only_entries_of_tasks_that_exist_are_written():
    one = memory()
    before = one.read(0).clone()
    mask = torch.zeros(2, 2, 3, dtype=torch.bool)
    mask[1, 0, 2] = True
    one.write(0, torch.full_like(before, 7.0), mask)
    assert (one.read(0)[1, 0, 2] == 7.0).all()
    assert torch.equal(one.read(0)[~mask], before[~mask])


def test_a_state_is_a_copy_and_comes_back_as_it_was():
    one, other = memory(seed=1), memory(seed=2)
    write_everywhere(one, 3, 7.0)
    state = one.get_state()
    write_everywhere(one, 3, 8.0)
    other.set_state(state)
    assert (other.read(3) == 7.0).all()
    write_everywhere(other, 3, 9.0)
    assert (state["latents"][3] == 7.0).all()


def test_further_environments_take_the_first_ones_entries():
    one, more = memory(environments=2), memory(environments=3, seed=5)
    one.read(0)
    more.set_state(one.get_state())
    assert torch.equal(more.read(0)[:2], one.read(0)) and torch.equal(more.read(0)[2], one.read(0)[0])
    fewer = memory(environments=1, seed=5)
    fewer.set_state(one.get_state())
    assert torch.equal(fewer.read(0), one.read(0)[:1])


def test_slots_beyond_the_saved_ones_start_from_noise_task_indices_as_the_last_one_and_others_are_dropped():
    one, wider = memory(tasks=3), memory(tasks=5, seed=5)
    saved = one.read(0).clone()
    wider.set_state(one.get_state())
    assert torch.equal(wider.read(0)[:, :, :3], saved)
    assert torch.equal(wider.read(0)[:, :, 3:], saved[:, :, 2:].expand(-1, -1, 2, -1))
    assert torch.equal(wider.read(1), memory(tasks=5, seed=5).read(1))
    narrower = memory(tasks=2)
    narrower.set_state(one.get_state())
    assert torch.equal(narrower.read(0), saved[:, :, :2])


def test_numbers_of_learned_starts_stay_those_of_the_task_indices():
    one, wider = (LatentMemory("station_task", (1, 2, tasks, 1), "index") for tasks in (3, 5))
    one.read(0)
    wider.set_state(one.get_state())
    assert wider.read(0)[0, 1, :, 0].tolist() == [0, 1, 2, 3, 4]


def test_a_memory_of_another_network_or_index_is_refused():
    state = memory().get_state()
    with pytest.raises(ValueError, match="latent_index"):
        memory("station_task").set_state(state)
    one = memory()
    one.read(0)
    with pytest.raises(ValueError, match=r"\(2, 4\), here \(3, 4\)"):
        LatentMemory("station_slot_task", (2, 3, 3, 4), seeds=[[0, 0], [0, 1]]).set_state(one.get_state())


@pytest.mark.usefixtures("no_cluster")
def test_the_memory_lives_on_from_episode_to_episode():
    algo = small_config().build_algo()
    curve(algo, 1)
    first = algo.env_runner.latent_memory.get_state()["latents"]
    read, seen = algo.env_runner.latent_memory.read, {}
    algo.env_runner.latent_memory.read = lambda slot, *n: (
        seen.setdefault(slot, read(slot).numpy().copy()),
        read(slot),
    )[1]
    curve(algo, 1)
    assert_same({slot: seen[slot] for slot in range(NUM_SLOTS)}, {slot: first[slot] for slot in range(NUM_SLOTS)})


@pytest.mark.usefixtures("no_cluster")
@pytest.mark.parametrize("preset", ["published_code", "paper"])
def test_what_is_remembered_is_what_the_actor_put_out(preset):
    algo = small_config(preset=preset).build_algo()
    curve(algo, 1)
    runner = algo.env_runner
    slot = NUM_SLOTS - 1
    had_task = np.arange(TASKS) < runner._ongoing_episodes[0].get_observations(slot)["task_counts"][:, None]
    latent = runner.latent_memory.read(slot)[0].numpy()
    assert latent.shape == (STATIONS, TASKS, SERVERS)
    is_distribution = np.isclose(latent.sum(-1), 1.0, atol=1e-5) & (latent >= 0).all(-1)
    if preset == "published_code":
        assert is_distribution[had_task].all() and not is_distribution[~had_task].any()
    else:
        assert list(runner.latent_memory.get_state()["latents"]) == [0]
        assert not is_distribution[had_task].all()


@pytest.mark.usefixtures("no_cluster")
def test_the_papers_preset_stays_finite_on_the_papers_setting():
    """Its logits are where the next slot starts from: without a limit they overflow within the first episode."""
    config = LADTSConfig().environment(FleetVectorEnv, env_config={"setting": "paper"}).training(preset="paper")
    algo = config.debugging(seed=0).build_algo()
    delays = curve(algo, 2)
    assert np.isfinite(delays).all() and delays[1] < delays[0]
    assert algo.replay_buffer.size.min() > 300  # every station has been updated
    for name, value in learner_state(algo).items():
        assert np.isfinite(value).all(), name
    assert float(algo.env_runner.latent_memory.read(0).abs().max()) < 5.0  # logits up to 3, or the noise of the start
