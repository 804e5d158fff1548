"""Replay buffers: rows by hand, what is evicted, and what becomes of stations without tasks."""

import copy

import numpy as np
import pytest

from lad_rllib.algorithms.common.replay_buffer import FleetReplayBuffer, SlotSample

SERVERS, TASKS = 2, 3


def slots(counts, seed=0, source=0, first=0, episodes=1):
    """Slots of one runner with the given numbers of tasks: (T + 1, B), or (T + 1, E, B); the last is only seen.

    Every number in them is different, so that a row tells where it comes from.
    """
    counts = np.asarray(counts, dtype=np.int32).reshape(len(counts), episodes, -1)
    rng, (num_slots, _, stations) = np.random.default_rng(seed), counts.shape
    tasks = rng.random((num_slots, episodes, stations, TASKS, 2), dtype=np.float32)
    queues = rng.random((num_slots, episodes, SERVERS), dtype=np.float32) * 100
    latent = rng.random((num_slots, episodes, stations, TASKS, SERVERS), dtype=np.float32)
    in_memory = rng.random((num_slots, episodes, stations, SERVERS), dtype=np.float32)
    return [
        SlotSample(
            source=source,
            slot=first + t,
            tasks=tasks[t],
            task_counts=counts[t],
            queues=queues[t],
            action=rng.integers(0, SERVERS, (episodes, stations, TASKS)),
            delay_s=rng.random((episodes, stations, TASKS), dtype=np.float32),
            latent=latent[t],
            next_tasks=tasks[t + 1, :, :, 0],
            next_task_counts=counts[t + 1],
            next_queues=queues[t + 1],
            next_latent=in_memory[t + 1],
            is_last=t == num_slots - 2,
        )
        for t in range(num_slots - 1)
    ]


def buffer_with(samples, capacity=20, latent_after_acting=False):
    buffer = FleetReplayBuffer(samples[0].task_counts.shape[1], SERVERS, capacity, latent_after_acting)
    for sample in samples:
        buffer.add(sample)
    return buffer


def state(sample, station, task, episode=0):
    return [*sample.tasks[episode, station, task], *sample.queues[episode]]


def first_state(sample, station, episode=0):
    """State of the next slot's first task, as a sample announces it."""
    return [*sample.next_tasks[episode, station], *sample.next_queues[episode]]


def row(sample, station, task, next_state, next_latent, episode=0):
    where = (episode, station, task)
    outcome = [sample.action[where], -sample.delay_s[where]]
    return np.array(
        [*state(sample, station, task, episode), *sample.latent[where], *next_state, *next_latent, *outcome]
    )


def held(buffer, station):
    """A station's rows from the oldest to the newest."""
    count = buffer.count[station]
    return buffer.rows[station, np.arange(count - buffer.size[station], count) % buffer.capacity]


def test_next_states_are_those_of_the_stations_next_task_in_the_slot_then_in_the_next_slot():
    first, second = slots([[2, 1], [1, 3], [1, 1]])
    buffer = buffer_with([first, second])
    expected = {
        0: [
            row(first, 0, 0, state(first, 0, 1), first.latent[0, 0, 1]),
            row(first, 0, 1, first_state(first, 0), first.next_latent[0, 0]),
            row(second, 0, 0, first_state(second, 0), second.next_latent[0, 0]),
        ],
        1: [
            row(first, 1, 0, first_state(first, 1), first.next_latent[0, 1]),
            row(second, 1, 0, state(second, 1, 1), second.latent[0, 1, 1]),
            row(second, 1, 1, state(second, 1, 2), second.latent[0, 1, 2]),
            row(second, 1, 2, first_state(second, 1), second.next_latent[0, 1]),
        ],
    }
    for station, rows in expected.items():
        np.testing.assert_array_equal(held(buffer, station), np.array(rows, dtype=np.float32))


def test_a_batch_names_the_columns_of_a_row():
    (sample,) = slots([[1], [1]])
    batch = buffer_with([sample], capacity=1).sample(1, np.random.default_rng(0))
    assert {name: column.shape for name, column in batch.items()} == {
        "state": (1, 1, 4),
        "latent": (1, 1, 2),
        "next_state": (1, 1, 4),
        "next_latent": (1, 1, 2),
        "action": (1, 1),
        "reward": (1, 1),
    }
    np.testing.assert_array_equal(batch["state"][0, 0], state(sample, 0, 0))
    np.testing.assert_array_equal(batch["next_state"][0, 0], first_state(sample, 0))
    assert batch["action"].item() == sample.action[0, 0, 0]
    assert batch["reward"].item() == -sample.delay_s[0, 0, 0]


