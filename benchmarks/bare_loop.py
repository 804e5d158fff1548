"""LAD-TS without RLlib: the same simulator, networks, update, replay buffer and latent memory in one plain loop.

It is what the algorithm's own work costs; the rest of ``LADTS.train()`` is RLlib.
"""

from __future__ import annotations

import numpy as np
import torch

from lad_rllib import names
from lad_rllib.algorithms.common.acting import choose_servers, fleet_states
from lad_rllib.algorithms.common.latent_memory import LatentMemory
from lad_rllib.algorithms.common.replay_buffer import FleetReplayBuffer, SlotSample
from lad_rllib.algorithms.lad_ts.networks import LADTSNetworks
from lad_rllib.algorithms.soft_actor_critic.networks import optimizer_step, update_stations
from lad_rllib.envs import FleetVectorEnv

BATCH, LEARNING_STARTS, CAPACITY = 64, 300, 1000


class BareLoop:
    """Trains on a setting with the published defaults, one environment, one process."""

    def __init__(self, setting: dict, seed: int = 1) -> None:
        self.env = FleetVectorEnv({"setting": setting})
        network, tasks = self.env.setting.network, self.env.setting.arrivals.max_tasks
        stations, servers = network.num_stations, network.num_servers
        self.networks = LADTSNetworks(stations, servers, seed=seed)
        self.optimizers = self.networks.optimizers(actor_lr=1e-4, critic_lr=1e-3, alpha_lr=3e-4)
        self.buffer = FleetReplayBuffer(stations, servers, CAPACITY, latent_after_acting=True, zero_next_queues=True)
        self.memory = LatentMemory("station_slot_task", (1, stations, tasks, servers), seeds=[[seed]])
        self.rng = np.random.default_rng(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.seed: int | None = seed
        self.decisions = self.updates = 0

    def train(self, num_slots: int | None = None) -> None:
        """Play and learn for one episode, or for its first slots."""
        observation, _ = self.env.reset(seed=self.seed)
        self.seed = None
        for slot in range(self.env.setting.num_slots - 1)[:num_slots]:
            observation = self.play(slot, observation)
            self.learn()

    @torch.no_grad()
    def play(self, slot: int, before: dict) -> dict:
        """Decide and serve all tasks of a slot, and store the transitions."""
        latent = self.memory.read(slot)
        _, stations, num_tasks, servers = latent.shape
        states = fleet_states(torch.from_numpy(before[names.TASKS]), torch.from_numpy(before[names.QUEUES]))
        noise = self.networks.draw_noise(num_tasks, self.generator)
        logits = self.networks.actor(states, latent[0].mT, noise).mT[None]
        uniform = torch.rand((1, stations, num_tasks), generator=self.generator)
        action, probabilities = choose_servers(logits, uniform)
        counts = before[names.TASK_COUNTS]
        self.memory.write(slot, probabilities, torch.arange(num_tasks) < torch.from_numpy(counts)[..., None])
        observation, _, _, truncated, infos = self.env.step(action.numpy())
        self.buffer.add(
            SlotSample(
                source=0,
                slot=slot,
                tasks=before[names.TASKS],
                task_counts=counts,
                queues=before[names.QUEUES],
                action=action.numpy(),
                delay_s=infos[names.TASK_DELAYS],
                latent=probabilities.numpy(),
                next_tasks=observation[names.TASKS][:, :, 0],
                next_task_counts=observation[names.TASK_COUNTS],
                next_queues=observation[names.QUEUES],
                next_latent=self.memory.first(slot + 1).numpy(),
                is_last=bool(truncated.all()),
            )
        )
        self.decisions += int(counts.sum())
        return observation

    def learn(self) -> None:
        """Update all stations whose buffers hold enough."""
        ready = torch.from_numpy(self.buffer.size > LEARNING_STARTS)
        if not ready.any():
            return
        columns = self.buffer.sample(BATCH, self.rng)
        batch = {key: torch.from_numpy(value).movedim(0, -1).contiguous() for key, value in columns.items()}
        active = None if ready.all() else ready
        update_stations(
            self.networks,
            batch,
            self.networks.draw_noise(BATCH, self.generator),
            self.networks.draw_noise(BATCH, self.generator),
            optimizer_step(self.optimizers, active),
            gamma=0.95,
            tau=0.005,
            target_entropy=-1.0,
        )
        self.updates += int(ready.sum())
