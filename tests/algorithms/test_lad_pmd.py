"""LAD-PMD, which optimises total delay: mirror descent, the prior, exact continuation, and what is refused."""

import numpy as np
import pytest
import torch

from lad_rllib import names
from lad_rllib.algorithms.common.acting import Decision, choose_servers, draw_uniform, fleet_states
from lad_rllib.algorithms.common.mirror_descent import advantages
from lad_rllib.algorithms.common.policy import FleetPolicy
from lad_rllib.algorithms.common.task_loss import MEMORY, PROPORTION, TaskLoss, TaskLossHyperparameters
from lad_rllib.algorithms.lad_pmd import LADPMDConfig, LADPMDNetworks
from lad_rllib.algorithms.lad_pmd.improvement import improvement_table
from lad_rllib.algorithms.lad_pmd.networks import improve_stations
from lad_rllib.algorithms.lad_ts import LADTSConfig
from lad_rllib.envs import FleetVectorEnv, YardstickCallback
from lad_rllib.errors import ConfigurationError
from lad_rllib.scheduling import make_heuristic, play
from lad_rllib.simulator import build_setting, marginal_costs_s, stack_arrivals
from tests.algorithms.small import assert_same, curve

# The paper's network, overloaded, for half as long: to keep sizes apart pays.
OVERLOADED = {"preset": "paper", "slots": 30}
PACE = {"train_batch_size_per_learner": 64, "hidden_sizes": (32, 32), "actor_lr": 2e-3, "step_size_iterations": 40}


def config_of(setting="small", seed=5, **training):
    config = LADPMDConfig().environment(FleetVectorEnv, env_config={"setting": setting})
    return config.training(**PACE | training).debugging(seed=seed)


def samples_of(algo):
    return algo.env_runner.collect()


@pytest.mark.filterwarnings("error:The given NumPy array is not writable")
def test_a_module_is_built_from_spaces_as_remote_runners_get_them():
    env = FleetVectorEnv(setting="small", queue_unit="slots")
    space = env.single_observation_space
    space[names.CAPACITIES].low.setflags(write=False)
    spec = config_of().get_default_rl_module_spec()
    spec.observation_space, spec.action_space, spec.model_config = space, env.single_action_space, {"seed": 0}
    log_capacity = spec.build().networks.actor.log_capacity.numpy()
    np.testing.assert_allclose(np.diff(log_capacity), np.diff(np.log(space[names.CAPACITIES].low)), rtol=1e-6)


def test_a_gradient_step_leads_to_the_policy_of_least_cost_plus_divergence():
    rng = np.random.default_rng(0)
    cost = rng.uniform(1.0, 3.0, 5)
    networks = LADPMDNetworks(1, 5, seed=0, hidden_sizes=(8,))
    state, latent = torch.rand(1, 7, 1), torch.zeros(1, 0, 1)
    played = networks.actor(state, latent, state).detach()
    advantage, mean_cost = advantages(played[:, :, 0].numpy(), cost[None])
    step = -0.7 * advantage / mean_cost
    batch = {
        "state": state,
        "latent": latent,
        "logits": played,
        "step": torch.tensor(step, dtype=torch.float32).T[None],
    }
    optimizer = torch.optim.Adam(networks.actor.parameters(), 1e-2)

    def take(gradients):
        for parameter, gradient in zip(networks.learned_parameters(), gradients, strict=True):
            parameter.grad = gradient
        optimizer.step()

    for _ in range(1000):
        improve_stations(networks, batch, take, momentum=0.0)
    reached = torch.softmax(networks.actor(state, latent, state), dim=1)[0, :, 0].detach().numpy()
    old = torch.softmax(played, dim=1)[0, :, 0].numpy()

    def value(p):
        return 0.7 * p @ cost / mean_cost + p @ np.log(p / old)

    for _ in range(200):
        other = reached * np.exp(0.3 * rng.normal(size=5))
        assert value(reached) < value(other / other.sum())


