"""The paper's training as plain loops: task by task, station by station, one network and optimiser per agent.

It repeats the model's equations (arXiv 2412.18212) on purpose and calls none of the library's formulas; only tests
and benchmarks use it. Where paper and published code differ, :class:`Choices` says which one is meant.
"""

from __future__ import annotations

import copy
import math
from collections import deque
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from lad_rllib.simulator import Arrivals, EdgeNetwork, Setting
from tests.literal_loop import LiteralServers


@dataclass(frozen=True)
class Choices:
    """Where the paper's text and its published code differ, and the hyperparameters.

    Attributes:
        latent_of_slot: A latent action belongs to (station, slot, task index), not to (station, task index).
        keeps_probabilities: The latent memory keeps the probabilities, not ``x_0``.
        softmax_output: The denoiser's last layer is a softmax.
        clip_denoised: Greatest magnitude of each denoising step's estimate of ``x_0``.
        stores_views: The replay buffer holds views into the latent memory, which are written over when the actor
            acts; otherwise copies of what the actor started from.
        next_slot_looks_empty: The next state of a station's last task of a slot has queues of 0: the published code
            reads them before it has updated them. Otherwise the queues that the next task finds.
        target_entropy: Entropy [nat] that the temperature steers to.
    """

    latent_of_slot: bool = True
    keeps_probabilities: bool = True
    softmax_output: bool = True
    clip_denoised: float = math.inf
    stores_views: bool = True
    next_slot_looks_empty: bool = True
    target_entropy: float = -1.0
    denoising_steps: int = 5
    beta_min: float = 0.1
    beta_max: float = 10.0
    hidden: int = 20
    gamma: float = 0.95
    tau: float = 0.005
    initial_alpha: float = 0.05
    actor_lr: float = 1e-4
    critic_lr: float = 1e-3
    alpha_lr: float = 3e-4
    replay_capacity: int = 1000
    batch_size: int = 64
    learning_starts: int = 300


class Randomness(Protocol):
    """Every random draw of a training; exchange it to repeat another program's draws."""

    def arrivals(self, episode: int) -> Arrivals:
        """Tasks of an episode."""
        ...

    def initial_latents(self) -> np.ndarray:
        """Standard normal noise, shape (T, B, N, A), or (1, B, N, A) if latents do not belong to slots."""
        ...

    def initialise(self, station: int, agent: Agent) -> None:
        """Set an agent's initial weights."""
        ...

    def chain_noise(self, episode: int, slot: int, station: int, task: int) -> Tensor:
        """Noise of a decision's denoising steps i = I ... 1, shape (I, A)."""
        ...

    def uniform(self, episode: int, slot: int, station: int, task: int) -> float:
        """Number on [0, 1) that chooses the server."""
        ...

    def replay_positions(self, episode: int, slot: int, station: int, size: int) -> list[int]:
        """Transitions of an update's batch, counted from the oldest."""
        ...

    def update_noise(self, episode: int, slot: int, station: int) -> tuple[Tensor, Tensor]:
        """Noise of an update's two passes of the actor, next states' first, shape (I, batch, A)."""
        ...


class OwnRandomness:
    """Draws of its own, for a run that need not equal another one."""

    def __init__(self, setting: Setting, choices: Choices, seed: int) -> None:
        self.setting, self.choices = setting, choices
        self.rng = np.random.default_rng(seed)
        self.generator = torch.Generator().manual_seed(seed)

    def arrivals(self, episode: int) -> Arrivals:
        return self.setting.arrivals.draw(self.rng, self.setting.num_slots)

    def initial_latents(self) -> np.ndarray:
        network, slots = self.setting.network, self.setting.num_slots if self.choices.latent_of_slot else 1
        shape = (slots, network.num_stations, self.setting.arrivals.max_tasks, network.num_servers)
        return self.rng.standard_normal(shape, dtype=np.float32)

    def initialise(self, station: int, agent: Agent) -> None:
        """Leave torch's own initial weights."""

    def chain_noise(self, episode: int, slot: int, station: int, task: int) -> Tensor:
        shape = (self.choices.denoising_steps, self.setting.network.num_servers)
        return torch.randn(shape, generator=self.generator)

    def uniform(self, episode: int, slot: int, station: int, task: int) -> float:
        return self.rng.random()

    def replay_positions(self, episode: int, slot: int, station: int, size: int) -> list[int]:
        return self.rng.choice(size, self.choices.batch_size, replace=False).tolist()

    def update_noise(self, episode: int, slot: int, station: int) -> tuple[Tensor, Tensor]:
        shape = (self.choices.denoising_steps, self.choices.batch_size, self.setting.network.num_servers)
        return torch.randn(shape, generator=self.generator), torch.randn(shape, generator=self.generator)


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Two hidden ReLU layers."""
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, outputs)
    )


def embedding(i: int) -> Tensor:
    """Sines, then cosines, of denoising step ``i`` = I ... 1, counted from 0."""
    angles = [(i - 1) * 10000 ** (-k / 7) for k in range(8)]
    return torch.tensor([math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles])


def noise_schedule(choices: Choices) -> tuple[list[float], list[float]]:
    """Noise ``beta_i`` of each denoising step i = 1 ... I, and the signal's share of variance left after it."""
    steps, beta_min, beta_max = choices.denoising_steps, choices.beta_min, choices.beta_max
    betas = [
        1 - math.exp(-beta_min / steps - (beta_max - beta_min) * (2 * i - 1) / (2 * steps**2))
        for i in range(1, steps + 1)
    ]
    return betas, np.cumprod([1 - beta for beta in betas]).tolist()


