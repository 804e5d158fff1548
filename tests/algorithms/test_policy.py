"""A trained policy by itself: it decides as the runner that trained it would."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from lad_rllib.algorithms.common.latent_memory import LatentMemory, for_tasks
from lad_rllib.algorithms.common.policy import FleetPolicy
from lad_rllib.algorithms.lad_pmd import LADPMDNetworks
from lad_rllib.algorithms.lad_ts.networks import LADTSNetworks
from lad_rllib.errors import ConfigurationError
from lad_rllib.scheduling import Scheduler, play
from lad_rllib.service import WorkModel
from lad_rllib.service.slots import warm_up
from lad_rllib.simulator import EdgeSimulator, build_setting, stack_arrivals
from tests.algorithms.small import curve, small_config

NETWORK = {"stations": 3, "capacity_gcycles_per_s": [10, 20, 30, 40, 50], "link_rate_mbit_per_s": 450}
SETTING = build_setting({"preset": "small", "network": NETWORK})


def policy(**changes) -> FleetPolicy:
    networks = LADTSNetworks(3, 5, hidden_sizes=(8, 8), inference_only=True, seed=1)
    return FleetPolicy(networks, SETTING.arrivals.max_tasks, **changes)


def arrivals(episodes: int):
    draws = [SETTING.arrivals.draw(np.random.default_rng(k), SETTING.num_slots) for k in range(episodes)]
    return stack_arrivals(draws)


def test_it_is_a_scheduler_and_sends_every_task_to_a_server_that_exists():
    scheduler = policy()
    assert isinstance(scheduler, Scheduler)
    record = play(scheduler, SETTING.network, arrivals(2), np.random.default_rng(0), 5)
    sent = record.action[record.mask]
    assert sent.min() >= 0 and sent.max() < 5


def test_the_same_randomness_gives_the_same_decisions():
    records = [play(policy(), SETTING.network, arrivals(2), np.random.default_rng(7)) for _ in range(2)]
    assert np.array_equal(records[0].action, records[1].action)


def test_a_warm_up_leaves_no_trace_in_later_decisions():
    records = []
    for warmed in (True, False):
        scheduler = policy()
        if warmed:
            warm_up(scheduler, SETTING.network, WorkModel())
        records.append(play(scheduler, SETTING.network, arrivals(1), np.random.default_rng(7)))
    assert np.array_equal(records[0].action, records[1].action)


def test_a_decision_is_one_pass_of_the_actor_from_what_is_remembered():
    scheduler = policy(explore=False)
    scheduler.reset(1)
    inputs, rng = np.random.default_rng(0), np.random.default_rng(3)
    tasks, queues = inputs.random((1, 3, 6, 2)), inputs.random((1, 5)) * 9
    mask = np.ones((1, 3, 6), dtype=bool)
    start = LatentMemory("station_slot_task", (1, 3, 6, 5), seeds=[[0, 0]]).read(0)[0]
    expected = np.empty((3, 6), dtype=int)
    noise = torch.from_numpy(np.random.default_rng(3).standard_normal((4, 3, 5, 6), dtype=np.float32))
    for station in range(3):
        for task in range(6):
            state = torch.zeros(3, 7, 1)
            state[station, :, 0] = torch.tensor([*tasks[0, station, task], *queues[0]])
            latent = torch.zeros(3, 5, 1)
            latent[station, :, 0] = start[station, task]
            logits = scheduler.networks.actor(state, latent, noise[..., task : task + 1])
            expected[station, task] = int(logits[station, :, 0].argmax())
    assert np.array_equal(scheduler.servers(tasks, mask, queues, 0, rng)[0], expected)


def test_what_it_put_out_is_where_it_starts_from_next_time():
    scheduler = policy(latent_index="station_task")
    scheduler.reset(1)
    inputs = np.random.default_rng(0)
    tasks, queues = inputs.random((1, 3, 6, 2)), inputs.random((1, 5))
    mask = np.arange(6) < np.array([2, 6, 0])[None, :, None]
    before = scheduler._memory.read(0).clone()
    scheduler.servers(tasks, mask, queues, 0, np.random.default_rng(0))
    after = scheduler._memory.read(1)
    assert torch.equal(after[0, 2], before[0, 2])  # no task, no change
    assert torch.allclose(after[0, 1].sum(-1), torch.ones(6))  # probabilities
    assert torch.equal(after[0, 0, 2:], before[0, 0, 2:])


@pytest.mark.usefixtures("no_cluster")
def test_a_checkpoint_decides_with_the_preset_it_was_trained_with(tmp_path):
    algo = small_config(preset="paper", clip_denoised=2.0).build_algo()
    curve(algo, 1)
    algo.save_to_path(str(tmp_path))
    loaded = FleetPolicy.from_checkpoint(tmp_path)
    loaded.reset(1)
    rng = np.random.default_rng(0)
    loaded.servers(rng.random((1, 4, 6, 2)), np.ones((1, 4, 6), bool), rng.random((1, 4)) * 50, 0, rng)
    remembered = loaded._memory.read(1)
    assert loaded.networks.actor.clip_denoised == 2.0
    assert float(remembered.abs().max()) <= 2.0 and not torch.allclose(remembered.sum(-1), torch.ones(1, 4, 6))


def test_queues_reach_the_actor_in_the_unit_it_was_trained_with(monkeypatch):
    seen = {}
    for unit in ("gcycles", "seconds"):
        scheduler = policy(queue_unit=unit)
        monkeypatch.setattr(scheduler, "servers", lambda t, mask, queues, *rest, u=unit: seen.update({u: queues}))
        tasks = EdgeSimulator(SETTING.network, arrivals(1)).tasks
        scheduler.decide(replace(tasks, queue_gcycles=np.full((1, 5), 60.0)), np.random.default_rng(0))
    assert seen["gcycles"].tolist() == [[60.0] * 5]
    assert seen["seconds"][0] == pytest.approx([6.0, 3.0, 2.0, 1.5, 1.2])


def test_another_network_is_refused_in_one_line():
    other = build_setting({"preset": "small"})
    draws = stack_arrivals([other.arrivals.draw(np.random.default_rng(0), other.num_slots)])
    with pytest.raises(
        ConfigurationError, match="trained for 3 base stations and 5 edge servers, this network has 4 and 4"
    ):
        play(policy(), other.network, draws, np.random.default_rng(0))


SYSTEM = {
    f"{start}, {view}": partial(
        LADPMDNetworks, hidden_sizes=(8,), latent_start=start, in_slot_view=view, num_tasks=6, kernels=kernels
    )
    for start in ("zero", "memory", "learned")
    for view, kernels in [("none", "auto"), ("all", "torch"), ("all", "auto")]
}


@pytest.mark.parametrize("networks", [partial(LADTSNetworks, hidden_sizes=(8,)), *SYSTEM.values()])
@pytest.mark.parametrize("index", ["station_slot_task", "station_task"])
def test_a_slot_may_have_more_tasks_than_any_in_training(networks, index):
    """Six in training, nine now: the last three start from what was remembered of the sixth."""
    networks = networks(3, 5, seed=1)
    for parameter in networks.parameters():  # or else networks with a prior decide as the prior
        parameter.data.uniform_(-0.5, 0.5, generator=torch.Generator().manual_seed(2))
    wide, narrow = (FleetPolicy(networks, tasks, latent_index=index, explore=False) for tasks in (9, 6))
    inputs = np.random.default_rng(0)
    tasks, queues, mask = inputs.random((1, 3, 9, 2)), inputs.random((1, 5)), np.ones((1, 3, 9), bool)
    narrow.reset(1), wide.reset(1)
    before = narrow._memory.read(0).clone()
    if networks.first_latent == "index":
        for actor in networks.actors():  # nine starts: three more like the sixth
            starts = torch.from_numpy(for_tasks(actor.starts.detach().numpy(), 9, axis=1))
            actor.starts = torch.nn.Parameter(starts)
    else:
        wide._memory.set_state(narrow._memory.get_state())
    decided = narrow.servers(tasks, mask, queues, 0, np.random.default_rng(4))
    assert np.array_equal(decided, wide.servers(tasks, mask, queues, 0, np.random.default_rng(4)))
    after = narrow._memory.read(0)
    assert after.shape == before.shape and torch.equal(after, wide._memory.read(0)[:, :, :6])