def test_momentum_takes_the_last_step_of_the_policy_again():
    networks = LADPMDNetworks(1, 3, seed=0, hidden_sizes=(8,))
    state, latent = torch.rand(1, 5, 1), torch.zeros(1, 0, 1)
    with torch.no_grad():
        networks.actor.chain.denoiser.layers[-1][1].copy_(torch.tensor([[[0.1], [0.0], [-0.1]]]))
    played = networks.actor(state, latent, state).detach()
    last_step = played - networks.previous(state, latent, state)
    batch = {"state": state, "latent": latent, "logits": played, "step": torch.zeros(1, 3, 1)}
    loss = improve_stations(networks, batch, lambda gradients: None, momentum=0.5)["actor_loss"]
    target = torch.softmax(played + 0.5 * last_step, dim=1)
    assert loss.item() == pytest.approx(-(target * torch.log_softmax(played, 1)).sum().item(), rel=1e-5)
    assert last_step.abs().max() > 0.1


@pytest.mark.usefixtures("no_cluster")
def test_costs_of_a_sample_are_the_marginal_costs_of_the_played_episode():
    algo = config_of(OVERLOADED, gamma=0.9).build_algo()
    samples = samples_of(algo)
    env = algo.env_runner.env.unwrapped
    setting, arrivals, slots = env.setting, env.arrivals, len(samples)
    action = np.stack([sample.action for sample in samples], axis=1)

    class Same:
        def reset(self, num_episodes):
            pass

        def decide(self, tasks, rng):
            return action[:, tasks.slot]

    record = play(Same(), setting.network, arrivals, np.random.default_rng(0), slots)
    expected = marginal_costs_s(record, discount=0.9)
    for slot, sample in enumerate(samples):
        np.testing.assert_allclose(sample.cost, expected[:, slot], rtol=1e-5)
    assert slots == setting.num_slots - 1
    algo.stop()


@pytest.mark.usefixtures("no_cluster")
def test_logits_and_steps_belong_to_the_tasks_they_are_drawn_with():
    algo = config_of().build_algo()
    samples = samples_of(algo)
    improvement = improvement_table(samples, 1.0)
    assert improvement.counts.tolist() == sum(s.task_counts.sum(axis=0) for s in samples).tolist()
    rows, paid = {}, []
    for s in samples:
        for e, b, n in np.argwhere(np.arange(s.tasks.shape[2]) < s.task_counts[..., None]):
            share = np.exp(s.logits[e, b, n]) / np.exp(s.logits[e, b, n]).sum()
            paid.append(share @ s.cost[e, b, n])
            state = np.concatenate([s.tasks[e, b, n], s.queues[e]])
            rows[b, state.tobytes()] = s.logits[e, b, n], share @ s.cost[e, b, n] - s.cost[e, b, n]
    batch = improvement.sample(50, np.random.default_rng(0))
    for m, b in np.ndindex(batch["state"].shape[:2]):
        logits, gain = rows[b, batch["state"][m, b].tobytes()]
        np.testing.assert_allclose(batch["logits"][m, b], logits, rtol=1e-6)
        np.testing.assert_allclose(batch["step"][m, b], gain / np.mean(paid), rtol=1e-3, atol=1e-5)
    algo.stop()


def test_before_learning_the_policy_is_the_prior():
    networks = LADPMDNetworks(3, 4, seed=0, prior_queue_weight=0.5)
    networks.actor.set_capacities(torch.tensor([10.0, 20.0, 30.0, 40.0]))
    state = torch.rand(3, 6, 7)
    logits = networks.actor(state, torch.zeros(3, 0, 7), state)
    shares = torch.softmax(logits, dim=1)
    weights = torch.tensor([10.0, 20.0, 30.0, 40.0])[:, None] * torch.exp(-0.5 * state[:, 2:])
    torch.testing.assert_close(shares, weights / weights.sum(1, keepdim=True))


