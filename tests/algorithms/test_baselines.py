"""The learned baselines: D2SAC-TS, SAC-TS and DQN-TS by their definitions, against loops over stations."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from lad_rllib.algorithms import CONFIGS
from lad_rllib.algorithms.common.acting import choose_servers
from lad_rllib.algorithms.d2sac_ts import D2SACTSNetworks
from lad_rllib.algorithms.dqn_ts.networks import QNetworks, update_q_networks
from lad_rllib.algorithms.lad_ts import LADTSConfig
from lad_rllib.algorithms.lad_ts.networks import LADTSNetworks
from lad_rllib.algorithms.sac_ts import SACTSNetworks
from lad_rllib.algorithms.soft_actor_critic.networks import optimizer_step, update_stations
from lad_rllib.errors import ConfigurationError
from tests.algorithms.literal_training import mlp

STATIONS, SERVERS, SAMPLES, HIDDEN = 3, 4, 8, 6
TOLERANCE = {"rtol": 1e-5, "atol": 1e-6}
BASELINES = ["d2sac-ts", "sac-ts", "dqn-ts"]
UPDATE = {"gamma": 0.9, "tau": 0.1, "target_entropy": 0.7}
RATES = {"actor_lr": 1e-2, "critic_lr": 2e-2, "alpha_lr": 3e-2}


def batch(seed, latents=0):
    """Transitions of all stations: (B, features, M), (B, M)."""
    generator = torch.Generator().manual_seed(seed)
    columns = {key: torch.rand(STATIONS, 2 + SERVERS, SAMPLES, generator=generator) for key in ("state", "next_state")}
    columns |= {key: torch.randn(STATIONS, latents, SAMPLES, generator=generator) for key in ("latent", "next_latent")}
    columns["action"] = torch.randint(SERVERS, (STATIONS, SAMPLES), generator=generator)
    columns["reward"] = -torch.rand(STATIONS, SAMPLES, generator=generator)
    return columns


def literal(stacked, row):
    """One station's network of a stack, as plain layers."""
    network = mlp(2 + SERVERS, HIDDEN, SERVERS)
    vector_to_parameters(stacked.weights.detach()[row].clone(), network.parameters())
    return network


def assert_equal(stacked, row, network):
    torch.testing.assert_close(stacked.weights[row], parameters_to_vector(network.parameters()), **TOLERANCE)


def of_station(columns, station):
    """One station's transitions, samples first."""
    return {key: value[station].movedim(-1, 0) for key, value in columns.items()}


@pytest.mark.parametrize("output", ["softmax", "linear"])
def test_d2sac_acts_and_learns_as_lad_ts_that_is_given_gaussian_latents(output):
    sizes = {"hidden_sizes": (HIDDEN, HIDDEN), "denoiser_output": output, "seed": 1}
    ours = D2SACTSNetworks(STATIONS, SERVERS, **sizes)
    lad = LADTSNetworks(STATIONS, SERVERS, **sizes)
    assert (ours.latent_size, lad.latent_size) == (0, SERVERS)
    for update in range(3):
        noise = [ours.draw_noise(SAMPLES, torch.Generator().manual_seed(10 * update + k)) for k in range(2)]
        assert noise[0].shape == (5, STATIONS, SERVERS, SAMPLES)
        columns = batch(update)
        with_latents = columns | {"next_latent": noise[0][0], "latent": noise[1][0]}
        with torch.no_grad():
            logits = ours.actor(columns["state"], columns["latent"], noise[1])
            assert torch.equal(logits, lad.actor(columns["state"], noise[1][0], noise[1][1:]))
        for networks, transitions, draws in ((ours, columns, noise), (lad, with_latents, [n[1:] for n in noise])):
            step = optimizer_step(networks.optimizers(**RATES))
            update_stations(networks, transitions, *draws, step, **UPDATE)
    own, other = ours.state_dict(), lad.state_dict()
    assert own.keys() == other.keys()
    assert all(torch.equal(own[key], other[key]) for key in own)