def test_the_oldest_transitions_go_first():
    samples = slots([[3, 1]] * 8)
    everything, ring = buffer_with(samples, capacity=100), buffer_with(samples, capacity=5)
    assert everything.size.tolist() == [21, 7]
    assert ring.size.tolist() == [5, 5]
    for station in range(2):
        np.testing.assert_array_equal(held(ring, station), held(everything, station)[-5:])


@pytest.mark.parametrize("after_acting", [False, True])
def test_of_more_transitions_at_once_than_fit_the_last_ones_stay(after_acting):
    samples = slots([[3, 3]] * 4)
    everything, ring = (buffer_with(samples, capacity, after_acting) for capacity in (100, 2))
    np.testing.assert_array_equal(held(ring, 0), held(everything, 0)[-2:])


def test_a_transition_waits_through_slots_without_a_task_for_the_stations_next_one():
    samples = slots([[2, 1], [0, 1], [0, 1], [1, 1], [1, 1]])
    buffer = FleetReplayBuffer(2, SERVERS, 20, latent_after_acting=False)
    sizes = []
    for sample in samples:
        buffer.add(sample)
        sizes.append(buffer.size.tolist())
    assert sizes == [[1, 1], [1, 2], [2, 3], [3, 4]]  # complete once the next task is seen, one slot ahead
    expected = row(samples[0], 0, 1, first_state(samples[2], 0), samples[2].next_latent[0, 0])
    np.testing.assert_array_equal(held(buffer, 0)[1], expected.astype(np.float32))


@pytest.mark.parametrize("counts", [[[2], [1], [1]], [[2], [0], [1], [1]]], ids=["next slot", "a later slot"])
def test_with_zero_next_queues_only_next_states_in_another_slot_have_empty_queues(counts):
    samples = slots(counts)
    buffer = FleetReplayBuffer(1, SERVERS, 20, latent_after_acting=False, zero_next_queues=True)
    for sample in samples:
        buffer.add(sample)
    actual, (within, across, *_) = held(buffer_with(samples), 0), held(buffer, 0)
    np.testing.assert_array_equal(within, actual[0])
    np.testing.assert_array_equal(across[8:10], 0)
    np.testing.assert_array_equal(np.delete(across, [8, 9]), np.delete(actual[1], [8, 9]))


def test_a_task_that_no_other_follows_before_the_episode_ends_is_left_out():
    buffer = buffer_with(slots([[2, 0], [0, 0], [0, 1]]))
    assert buffer.size.tolist() == [1, 0]


def test_a_task_that_is_seen_only_in_the_last_slot_completes_the_one_before():
    samples = slots([[2], [0], [1]])
    buffer = buffer_with(samples)
    expected = row(samples[0], 0, 1, first_state(samples[1], 0), samples[1].next_latent[0, 0])
    np.testing.assert_array_equal(held(buffer, 0)[1], expected.astype(np.float32))


def test_what_waits_at_an_episodes_end_does_not_reach_into_the_next_episode():
    buffer = buffer_with(slots([[2], [0], [0]]) + slots([[1], [1], [1]], seed=1))
    assert buffer.size.tolist() == [3]


@pytest.mark.parametrize("counts", [[[1], [2], [1]], [[1], [0], [2], [1]]])
def test_after_acting_the_last_transition_of_a_slot_gets_the_next_tasks_own_output(counts):
    samples = slots(counts)
    column = slice(10, 12)
    buffer = FleetReplayBuffer(1, SERVERS, 20, latent_after_acting=True)
    for sample in samples[:-1]:
        buffer.add(sample)
    np.testing.assert_array_equal(held(buffer, 0)[0, 4 + 2 + 4 :][:2], samples[-2].next_latent[0, 0])
    buffer.add(samples[-1])
    np.testing.assert_array_equal(held(buffer, 0)[0, column], samples[-1].latent[0, 0, 0])
    np.testing.assert_array_equal(held(buffer, 0)[-1, column], samples[-1].next_latent[0, 0])


def test_before_acting_it_keeps_what_was_in_memory():
    samples = slots([[1], [2], [1]])
    np.testing.assert_array_equal(held(buffer_with(samples), 0)[0, 10:12], samples[0].next_latent[0, 0])


def test_a_transition_that_has_been_evicted_is_not_corrected():
    samples = slots([[1, 1], [3, 3], [3, 3], [1, 1]])
    ring = buffer_with(samples, capacity=3, latent_after_acting=True)
    everything = buffer_with(samples, capacity=30, latent_after_acting=True)
    for station in range(2):
        np.testing.assert_array_equal(held(ring, station), held(everything, station)[-3:])