def test_a_shared_actor_decides_for_each_station_what_one_network_says():
    shared = LADPMDNetworks(3, 4, seed=0, hidden_sizes=(8,))
    with torch.no_grad():
        for parameter in shared.actor.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(1))
    state, latent = torch.rand(3, 6, 5), torch.rand(3, 4, 5)
    together = shared.actor(state, latent, state)
    for station in range(3):
        one = LADPMDNetworks(1, 4, seed=0, hidden_sizes=(8,))
        one.load_state_dict(shared.state_dict())
        alone = one.actor(state[station][None], latent[station][None], state)
        torch.testing.assert_close(together[station], alone[0], rtol=1e-4, atol=1e-4)


def trained(num_episodes, **training):
    """An algorithm after some episodes, and their ratios to the greedy oracle."""
    algo = config_of(OVERLOADED, **training).callbacks(YardstickCallback).build_algo()
    return algo, [algo.train()["env_runners"][names.DELAY_OVER_ORACLE] for _ in range(num_episodes)]


def delays_of(algo):
    """Delays of all tasks of three episodes, with the policy as it is."""
    samples = [sample for _ in range(3) for sample in samples_of(algo)]
    return np.concatenate([s.delay_s[np.arange(s.delay_s.shape[2]) < s.task_counts[..., None]] for s in samples])


@pytest.mark.slow
@pytest.mark.usefixtures("no_cluster")
def test_it_beats_the_greedy_oracle_also_as_a_saved_policy(tmp_path):
    free, ratios = trained(20)
    assert np.mean(ratios[-5:]) < 0.95 < np.mean(ratios[:3])

    policy = FleetPolicy.from_checkpoint(free.save_to_path(tmp_path / "checkpoint"))
    setting = build_setting(OVERLOADED)
    arrivals = stack_arrivals([setting.arrivals.draw(np.random.default_rng(k), setting.num_slots) for k in range(5)])
    slots = setting.num_slots - 1
    own, oracle = (
        play(scheduler, setting.network, arrivals, np.random.default_rng(0), slots).mean_delay_s
        for scheduler in (policy, make_heuristic("greedy-oracle"))
    )
    assert own < oracle
    free.stop()


@pytest.mark.extended  # that a bound is reached: test_a_strength_that_is_needed_is_found_within_twelve_episodes
@pytest.mark.slow
@pytest.mark.usefixtures("no_cluster")
def test_a_bound_trades_the_mean_for_the_tail():
    free, _ = trained(40)
    delays = delays_of(free)
    bound_s = 0.85 * float(np.percentile(delays, 95))
    bounded, _ = trained(40, bounded_percentile=95, percentile_bound_s=bound_s)
    of_bounded = delays_of(bounded)
    assert np.percentile(of_bounded, 95) < 0.96 * np.percentile(delays, 95)
    assert of_bounded.mean() > delays.mean()
    free.stop()
    bounded.stop()


@pytest.mark.usefixtures("no_cluster")
@pytest.mark.parametrize(
    "own",
    [
        {"latent_start": "memory"},
        {"latent_start": "learned"},
        {"momentum": 0.5},
        {"shared_actor": False, "draws": "coordinated"},
        {"in_slot_view": "own", "shared_actor": False},
        {"in_slot_view": "all", "latent_start": "learned"},
    ],
)
def test_a_restored_run_goes_on_exactly(own, tmp_path):
    training = {"bounded_percentile": 95, "percentile_bound_s": 1.0, **own}
    algo = config_of(**training).build_algo()
    curve(algo, 2)
    checkpoint = algo.save_to_path(tmp_path / "checkpoint")
    expected = curve(algo, 3)
    again = config_of(**training).build_algo()
    again.restore_from_path(checkpoint)
    assert curve(again, 3) == expected
    algo.stop()
    again.stop()


