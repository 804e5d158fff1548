"""From a slot's observation to servers: the one way that env runners, deployed policies and RLModules act."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from lad_rllib.algorithms.common.latent_memory import LatentMemory

if TYPE_CHECKING:
    from lad_rllib.algorithms.common.networks import ActingNetworks

GOLDEN_RATIO = (math.sqrt(5.0) - 1.0) / 2.0


@dataclass(frozen=True)
class Decision:
    """What was decided for the tasks of E slots, on the CPU.

    Attributes:
        servers: Server of each task, shape (E, B, N).
        logits: Action logits, shape (E, B, N, A).
        probabilities: Their softmax.
        queues: Slot-start queues, shape (E, A), on which they were based; or those of each task, shape (E, B, N, A).
    """

    servers: Tensor
    logits: Tensor
    probabilities: Tensor
    queues: Tensor


@dataclass(frozen=True)
class Acting:
    """Decides for all base stations, with networks, a latent memory and the way that servers are drawn.

    Attributes:
        networks: Networks that decide.
        memory: Latent memory, which each decision renews.
        draws: See :func:`draw_uniform`.
    """

    networks: ActingNetworks
    memory: LatentMemory
    draws: str

    @torch.no_grad()
    def decide(
        self,
        tasks: Tensor,
        counts: Tensor,
        queues: Tensor,
        slot: int,
        generator: torch.Generator | np.random.Generator,
        *,
        explore: bool,
        evaluated: bool,
    ) -> tuple[Decision, Tensor, Tensor]:
        """Servers for all tasks of E slots.

        Args:
            tasks: Input size [Mbit] and workload [Gcycle], shape (E, B, N, 2).
            counts: Tasks of each station, shape (E, B).
            queues: Slot-start queues in the unit that the networks were trained on, shape (E, A).
            slot: Index of the slot in the episodes.
            generator: Randomness of the diffusion chain and of the choice.
            explore: Draw servers from the actors' probabilities; otherwise take the most probable ones.
            evaluated: Decide with the actor that is evaluated and deployed, not with the one that learns.

        Returns:
            The decisions, the latent actions that they started from, and those to remember, both of shape
            (E, B, N, latent size).
        """
        episodes, _, num_tasks, _ = tasks.shape
        latent = self.memory.read(slot, num_tasks)
        noise = self.networks.draw_noise(episodes * num_tasks, generator)
        uniform = draw_uniform(counts, num_tasks, self.draws, generator) if explore else None
        decision = self.networks.decide(tasks, counts, queues, latent, noise, uniform, evaluated)
        output = self.networks.next_latent(decision)
        self.memory.write(slot, output, torch.arange(num_tasks) < counts[..., None])
        return decision, latent, output


def fleet_states(tasks: Tensor, queues: Tensor) -> Tensor:
    """States ``[d, w, q_0 ... q_{A-1}]`` of all tasks of E fleet observations, station by station.

    Args:
        tasks: Input size and workload of each task, shape (E, B, N, 2).
        queues: Queues, shape (E, A).

    Returns:
        Shape (B, 2 + A, E * N).
    """
    episodes, stations, num_tasks, _ = tasks.shape
    queues = queues[:, None, None, :].expand(episodes, stations, num_tasks, queues.shape[-1])
    return torch.cat([tasks, queues], -1).permute(1, 3, 0, 2).reshape(stations, -1, episodes * num_tasks)


def fleet_logits(actor: nn.Module, tasks: Tensor, queues: Tensor, latent: Tensor, noise: Tensor) -> Tensor:
    """Action logits of an actor for all tasks of E slots, shape (E, B, N, A).

    Args:
        actor: Actor.
        tasks: Input size and workload, shape (E, B, N, 2).
        queues: Queues, shape (E, A).
        latent: Latent actions to start from, shape (E, B, N, latent size).
        noise: Fresh noise, see :meth:`ActingNetworks.draw_noise`, shape (I - 1, B, A, E * N).
    """
    episodes, stations, num_tasks, size = latent.shape
    latent = latent.permute(1, 3, 0, 2).reshape(stations, size, episodes * num_tasks)
    logits: Tensor = actor(fleet_states(tasks, queues), latent, noise)
    return logits.unflatten(2, (episodes, num_tasks)).permute(2, 0, 3, 1)


def choose_servers(logits: Tensor, uniform: Tensor | None) -> tuple[Tensor, Tensor]:
    """Servers and action probabilities.

    Args:
        logits: Action logits, shape (..., A).
        uniform: Uniform random numbers on [0, 1), shape (...); None takes the most probable server.

    Returns:
        Servers (...), the first whose cumulative probability exceeds ``uniform``, and probabilities (..., A).
    """
    probabilities = torch.softmax(logits, dim=-1)
    if uniform is None:
        return logits.argmax(-1), probabilities
    cumulative = probabilities.cumsum(-1)
    servers = (cumulative <= uniform[..., None]).sum(-1)
    return servers.clamp_(max=logits.shape[-1] - 1), probabilities


def draw_uniform(
    counts: Tensor, num_tasks: int, draws: str, generator: torch.Generator | np.random.Generator
) -> Tensor:
    """Uniform random numbers to choose servers with, shape (E, B, N).

    Args:
        counts: Tasks of each station in the slot, shape (E, B).
        num_tasks: Task indices N.
        draws: ``"independent"``; ``"stratified"``: each station shifts one golden-ratio sequence at random, so that the
            servers of its tasks in this slot are as even as their probabilities say, and each is still drawn with its
            own; or ``"coordinated"``: the same with one sequence for the tasks of all stations, station by station.
            For that they need a common random number for each slot, and to tell one another how many tasks they have.
        generator: Randomness.
    """
    episodes, stations = counts.shape
    if isinstance(generator, np.random.Generator):
        if draws == "independent":
            return torch.from_numpy(generator.random((episodes, stations, num_tasks), dtype=np.float32))
        generator = torch.Generator().manual_seed(int(generator.integers(2**63)))
    if draws == "independent":
        return torch.rand((episodes, stations, num_tasks), generator=generator)
    place = torch.arange(num_tasks).expand(episodes, stations, num_tasks)
    if draws == "coordinated":
        place = place + (counts.cumsum(1) - counts)[..., None]
    shift = torch.rand(
        (episodes, stations if draws == "stratified" else 1, 1), generator=generator, dtype=torch.float64
    )
    return ((shift + place * GOLDEN_RATIO) % 1.0).float().clamp_(max=1.0 - 2.0**-24)