def test_an_update_of_sac_is_a_loop_over_stations():
    networks = SACTSNetworks(STATIONS, SERVERS, hidden_sizes=(HIDDEN, HIDDEN), seed=2)
    before = copy.deepcopy(networks)
    step = optimizer_step(networks.optimizers(**RATES))
    agents = [LiteralSAC(before, station) for station in range(STATIONS)]
    for update in range(3):
        columns = batch(update)
        noise = networks.draw_noise(SAMPLES)
        assert noise.numel() == 0
        update_stations(networks, columns, noise, noise, step, **UPDATE)
        for station, agent in enumerate(agents):
            agent.update(of_station(columns, station))
    for station, agent in enumerate(agents):
        assert_equal(networks.actor.network, station, agent.actor)
        for k in range(2):
            assert_equal(networks.critics, k * STATIONS + station, agent.critics[k])
            assert_equal(networks.target_critics, k * STATIONS + station, agent.targets[k])
        torch.testing.assert_close(networks.log_temperature[station], agent.log_temperature.data, **TOLERANCE)


class LiteralSAC:
    """Discrete soft actor-critic of one station (arXiv 1910.07207)."""

    def __init__(self, networks, station):
        self.actor = literal(networks.actor.network, station)
        self.critics = [literal(networks.critics, k * STATIONS + station) for k in range(2)]
        self.targets = copy.deepcopy(self.critics)
        self.log_temperature = networks.log_temperature[station].detach().clone().requires_grad_()
        self.optimizers = [
            torch.optim.Adam(self.actor.parameters(), RATES["actor_lr"]),
            torch.optim.Adam([p for critic in self.critics for p in critic.parameters()], RATES["critic_lr"]),
            torch.optim.Adam([self.log_temperature], RATES["alpha_lr"]),
        ]

    def policy(self, state):
        probabilities = torch.softmax(self.actor(state), dim=1)
        return probabilities, -(probabilities * probabilities.log()).sum(1)

    def step(self, index, loss):
        self.optimizers[index].zero_grad()
        loss.backward()
        self.optimizers[index].step()

    def update(self, rows):
        xi = self.log_temperature.detach().exp()
        with torch.no_grad():
            probabilities, entropy = self.policy(rows["next_state"])
            least = torch.min(*(target(rows["next_state"]) for target in self.targets))
            y = rows["reward"] + UPDATE["gamma"] * ((probabilities * least).sum(1) + xi * entropy)
        taken = [critic(rows["state"])[range(SAMPLES), rows["action"]] for critic in self.critics]
        self.step(1, sum(nn.functional.mse_loss(q, y) for q in taken))
        probabilities, entropy = self.policy(rows["state"])
        least = torch.min(*(critic(rows["state"]).detach() for critic in self.critics))
        self.step(0, -(xi * entropy + (probabilities * least).sum(1)).mean())
        self.step(2, (entropy.detach() - UPDATE["target_entropy"]).mean() * self.log_temperature.exp())
        with torch.no_grad():
            for critic, target in zip(self.critics, self.targets, strict=True):
                for new, old in zip(critic.parameters(), target.parameters(), strict=True):
                    old.mul_(1 - UPDATE["tau"]).add_(UPDATE["tau"] * new)


@pytest.mark.parametrize("ready", [None, [True, False, True]])
def test_updates_of_dqn_are_a_loop_over_stations_that_copies_each_target_after_its_own_updates(ready):
    networks = QNetworks(STATIONS, SERVERS, hidden_sizes=(HIDDEN, HIDDEN), seed=3)
    own = [literal(networks.actor.network, station) for station in range(STATIONS)]
    targets = copy.deepcopy(own)
    optimizers = [torch.optim.Adam(network.parameters(), 1e-2) for network in own]
    stacked = networks.optimizers(critic_lr=1e-2)
    counts = [0] * STATIONS
    for update in range(7):
        # The middle station starts three updates later than the others, if it is not ready at first.
        now = None if ready is None or update >= 3 else torch.tensor(ready)
        columns = batch(update)
        update_q_networks(networks, columns, optimizer_step(stacked, now), gamma=0.9, target_update_period=4, ready=now)
        for station in range(STATIONS):
            if now is not None and not now[station]:
                continue
            rows = of_station(columns, station)
            with torch.no_grad():
                y = rows["reward"] + 0.9 * targets[station](rows["next_state"]).max(1).values
            loss = nn.functional.mse_loss(own[station](rows["state"])[range(SAMPLES), rows["action"]], y)
            optimizers[station].zero_grad()
            loss.backward()
            optimizers[station].step()
            counts[station] += 1
            if counts[station] % 4 == 0:
                targets[station].load_state_dict(own[station].state_dict())
    assert networks.num_updates.tolist() == counts == ([7] * 3 if ready is None else [7, 4, 7])
    for station in range(STATIONS):
        assert_equal(networks.actor.network, station, own[station])
        assert_equal(networks.target, station, targets[station])