@pytest.mark.extended  # learners that split a batch: test_rllib_remote.py and test_rllib_dispatch.py
@pytest.mark.cluster
@pytest.mark.usefixtures("ray_cluster")
def test_two_runners_and_two_learners_that_stay_equal_go_on_from_a_checkpoint_exactly(tmp_path):
    config = config_of(latent_start="learned").learners(num_learners=2)
    algo = config.env_runners(num_env_runners=2).build_algo()
    try:
        results = [algo.train() for _ in range(2)]
        assert [result["env_runners"]["num_episodes"] for result in results] == [2, 2]
        states = [r.get() for r in algo.learner_group.foreach_learner(lambda learner: learner.get_state())]
        one, two = (state["rl_module"]["default_policy"] for state in states)
        assert_same(one, two)
        assert any(np.abs(value).max() > 0 for key, value in one.items() if key.startswith("networks.actor.chain"))
        assert np.abs(one["networks.actor.starts"]).max() > 0
        checkpoint = algo.save_to_path(tmp_path / "checkpoint")
        expected = curve(algo, 2)
        algo.restore_from_path(checkpoint)
        assert curve(algo, 2) == expected
    finally:
        algo.stop()


@pytest.mark.usefixtures("no_cluster")
def test_a_latent_memory_starts_from_zeros_and_holds_the_shrunken_output_of_the_chain():
    algo = config_of(latent_start="memory", latent_decay=0.4).build_algo()
    runner = algo.env_runner
    assert not runner.latent_memory.read(0).any()
    curve(algo, 2)  # the first episode is played by the prior, to which the chain adds nothing
    before = runner.latent_memory.read(0).clone()
    sample = runner.collect()[0]
    actor = runner.module.networks.actor
    mask = np.arange(sample.tasks.shape[2]) < sample.task_counts[..., None]
    x_0 = sample.logits - actor.prior(torch.as_tensor(sample.queues)).numpy()[:, None, None]
    expected = 0.4 * np.exp(-(0.1 + 10.0) / 4) * x_0
    np.testing.assert_allclose(sample.latent, before.numpy())
    assert before.abs().max() > 0 and mask.any() and np.isfinite(expected).all()
    logits, queues = torch.as_tensor(sample.logits), torch.as_tensor(sample.queues)
    decision = Decision(torch.zeros(1), logits, torch.softmax(logits, -1), queues)
    again = runner.module.networks.next_latent(decision)
    np.testing.assert_allclose(again.numpy(), expected, rtol=1e-5, atol=1e-6)
    algo.stop()


def test_with_learned_starts_equal_tasks_of_two_stations_go_to_different_servers():
    networks = LADPMDNetworks(2, 2, seed=0, hidden_sizes=(8,), latent_start="learned", num_tasks=3)
    state = torch.ones(2, 4, 2)
    number = torch.tensor([0.0, 2.0]).expand(2, 1, 2)
    played = networks.actor(state, number, state).detach()
    one, other = torch.tensor([1.0, -1.0]), torch.tensor([-1.0, 1.0])
    step = torch.stack([torch.stack([one, other], 1), torch.stack([other, one], 1)])  # (station, server, task)
    batch = {"state": state, "latent": number, "logits": played, "step": 3.0 * step}
    optimizers = networks.optimizers(actor_lr=1e-3)
    groups = [optimizer.param_groups[0]["params"] for optimizer in optimizers.values()]
    optimizers["start"].param_groups[0]["lr"] = 0.03

    def take(found):
        gradients = iter(found)
        for optimizer, group in zip(optimizers.values(), groups, strict=True):
            optimizer.apply_gradients([next(gradients) for _ in group])

    for _ in range(300):
        improve_stations(networks, batch, take, momentum=0.0)
    chosen = networks.actor(state, number, state).argmax(1)
    assert chosen.tolist() == [[0, 1], [1, 0]]
    starts = networks.actor.starts.detach()
    assert not starts[:, 1].any()  # nobody had a second task
    assert starts[:, [0, 2]].abs().min() > 0.5


