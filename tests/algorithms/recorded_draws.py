"""Records every random draw of a fast training, and hands the same numbers to the literal one."""

from __future__ import annotations

import contextlib
from unittest import mock

import numpy as np
import torch
from torch.nn.utils import vector_to_parameters

from lad_rllib.algorithms.common import networks as networks_module
from lad_rllib.algorithms.common.latent_memory import LatentMemory
from lad_rllib.algorithms.common.replay_buffer import FleetReplayBuffer, SlotSample
from lad_rllib.algorithms.lad_ts import LADTS
from lad_rllib.algorithms.lad_ts.networks import LADTSNetworks
from lad_rllib.envs import FleetVectorEnv
from lad_rllib.simulator import Arrivals


class RecordedDraws:
    """Draws of a training of one environment with local runner and learner; repeats them as ``Randomness``.

    Build it before the training (it copies the initial weights and latents), train inside ``with draws.recording():``.
    ``samples`` holds what the runner handed over, by (episode, slot).
    """

    def __init__(self, algo: LADTS) -> None:
        self.actor_networks = algo.env_runner.module.networks
        learner = algo.learner_group._learner
        self.weights = {
            key: value.clone() for key, value in learner.module["default_policy"].networks.state_dict().items()
        }
        self.num_stations = self.actor_networks.num_stations
        memory = algo.env_runner.latent_memory
        slots = algo.env_runner.env.unwrapped.setting.num_slots if algo.config.latent_index != "station_task" else 1
        untouched = LatentMemory(algo.config.latent_index, memory._shape, seeds=memory._seeds)
        self._latents = np.stack([untouched.read(slot)[0].numpy() for slot in range(slots)])
        self._arrivals: list[Arrivals] = []
        self._decisions: list[dict] = []  # noise (I - 1, B, A, N) and uniform numbers (B, N) of each slot played
        self._updates: dict[tuple[int, int], dict] = {}
        self.samples: dict[tuple[int, int], SlotSample] = {}

    @contextlib.contextmanager
    def recording(self):
        """Watch where the program draws."""
        reset, add = FleetVectorEnv.reset, FleetReplayBuffer.add
        draw_noise, choose_servers, choose = (
            LADTSNetworks.draw_noise,
            networks_module.choose_servers,
            FleetReplayBuffer._choose,
        )

        def recorded_reset(env, **kwargs):
            result = reset(env, **kwargs)
            arrivals = env.simulator.arrivals
            self._arrivals.append(arrivals.episodes(0))
            return result

        def recorded_noise(networks, *args):
            noise = draw_noise(networks, *args)
            if networks is self.actor_networks:
                self._decisions.append({"noise": noise})
            else:
                self._updates[self._now].setdefault("noise", []).append(noise)
            return noise

        def recorded_servers(logits, uniform):
            self._decisions[-1]["uniform"] = uniform[0]
            return choose_servers(logits, uniform)

        def recorded_add(buffer, sample):
            self._now = (len(self._arrivals) - 1, sample.slot)
            self.samples[self._now] = sample
            return add(buffer, sample)

        def recorded_choice(buffer, *args):
            chosen = choose(buffer, *args)
            # A ring's positions -> counted from the oldest transition.
            oldest = np.where(buffer.count > buffer.capacity, buffer.count % buffer.capacity, 0)[:, None]
            self._updates[self._now] = {"positions": (chosen - oldest) % buffer.capacity}
            return chosen

        with (
            mock.patch.object(FleetVectorEnv, "reset", recorded_reset),
            mock.patch.object(FleetReplayBuffer, "add", recorded_add),
            mock.patch.object(LADTSNetworks, "draw_noise", recorded_noise),
            mock.patch.object(networks_module, "choose_servers", recorded_servers),
            mock.patch.object(FleetReplayBuffer, "_choose", recorded_choice),
        ):
            yield

    def _decision(self, episode: int, slot: int) -> dict:
        return self._decisions[list(self.samples).index((episode, slot))]

    # -- Randomness of the literal training -----------------------------------------------------------------------

    def arrivals(self, episode):
        return self._arrivals[episode]

    def initial_latents(self):
        return self._latents.copy()

    def initialise(self, station, agent):
        networks = [("actor.denoiser", station, agent.denoiser)]
        networks += [("critics", k * self.num_stations + station, critic) for k, critic in enumerate(agent.critics)]
        for name, row, network in networks:
            vector_to_parameters(self.weights[f"{name}.weights"][row].clone(), network.parameters())

    def chain_noise(self, episode, slot, station, task):
        return with_last_step(self._decision(episode, slot)["noise"][:, station, :, task])

    def uniform(self, episode, slot, station, task):
        return float(self._decision(episode, slot)["uniform"][station, task])

    def replay_positions(self, episode, slot, station, size):
        positions = self._updates[episode, slot]["positions"][station].tolist()
        assert max(positions) < size
        return positions

    def update_noise(self, episode, slot, station):
        return [with_last_step(noise[:, station].mT) for noise in self._updates[episode, slot]["noise"]]


def with_last_step(noise):
    """Noise for the step i = 1, too, which is multiplied by 0."""
    return torch.cat([noise, torch.zeros_like(noise[:1])])