def test_dqn_takes_the_best_server_but_for_a_uniform_choice_with_probability_epsilon():
    networks = QNetworks(1, SERVERS, epsilon=0.2, seed=4)
    state = torch.rand(1, 2 + SERVERS, 20_000)
    with torch.no_grad():
        best = networks.actor.network(state).argmax(1)[0]
        logits = networks.actor(state, torch.empty(1, 0, 20_000), torch.empty(0))
    greedy, probabilities = choose_servers(logits[0].T, None)
    assert torch.equal(greedy, best)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(20_000))
    drawn, _ = choose_servers(logits[0].T, torch.rand(20_000, generator=torch.Generator().manual_seed(0)))
    assert float((drawn == best).float().mean()) == pytest.approx(0.8 + 0.2 / SERVERS, abs=0.01)
    never = QNetworks(1, SERVERS, epsilon=0.0, seed=4)
    with torch.no_grad():
        logits = never.actor(state, torch.empty(1, 0, 20_000), torch.empty(0))
    assert torch.equal(choose_servers(logits[0].T, torch.rand(20_000))[0], best)


@pytest.mark.parametrize("name", BASELINES)
def test_all_share_environment_replay_and_pace_and_differ_in_what_the_paper_says(name):
    lad, config = vars(LADTSConfig()), vars(CONFIGS[name]())
    classes = {"algo_class"}
    changed = {key for key, value in config.items() if key in lad and value != lad[key]} - classes
    assert changed == ({"critic_lr"} if name == "dqn-ts" else set())
    latent = {"latent_index", "latent_content", "replay_latent"}
    diffusion = {"policy_denoising_steps", "beta_min", "beta_max", "denoiser_output", "clip_denoised"}
    actors = {"tau", "initial_alpha", "target_entropy", "actor_lr", "alpha_lr"}
    absent = {"d2sac-ts": latent, "sac-ts": latent | diffusion, "dqn-ts": latent | diffusion | actors}[name]
    assert lad.keys() - config.keys() == absent
    assert config.keys() - lad.keys() == ({"epsilon", "target_update_period"} if name == "dqn-ts" else set())
    if name == "dqn-ts":
        assert (config["epsilon"], config["critic_lr"], config["target_update_period"]) == (0.01, 1e-4, 200)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("d2sac-ts", {"latent_content": "logits"}),
        ("sac-ts", {"policy_denoising_steps": 3}),
        ("dqn-ts", {"policy_denoising_steps": 3}),
        ("dqn-ts", {"target_entropy": 0.5}),
        ("dqn-ts", {"actor_lr": 1e-3}),
        ("lad-ts", {"step_size": 1.0}),
        ("lad-pmd", {"replay_capacity": 500}),
        *((name, {"penalty": {"name": "tail"}}) for name in ("lad-ts", *BASELINES)),
    ],
)
def test_settings_that_an_algorithm_does_not_have_are_unknown_keys(name, values):
    key, config = next(iter(values)), CONFIGS[name]()
    with pytest.raises(ConfigurationError, match=f"^{config.title} has no setting '{key}'; (did you mean|valid:)"):
        config.training(**values)
    with pytest.raises(ConfigurationError, match=f"^{config.title} has no setting '{key}'; (did you mean|valid:)"):
        config.update_from_dict(values)


@pytest.mark.parametrize("name", BASELINES)
def test_a_preset_sets_of_its_group_what_an_algorithm_has(name):
    config = CONFIGS[name]().training(preset="paper")
    config.validate()
    assert config.replay_next_queues == "actual"
    assert getattr(config, "target_entropy", None) == (None if name == "dqn-ts" else "auto")


@pytest.mark.parametrize("values", [{"epsilon": 1.0}, {"epsilon": -0.1}, {"target_update_period": 0}])
def test_values_of_dqn_that_cannot_be_are_refused(values):
    with pytest.raises(ConfigurationError, match=next(iter(values))):
        CONFIGS["dqn-ts"]().training(**values).validate()


def test_no_latent_is_remembered_or_replayed_where_none_is_used():
    assert [CONFIGS[name]().latent_size(9) for name in ("lad-ts", *BASELINES)] == [9, 0, 0, 0]
    assert np.prod(batch(0)["latent"].shape) == 0
