"""Decisions that know of earlier ones in the same slot: what they see, what learns from it, and what it is worth."""

import numpy as np
import pytest
import torch
from ray.rllib.core.columns import Columns

from lad_rllib import names
from lad_rllib.algorithms.common.policy import FleetPolicy
from lad_rllib.algorithms.lad_pmd import LADPMDNetworks
from lad_rllib.envs import FleetVectorEnv
from lad_rllib.errors import ConfigurationError
from lad_rllib.scheduling import make_heuristic, play
from lad_rllib.simulator import build_setting, stack_arrivals
from tests.algorithms.small import curve
from tests.algorithms.test_lad_pmd import OVERLOADED, config_of

VIEWS = ("own", "all")


def waiting_slots_of(view, sample, network):
    """Queues that each task should have seen [slots], task by task: (E, B, N, A); NaN where there is none."""
    added_by_work = 1.0 / (network.capacity_gcycles_per_s * network.slot_s)
    seen = np.full(sample.logits.shape, np.nan)
    for episode, counts in enumerate(sample.task_counts):
        queue = sample.queues[episode].astype(np.float64)
        for station, count in enumerate(counts):
            if view == "own":
                queue = sample.queues[episode].astype(np.float64)
            for task in range(count):
                seen[episode, station, task] = queue
                server = sample.action[episode, station, task]
                queue[server] += sample.tasks[episode, station, task, 1] * added_by_work[server]
    return seen


@pytest.mark.usefixtures("no_cluster")
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("latent_start", ["zero", "memory", "learned"])
def test_every_task_sees_what_was_sent_before_it_and_decides_on_that(view, latent_start):
    config = config_of(in_slot_view=view, latent_start=latent_start).env_runners(num_envs_per_env_runner=2)
    algo = config.build_algo()
    curve(algo, 2)
    runner = algo.env_runner
    network = runner.env.unwrapped.setting.network
    actor = runner.module.networks.actor
    for sample in runner.collect():
        seen = waiting_slots_of(view, sample, network)
        mask = ~np.isnan(seen)
        np.testing.assert_allclose(sample.seen_queues[mask], seen[mask], rtol=1e-5, atol=1e-6)
        _, station, _ = where = np.nonzero(mask[..., 0])
        state = np.concatenate([sample.tasks[where], sample.seen_queues[where]], axis=-1)
        with torch.no_grad():
            logits = actor.of_stations(*(torch.as_tensor(x) for x in (station, state, sample.latent[where])))
        np.testing.assert_allclose(sample.logits[where], logits.numpy(), rtol=1e-4, atol=1e-4)
    algo.stop()