@pytest.mark.usefixtures("no_cluster")
def test_learned_starts_play_alike_in_training_and_from_a_checkpoint(tmp_path):
    training = {"start_lr": 0.3, "step_size": 10.0, "averaging_exponent": None}
    algo = config_of(latent_start="learned", **training).build_algo()
    curve(algo, 3)
    policy = FleetPolicy.from_checkpoint(algo.save_to_path(tmp_path / "checkpoint"), explore=False)
    runner = algo.env_runner
    sample = runner.collect()[0]
    algo.stop()
    mask = np.arange(sample.tasks.shape[2]) < sample.task_counts[..., None]
    servers = policy.servers(sample.tasks, mask, sample.queues, 0, np.random.default_rng(0))
    assert policy.networks.evaluated_actor.starts.abs().max() > 0.1
    np.testing.assert_array_equal(servers[mask], sample.logits.argmax(-1)[mask])
    assert sample.latent[0, 1].tolist() == [[float(number)] for number in range(sample.tasks.shape[2])]


@pytest.mark.usefixtures("no_cluster")
def test_the_mean_of_the_last_actors_is_evaluated_and_saved_and_the_last_one_plays_on(tmp_path):
    algo = config_of(averaging_exponent=2.0).build_algo()
    learner = algo.learner_group._learner.module["default_policy"].networks
    expected = None
    for iteration in range(4):
        algo.train()
        weights = [parameter.detach().clone() for parameter in learner.actor.parameters()]
        share = 3.0 / (iteration + 3.0)
        old = weights if expected is None else expected
        expected = [(1 - share) * mean + share * new for mean, new in zip(old, weights, strict=True)]
    policy = FleetPolicy.from_checkpoint(algo.save_to_path(tmp_path / "checkpoint"))
    runner = algo.env_runner
    for networks in (learner, runner.module.networks, policy.networks):
        for mean, own in zip(expected, networks.evaluated_actor.parameters(), strict=True):
            torch.testing.assert_close(own, mean)
    assert not torch.allclose(next(learner.actor.parameters()), next(learner.average.parameters()))

    def logits_differ_from(actor):
        sample = runner.collect()[0]
        own = runner.module.networks
        states = fleet_states(torch.as_tensor(sample.tasks), torch.as_tensor(sample.queues))
        logits = getattr(own, actor)(states, torch.zeros(own.num_stations, 0, states.shape[-1]), states)
        return (logits.movedim(2, 1).detach().numpy() - sample.logits[0]).max()

    assert logits_differ_from("actor") == pytest.approx(0.0, abs=1e-5)
    with runner.evaluating(explore=True):
        assert logits_differ_from("average") == pytest.approx(0.0, abs=1e-5)
        assert abs(logits_differ_from("actor")) > 1e-3
    algo.stop()


@pytest.mark.usefixtures("no_cluster")
def test_environments_in_lockstep_have_costs_of_their_own():
    algo = config_of().env_runners(num_envs_per_env_runner=2).build_algo()
    samples = samples_of(algo)
    costs = algo.env_runner.env.unwrapped.marginal_costs(None, 0.99)
    for slot, sample in enumerate(samples):
        np.testing.assert_array_equal(sample.cost, costs[:, slot])
    assert not np.array_equal(costs[0], costs[1])
    assert np.isfinite(curve(algo, 2)).all()
    algo.stop()


@pytest.mark.usefixtures("no_cluster")
def test_an_episode_without_a_task_teaches_nothing_and_stops_nothing():
    quiet = {"preset": "small", "arrivals": {"source": "poisson", "mean_tasks": 1e-6}}
    algo = config_of(quiet).build_algo()
    before = algo.learner_group._learner.module["default_policy"].networks.actor.state_dict()
    before = {key: value.clone() for key, value in before.items()}
    algo.train()
    after = algo.learner_group._learner.module["default_policy"].networks.actor.state_dict()
    for key, value in before.items():
        torch.testing.assert_close(after[key], value, rtol=0, atol=0)
    algo.stop()