class Agent:
    """One base station's actor, two critics and their targets, temperature, optimisers and replay buffer."""

    def __init__(self, servers: int, choices: Choices) -> None:
        self.choices = choices
        state = 2 + servers
        self.denoiser = mlp(servers + 16 + state, choices.hidden, servers)
        self.critics = [mlp(state, choices.hidden, servers) for _ in range(2)]
        self.log_temperature = torch.tensor(math.log(choices.initial_alpha), requires_grad=True)
        self.embeddings = [embedding(i) for i in range(1, choices.denoising_steps + 1)]
        self.betas, self.alpha_bars = noise_schedule(choices)
        self.replay: deque = deque(maxlen=choices.replay_capacity)

    def start(self) -> None:
        """Copy the targets and make the optimisers, once the initial weights are set."""
        self.targets = copy.deepcopy(self.critics)
        self.actor_optimizer = torch.optim.Adam(self.denoiser.parameters(), self.choices.actor_lr)
        self.critic_optimizers = [torch.optim.Adam(c.parameters(), self.choices.critic_lr) for c in self.critics]
        self.temperature_optimizer = torch.optim.Adam([self.log_temperature], self.choices.alpha_lr)

    def logits(self, x: Tensor, state: Tensor, noise: Tensor) -> Tensor:
        """``x_0`` by reverse diffusion from latent actions ``x_I``; shapes (M, A), (M, 2 + A), (I, M, A)."""
        steps = self.choices.denoising_steps
        for i in range(steps, 0, -1):
            beta, alpha_bar = self.betas[i - 1], self.alpha_bars[i - 1]
            before = self.alpha_bars[i - 2] if i > 1 else 1.0
            eps = self.denoiser(torch.cat([x, self.embeddings[i - 1].expand(len(x), -1), state], dim=1))
            if self.choices.softmax_output:
                eps = torch.softmax(eps, dim=1)
            clean = x / math.sqrt(alpha_bar) - math.sqrt(1 / alpha_bar - 1) * eps
            clean = torch.clamp(clean, -self.choices.clip_denoised, self.choices.clip_denoised)
            mean = (
                beta * math.sqrt(before) / (1 - alpha_bar) * clean
                + (1 - before) * math.sqrt(1 - beta) / (1 - alpha_bar) * x
            )
            x = mean + (i > 1) * math.sqrt(beta * (1 - before) / (1 - alpha_bar)) * noise[steps - i]
        return x

    def act(self, state: np.ndarray, latent: np.ndarray, noise: Tensor, uniform: float) -> tuple[int, np.ndarray]:
        """Server of one task, and what the latent memory keeps."""
        with torch.no_grad():
            logits = self.logits(torch.from_numpy(latent)[None], torch.from_numpy(state)[None], noise[:, None])[0]
            probabilities = torch.softmax(logits, dim=0)
        server, cumulative = 0, float(probabilities[0])
        while cumulative <= uniform and server < len(probabilities) - 1:
            server += 1
            cumulative += float(probabilities[server])
        return server, (probabilities if self.choices.keeps_probabilities else logits).numpy()

    def policy(self, x: Tensor, state: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities (M, A) and entropy (M)."""
        log_probabilities = torch.log_softmax(self.logits(x, state, noise), dim=1)
        return log_probabilities.exp(), -(log_probabilities.exp() * log_probabilities).sum(1)

    def update(self, positions: list[int], noise_next: Tensor, noise_now: Tensor) -> None:
        """One step of critics, actor, temperature and targets."""
        choices = self.choices
        columns = zip(*[self.replay[position] for position in positions], strict=True)
        state, action, x, reward, next_state, next_x = (torch.from_numpy(np.array(column)) for column in columns)
        temperature = self.log_temperature.detach().exp()
        with torch.no_grad():
            probabilities, entropy = self.policy(next_x, next_state, noise_next)
            least = torch.min(self.targets[0](next_state), self.targets[1](next_state))
            target = reward + choices.gamma * ((probabilities * least).sum(1) + temperature * entropy)
        for critic, optimizer in zip(self.critics, self.critic_optimizers, strict=True):
            loss = nn.functional.mse_loss(critic(state).gather(1, action[:, None])[:, 0], target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        probabilities, entropy = self.policy(x, state, noise_now)
        with torch.no_grad():
            least = torch.min(self.critics[0](state), self.critics[1](state))
        loss = torch.mean(-temperature * entropy - (probabilities * least).sum(1))
        self.actor_optimizer.zero_grad()
        loss.backward()
        self.actor_optimizer.step()

        loss = torch.mean(entropy.detach() - choices.target_entropy) * self.log_temperature.exp()
        self.temperature_optimizer.zero_grad()
        loss.backward()
        self.temperature_optimizer.step()

        with torch.no_grad():
            for critic, target_critic in zip(self.critics, self.targets, strict=True):
                for new, old in zip(critic.parameters(), target_critic.parameters(), strict=True):
                    old.copy_(choices.tau * new + (1 - choices.tau) * old)


class LiteralTraining:
    """Plays and learns, one decision after the other."""

    def __init__(self, network: EdgeNetwork, num_slots: int, choices: Choices, randomness: Randomness) -> None:
        self.network, self.num_slots, self.choices, self.randomness = network, num_slots, choices, randomness
        self.agents = [Agent(network.num_servers, choices) for _ in range(network.num_stations)]
        for station, agent in enumerate(self.agents):
            randomness.initialise(station, agent)
            agent.start()
        self.latents = randomness.initial_latents()
        self.num_updates = [0] * network.num_stations
        self.episode = 0

    def memory(self, slot: int, station: int) -> np.ndarray:
        """The station's latent actions for a slot, shape (N, A): a view that is written over."""
        return self.latents[slot if self.choices.latent_of_slot else 0, station]

    def stored(self, latent: np.ndarray) -> np.ndarray:
        """What the replay buffer holds of a latent action."""
        return latent if self.choices.stores_views else latent.copy()

    def start_episode(self) -> None:
        """Draw arrivals, empty the queues."""
        self.tasks = self.randomness.arrivals(self.episode)
        self.servers = LiteralServers(self.network)
        # Of each station's last task: state, action, latent, reward; its next state is not yet known.
        self.waiting: list[tuple | None] = [None] * len(self.agents)

    def play_slot(self, slot: int) -> tuple[list[int], list[float]]:
        """Decide and serve the tasks of a slot; returns actions and delays [s] in the order of the tasks."""
        actions, delays = [], []
        for station in range(len(self.agents)):
            for task in range(int(self.tasks.task_counts[slot, station])):
                action, delay = self.serve(slot, station, task)
                actions.append(action)
                delays.append(delay)
        self.servers.end_slot()
        for station in range(len(self.agents)):
            if self.tasks.task_counts[slot + 1, station]:
                self.complete(slot + 1, station, 0)
        return actions, delays

    def state(self, slot: int, station: int, task: int) -> np.ndarray:
        """Input size, workload, and the queues at slot start."""
        task_mbit = self.tasks.task_mbit[slot, station, task]
        return np.array([task_mbit, self.work(slot, station, task), *self.servers.queue], dtype=np.float32)

    def work(self, slot: int, station: int, task: int) -> float:
        """Workload of a task [Gcycle]."""
        tasks, where = self.tasks, (slot, station, task)
        return float(tasks.density_gcycles_per_step[where] * tasks.denoising_steps[where])

    def serve(self, slot: int, station: int, task: int) -> tuple[int, float]:
        """Decide one task; its station's task before it gets its next state."""
        self.complete(slot, station, task)
        latent, state = self.memory(slot, station)[task], self.state(slot, station, task)
        stored = self.stored(latent)
        where = (self.episode, slot, station, task)
        action, output = self.agents[station].act(
            state, latent, self.randomness.chain_noise(*where), self.randomness.uniform(*where)
        )
        latent[:] = output
        work = self.work(slot, station, task)
        task_mbit, result_mbit = self.tasks.task_mbit[slot, station, task], self.tasks.result_mbit[slot, station, task]
        delay = self.servers.delay_s(station, action, float(task_mbit), work, float(result_mbit))
        self.servers.send(action, work)
        self.waiting[station] = (state, action, stored, np.float32(-delay))
        return action, delay

    def complete(self, slot: int, station: int, task: int) -> None:
        """Store the station's last transition, now that its next task is known."""
        if self.waiting[station] is not None:
            next_latent = self.stored(self.memory(slot, station)[task])
            next_state = self.state(slot, station, task)
            if task == 0 and self.choices.next_slot_looks_empty:
                next_state[2:] = 0
            self.agents[station].replay.append((*self.waiting[station], next_state, next_latent))
            self.waiting[station] = None

    def learn(self, slot: int) -> None:
        """One update of each station whose buffer holds enough."""
        for station, agent in enumerate(self.agents):
            if len(agent.replay) > self.choices.learning_starts:
                where = (self.episode, slot, station)
                positions = self.randomness.replay_positions(*where, len(agent.replay))
                agent.update(positions, *self.randomness.update_noise(*where))
                self.num_updates[station] += 1

    def train_episode(self) -> tuple[list[list[int]], list[list[float]]]:
        """Play and learn for all slots but the last, whose first tasks are only seen; actions and delays by slot."""
        self.start_episode()
        actions, delays = [], []
        for slot in range(self.num_slots - 1):
            of_slot = self.play_slot(slot)
            actions.append(of_slot[0])
            delays.append(of_slot[1])
            self.learn(slot)
        self.episode += 1
        return actions, delays