@pytest.mark.parametrize(("view", "shared"), [("own", True), ("own", False), ("all", True)])
@pytest.mark.parametrize("latent_start", ["zero", "memory", "learned"])
@pytest.mark.parametrize("network", [{}, {"denoiser_output": "softmax", "clip_denoised": 3.0}])
@pytest.mark.parametrize("explore", [True, False])
def test_the_compiled_kernel_decides_as_torch_does(view, shared, latent_start, network, explore):
    sizes = {"hidden_sizes": (16, 9), "num_tasks": 6, "latent_start": latent_start, "in_slot_view": view, **network}
    sizes |= {"shared_actor": shared}
    of_torch, compiled = (LADPMDNetworks(5, 7, seed=0, kernels=k, **sizes) for k in ("torch", "compiled"))
    generator = torch.Generator().manual_seed(1)
    for parameter in of_torch.actor.parameters():
        parameter.data.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    compiled.actor.load_state_dict(of_torch.actor.state_dict())
    for networks in (of_torch, compiled):
        networks.waiting_per_work.copy_(torch.linspace(1.0, 5.0, 7))
        networks.actor.set_capacities(torch.linspace(1.0, 5.0, 7))
        networks.actor.set_task_scale(torch.tensor([0.5, 2.0]))
    counts = torch.randint(0, 7, (3, 5), generator=generator)
    mask = torch.arange(6) < counts[..., None]
    tasks = torch.rand(3, 5, 6, 2, generator=generator) * mask[..., None]
    latent = of_torch.some_latent(3, 5, 6)
    if latent_start == "memory":
        latent = torch.randn(latent.shape, generator=generator)
    uniform = torch.rand(3, 5, 6, generator=generator) if explore else None
    queues = torch.rand(3, 7, generator=generator)
    with torch.no_grad():
        one, other = (
            networks.decide(tasks, counts, queues, latent, latent, uniform, evaluated=False)
            for networks in (of_torch, compiled)
        )
    assert torch.equal(one.servers[mask], other.servers[mask]) and one.servers[mask].unique().numel() > 1
    for key in ("logits", "probabilities", "queues"):
        torch.testing.assert_close(getattr(one, key)[mask], getattr(other, key)[mask], rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("no_cluster")
def test_a_dispatcher_sees_each_tasks_waiting_time():
    algo = config_of(in_slot_view="all").build_algo()
    runner = algo.env_runner
    simulated = runner.env.unwrapped
    for sample in runner.collect():
        chosen = np.take_along_axis(sample.seen_queues, sample.action[..., None], -1)[..., 0]
        network, action = simulated.setting.network, sample.action
        capacity, rate = network.capacity_gcycles_per_s[action], network.link_rate_mbit_per_s[action]
        slot, result_mbit = sample.slot, simulated.arrivals.result_mbit[:, sample.slot]
        away = action != network.home_server[:, None]
        waiting = (
            sample.delay_s
            - simulated.arrivals.workload_gcycles[:, slot] / capacity
            - away * simulated.arrivals.task_mbit[:, slot] / rate
            - result_mbit / rate
        )
        mask = simulated.arrivals.mask[:, slot]
        np.testing.assert_allclose(chosen[mask] * network.slot_s, waiting[mask], rtol=1e-3, atol=1e-3)
    algo.stop()


@pytest.mark.usefixtures("no_cluster")
@pytest.mark.parametrize("view", VIEWS)
def test_the_policy_of_a_checkpoint_and_rllibs_forward_decide_alike(view, tmp_path):
    algo = config_of(in_slot_view=view).build_algo()
    curve(algo, 2)
    policy = FleetPolicy.from_checkpoint(algo.save_to_path(tmp_path / "checkpoint"), explore=False)
    setting = build_setting({"preset": "small"})
    arrivals = stack_arrivals([setting.arrivals.draw(np.random.default_rng(seed), 8) for seed in range(3)])
    record = play(policy, setting.network, arrivals, np.random.default_rng(0), 7)
    network = setting.network
    for slot in range(7):
        mask = record.mask[:, slot]
        tasks = np.stack([record.task_mbit[:, slot], record.workload_gcycles[:, slot]], -1) * mask[..., None]
        queues = record.queue_gcycles[:, slot] / (network.capacity_gcycles_per_s * network.slot_s)
        observation = {names.TASKS: tasks, names.TASK_COUNTS: mask.sum(-1), names.QUEUES: queues}
        batch = {Columns.OBS: {key: torch.as_tensor(value).float() for key, value in observation.items()}}
        output = algo.env_runner.module.forward_inference(batch)
        assert (output[Columns.ACTIONS].numpy() == record.action[:, slot])[mask].all()
        best = output[Columns.ACTION_DIST_INPUTS].argmax(-1)
        assert torch.equal(best[torch.from_numpy(mask)], output[Columns.ACTIONS][torch.from_numpy(mask)])
    algo.stop()


@pytest.mark.usefixtures("no_cluster")
def test_a_dispatchers_view_keeps_a_strong_prior_from_herding(tmp_path):
    setting = build_setting(OVERLOADED)
    arrivals = stack_arrivals([setting.arrivals.draw(np.random.default_rng(seed), 30) for seed in range(4)])

    def mean_delay_s(scheduler):
        return play(scheduler, setting.network, arrivals, np.random.default_rng(0), 29).mean_delay_s

    def untrained(view):
        algo = config_of(OVERLOADED, in_slot_view=view, prior_queue_weight=8.0).build_algo()
        checkpoint = algo.save_to_path(tmp_path / view)
        algo.stop()
        return mean_delay_s(FleetPolicy.from_checkpoint(checkpoint))

    with_slot_start, with_own, with_all = (untrained(view) for view in ("none", "own", "all"))
    assert with_all < 1.1 * mean_delay_s(make_heuristic("greedy-oracle"))
    assert with_own < with_slot_start and with_all < 0.8 * with_slot_start


@pytest.mark.usefixtures("no_cluster")
def test_on_another_network_queues_grow_as_its_servers_say(tmp_path):
    algo = config_of(in_slot_view="all", prior_queue_weight=4.0).build_algo()
    curve(algo, 1)
    checkpoint = algo.save_to_path(tmp_path / "checkpoint")
    other = {"preset": "small", "slot_s": 2.0, "network": {"capacity_gcycles_per_s": [40.0, 30.0, 20.0, 10.0]}}
    expected = torch.tensor([1 / 80, 1 / 60, 1 / 40, 1 / 20])

    policy = FleetPolicy.from_checkpoint(checkpoint)
    assert not torch.allclose(policy.networks.waiting_per_work, expected)
    setting = build_setting(other)
    arrivals = stack_arrivals([setting.arrivals.draw(np.random.default_rng(0), 3)])
    play(policy, setting.network, arrivals, np.random.default_rng(0), 2)
    torch.testing.assert_close(policy.networks.waiting_per_work, expected)

    second = config_of(other, in_slot_view="all", prior_queue_weight=4.0).build_algo()
    second.start_from(checkpoint)
    for networks in (
        second.env_runner.module.networks,
        second.learner_group._learner.module["default_policy"].networks,
    ):
        torch.testing.assert_close(networks.waiting_per_work, expected)
    refused = config_of(prior_queue_weight=4.0).build_algo()
    with pytest.raises(ConfigurationError, match="trained with in_slot_view 'all', here it is 'none'"):
        refused.start_from(checkpoint)
    for each in (algo, second, refused):
        each.stop()


def test_tasks_with_gaps_between_them_are_refused_in_one_line():
    policy = FleetPolicy(LADPMDNetworks(2, 3, seed=0, in_slot_view="all"), 4, queue_unit="slots")
    mask = np.array([[[True, False, True, False], [True, True, False, False]]])
    with pytest.raises(ConfigurationError, match="must come first in their row of the mask, without gaps"):
        policy.servers(np.ones((1, 2, 4, 2)), mask, np.zeros((1, 3)), 0, np.random.default_rng(0))


def test_an_environment_that_does_not_tell_its_slots_length_is_refused_in_one_line():
    space = FleetVectorEnv({"setting": "small"}).single_observation_space
    incomplete = {key: value for key, value in space.items() if key != names.SLOT_LENGTH}
    LADPMDNetworks.of_spaces(incomplete)
    with pytest.raises(ConfigurationError, match="in_slot_view 'own' needs 'slot_length' in the observation space"):
        LADPMDNetworks.of_spaces(incomplete, in_slot_view="own")