@pytest.mark.usefixtures("no_cluster")
def test_what_one_run_has_learned_starts_another_on_another_network(tmp_path):
    first = config_of().build_algo()
    curve(first, 3)
    checkpoint = first.save_to_path(tmp_path / "checkpoint")
    learned = first.env_runner.module.networks.average
    other = {"preset": "small", "network": {"capacity_gcycles_per_s": [40.0, 30.0, 20.0, 10.0]}}
    second = config_of(other).build_algo()
    second.start_from(checkpoint)
    for actor in (
        second.env_runner.module.networks.actor,
        second.learner_group._learner.module["default_policy"].networks.actor,
    ):
        for (name, own), there in zip(actor.named_parameters(), learned.parameters(), strict=True):
            torch.testing.assert_close(own, there, rtol=0, atol=0, msg=name)
        assert actor.log_capacity.argmax() == 0  # its own network's
    scale = second.learner_group._learner.module["default_policy"].networks.actor.task_scale.clone()
    curve(second, 1)
    torch.testing.assert_close(second.env_runner.module.networks.actor.task_scale, scale)
    first.stop()
    second.stop()


@pytest.mark.usefixtures("no_cluster")
def test_a_run_of_another_algorithm_is_refused_in_one_line(tmp_path):
    algo = config_of().build_algo()
    checkpoint = algo.save_to_path(tmp_path / "checkpoint")
    other = LADTSConfig().environment(FleetVectorEnv, env_config={"setting": "small"}).build_algo()
    with pytest.raises(ConfigurationError, match="is a checkpoint of LAD-PMD, this algorithm is LAD-TS"):
        other.start_from(checkpoint)
    with pytest.raises(ConfigurationError, match="the checkpoint has other networks"):
        other.restore_from_path(checkpoint)
    algo.stop()
    other.stop()


def bounded(gain=0.3):
    return TaskLoss(TaskLossHyperparameters(bounded_percentile=90, percentile_bound_s=2.0, bound_gain=gain))


def delays_s(share_above):
    return np.where(np.arange(100) < 100 * share_above, 3.0, 1.0)


def observed(loss, *shares):
    for share in shares:
        loss.observe(delays_s(share))
    return np.log(loss.strength)


def test_the_strength_of_a_bound_rises_above_it_and_falls_below():
    assert observed(bounded(), 0.15) == pytest.approx(0.3 * 0.5 * (1 + PROPORTION))
    assert observed(bounded(), 0.1) == pytest.approx(0.0)
    assert observed(bounded(), 0.0) == pytest.approx(-0.3 * (1 + PROPORTION))
    loss = bounded()
    observed(loss, 0.15)
    assert loss.penalty() == {"name": "tail", "threshold_s": 2.0, "strength": loss.strength}


def test_what_was_above_the_bound_for_long_keeps_the_strength_up_when_it_is_met():
    assert observed(bounded(), *[0.2] * 10, *[0.1] * 30) == pytest.approx(0.3 * (10 + MEMORY / (1 - MEMORY)), rel=1e-3)


def test_many_above_the_bound_count_as_twice_as_many_as_may_be_and_an_empty_episode_changes_nothing():
    loss = bounded()
    assert observed(loss, 1.0) == pytest.approx(0.3 * (1 + PROPORTION))
    loss.observe(np.array([]))
    assert np.log(loss.strength) == pytest.approx(0.3 * (1 + PROPORTION))


def test_a_burst_weighs_as_much_as_the_quiet_episodes_around_it():
    assert observed(bounded(), *[0.1] * 4, 0.2, *[0.0] * 1, *[0.1] * 40) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("needed", [0.3, 20.0])
def test_a_strength_that_is_needed_is_found_within_twelve_episodes(needed):
    loss = bounded()
    for _ in range(12):
        loss.observe(delays_s(min(0.1 * (needed / loss.strength) ** 0.8, 1.0)))
    assert loss.strength == pytest.approx(needed, rel=0.2)


def test_a_policy_that_follows_late_does_not_make_the_strength_swing():
    loss, follows, strengths = bounded(), 1.0, []
    for _ in range(60):
        follows += 0.2 * (loss.strength - follows)
        loss.observe(delays_s(min(0.1 * (5.0 / follows) ** 0.8, 1.0)))
        strengths.append(loss.strength)
    assert max(strengths) < 15.0
    assert strengths[-20:] == pytest.approx([5.0] * 20, rel=0.25)