@pytest.mark.parametrize("after_acting", [False, True])
def test_episodes_in_lockstep_give_the_transitions_of_single_ones(after_acting):
    counts = np.array([[2, 1], [0, 3], [1, 1], [2, 0], [1, 1]])
    both = slots(np.stack([counts, counts[::-1]], axis=1), episodes=2)
    together = buffer_with(both, 50, after_acting)

    def single(sample, episode):
        arrays = {
            key: value[episode : episode + 1] for key, value in vars(sample).items() if isinstance(value, np.ndarray)
        }
        return SlotSample(**{**vars(sample), **arrays, "source": episode})

    apart = buffer_with([single(sample, episode) for sample in both for episode in range(2)], 50, after_acting)
    for station in range(2):
        rows = (sorted(map(tuple, held(buffer, station))) for buffer in (together, apart))
        np.testing.assert_array_equal(*rows)


def test_sources_that_take_turns_do_not_touch_each_others_open_transitions():
    a, b = slots([[1], [0], [2], [1]], source="a"), slots([[2], [1], [0], [1]], seed=1, source="b")
    together = buffer_with([sample for pair in zip(a, b, strict=True) for sample in pair])
    rows = sorted(map(tuple, [*held(buffer_with(a), 0), *held(buffer_with(b), 0)]))
    np.testing.assert_array_equal(sorted(map(tuple, held(together, 0))), rows)


def test_a_batch_repeats_no_transition_and_takes_only_what_is_there():
    buffer = buffer_with(slots([[3, 2]] * 4), capacity=30)
    rng = np.random.default_rng(1)
    for _ in range(50):
        rewards = buffer.sample(6, rng)["reward"]
        for station in range(2):
            assert len(set(rewards[:, station])) == 6
            assert set(rewards[:, station]) <= set(held(buffer, station)[:, -1])


def test_every_transition_is_drawn_equally_often():
    buffer = buffer_with(slots([[3]] * 5), capacity=12)
    rng = np.random.default_rng(2)
    drawn = np.concatenate([buffer.sample(3, rng)["reward"][:, 0] for _ in range(4000)])
    _, times = np.unique(drawn, return_counts=True)
    assert len(times) == 12
    assert abs(times / 1000 - 1).max() < 0.12  # four standard deviations


def test_a_batch_as_large_as_the_ring_is_the_whole_ring():
    buffer = buffer_with(slots([[3]] * 5), capacity=12)
    rewards = buffer.sample(12, np.random.default_rng(0))["reward"][:, 0]
    assert sorted(rewards) == sorted(held(buffer, 0)[:, -1])


def test_a_batch_depends_on_the_generator_alone():
    buffer = buffer_with(slots([[3]] * 5))
    first, same, other = (buffer.sample(4, np.random.default_rng(seed))["reward"] for seed in (1, 1, 2))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


def test_with_and_without_compiled_kernels_the_same_is_drawn():
    samples = slots([[3, 2]] * 6)
    batches = []
    for kernels in ("compiled", "torch"):
        buffer = FleetReplayBuffer(2, SERVERS, 14, latent_after_acting=False, kernels=kernels)
        for sample in samples:
            buffer.add(sample)
        batches.append(buffer.sample(9, np.random.default_rng(3)))
    for name, column in batches[0].items():
        np.testing.assert_array_equal(column, batches[1][name], err_msg=name)


def test_a_saved_buffer_goes_on_as_the_original():
    buffer = buffer_with(slots([[3, 1]] * 4), capacity=5)
    saved = copy.deepcopy(buffer.get_state())
    restored = FleetReplayBuffer(2, SERVERS, 5, latent_after_acting=False)
    restored.set_state(saved)
    for sample in slots([[2, 2]] * 3, seed=1):
        buffer.add(sample)
        restored.add(sample)
    assert np.array_equal(buffer.rows, restored.rows)
    assert np.array_equal(buffer.count, restored.count)


def test_a_saved_state_does_not_change_with_the_buffer():
    buffer = buffer_with(slots([[3, 1]] * 4))
    saved = buffer.get_state()
    rows = saved["rows"].copy()
    for sample in slots([[2, 2]] * 3, seed=1):
        buffer.add(sample)
    assert np.array_equal(saved["rows"], rows)


@pytest.mark.parametrize("size", [(3, SERVERS, 5), (2, SERVERS + 1, 5), (2, SERVERS, 6)])
def test_a_buffer_of_another_size_is_refused_in_one_line(size):
    saved = buffer_with(slots([[3, 1]] * 4), capacity=5).get_state()
    with pytest.raises(ValueError, match=r"^the saved replay buffer has shape .*restore with[^\n]*$"):
        FleetReplayBuffer(*size, latent_after_acting=False).set_state(saved)