def test_a_bound_goes_on_from_its_state():
    loss, other = bounded(), bounded()
    observed(loss, 0.3, 0.0)
    other.set_state(loss.get_state())
    assert observed(loss, 0.15) == observed(other, 0.15)


@pytest.mark.parametrize(("draws", "together"), [("stratified", 2), ("coordinated", (1, 2))])
def test_even_draws_keep_each_tasks_probabilities_and_spread_the_tasks_that_they_are_for(draws, together):
    logits, most = torch.log(torch.tensor([0.2, 0.3, 0.5])).expand(4000, 3, 20, 3), torch.full((4000, 3), 20)
    generator = torch.Generator().manual_seed(0)
    servers, _ = choose_servers(logits, draw_uniform(most, 20, draws, generator))
    shares = torch.stack([(servers == a).float().mean(0) for a in range(3)], dim=-1)
    torch.testing.assert_close(shares, torch.tensor([0.2, 0.3, 0.5]).expand(3, 20, 3), atol=0.03, rtol=0.0)
    independent, _ = choose_servers(logits, draw_uniform(most, 20, "independent", generator))
    counts, of_independent = ((chosen == 2).sum(together).float() for chosen in (servers, independent))
    assert counts.std() < 0.4 * of_independent.std()


def test_coordinated_draws_are_numbered_by_the_tasks_that_are_there():
    few, many = torch.tensor([[2, 0, 1]]), torch.tensor([[3, 3, 3]])
    drawn, full = (
        draw_uniform(counts, 3, "coordinated", torch.Generator().manual_seed(1))[0].double() for counts in (few, many)
    )
    mask = torch.arange(3) < few[0, :, None]
    torch.testing.assert_close(drawn[mask], full.flatten()[:3])


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"latent_start": "noise"}, "latent_start must be one of memory, zero, learned"),
        ({"bounded_percentile": 95}, "bounded_percentile and percentile_bound_s together"),
        ({"bounded_percentile": 95, "percentile_bound_s": 1.0, "penalty": {"name": "tail"}}, "leave penalty out"),
        ({"bound_gain": 0.0}, "bound_gain must be a number above 0"),
        ({"step_size": 0.0}, "step_size must be a number above 0"),
        ({"gamma": 0.0}, "gamma must be a number above 0 and of at most 1"),
        ({"momentum": "0.5"}, "momentum must be a number .*, got '0.5'; leave the quotes out"),
        ({"shared_actor": "false"}, "shared_actor must be true or false"),
        ({"in_slot_view": "some"}, "in_slot_view must be one of none, own, all"),
        (
            {"in_slot_view": "all", "shared_actor": False},
            "in_slot_view 'all' is one dispatcher's: it needs shared_actor=True",
        ),
        ({"averaging_exponent": -1}, "averaging_exponent must be a number of at least 0"),
    ],
)
def test_contradictions_are_refused_in_one_line(training, message):
    config = LADPMDConfig().environment(FleetVectorEnv, env_config={"setting": "small"})
    with pytest.raises(ConfigurationError, match=message):
        config.training(**training).validate()


def test_slots_between_two_sets_of_weights_are_refused_since_costs_are_of_whole_episodes():
    with pytest.raises(ConfigurationError, match="rollout_fragment_length must be 'auto' for LAD-PMD, got 5"):
        config_of().env_runners(rollout_fragment_length=5).validate()


@pytest.mark.usefixtures("no_cluster")
def test_a_loss_that_does_not_exist_is_refused_before_anything_is_played():
    with pytest.raises(ConfigurationError, match="unknown penalty 'late'"):
        config_of(penalty={"name": "late"}).build_algo()


def test_queues_in_another_unit_are_refused():
    config = LADPMDConfig().environment(FleetVectorEnv, env_config={"setting": "small", "queue_unit": "gcycles"})
    with pytest.raises(ConfigurationError, match="must be 'slots' for LAD-PMD, got 'gcycles'"):
        config.validate()
