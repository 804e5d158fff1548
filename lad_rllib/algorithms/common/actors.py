"""What decides at B base stations: the actors to choose from, and what all networks that hold one have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lad_rllib import names
from lad_rllib.algorithms.common.acting import Decision, choose_servers, fleet_logits
from lad_rllib.diffusion import LatentActionActor, StackedMLP
from lad_rllib.kernels import compiled
from lad_rllib.kernels.compiled import Kernels

ActorKind = Literal["diffusion", "mlp"]
LatentStart = Literal["memory", "noise", "zero", "learned"]


def latent_size(actor: ActorKind, latent_start: LatentStart, num_servers: int) -> int:
    """Length of the latent actions that are remembered and replayed; 0 where the actor does not start from any.

    Of learned starts, which are weights, the number is kept.
    """
    if actor != "diffusion":
        return 0
    return {"memory": num_servers, "learned": 1}.get(latent_start, 0)


class GaussianStartActor(LatentActionActor):
    """Reverse diffusion from fresh Gaussian noise instead of a latent action (D2SAC, arXiv 2303.13052)."""

    @property
    def num_noise_draws(self) -> int:
        """Fresh-noise tensors that one pass uses: where it starts from, and one for each step but the last."""
        return super().num_noise_draws + 1

    def start_and_noise(self, latent: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The first noise, and the steps' in their order; ``latent`` is not used."""
        return noise[0], noise[1:]


class MLPActor(nn.Module):
    """A network from state to action logits for each of G agents, without latent action and noise.

    Args:
        num_agents: Number of agents G.
        sizes: Widths of all layers, state and actions included.
        generator: Randomness of the initial weights.
        kernels: See :class:`~lad_rllib.diffusion.StackedMLP`.
    """

    num_noise_draws = 0

    def __init__(
        self,
        num_agents: int,
        sizes: tuple[int, ...],
        generator: torch.Generator | None = None,
        kernels: Kernels = "auto",
    ) -> None:
        super().__init__()
        self.network = StackedMLP(num_agents, sizes, generator, kernels)

    def forward(self, state: Tensor, latent: Tensor, noise: Tensor) -> Tensor:
        """Logits (G, A, M) of states (G, state_size, M); ``latent`` and ``noise`` are not used."""
        logits: Tensor = self.network(state)
        return logits


class ActingNetworks(nn.Module):
    """What deciding needs of the networks of B base stations, whatever the algorithm.

    Args:
        num_stations: Base stations B.
        num_servers: Edge servers A.

    Attributes:
        actor: Module from states, latent actions and noise to action logits, as :class:`LatentActionActor` is; or one
            that ignores the latter two.
        latent_size: See :func:`latent_size`.
        latent_is_number: Whether a latent action is the number of a learned start, which is the task's index.
        kernels: Who computes, see :class:`~lad_rllib.diffusion.LatentActionActor`.
    """

    actor: Any
    latent_size = 0
    latent_is_number = False
    kernels: Kernels = "auto"
    not_for_inference: tuple[str, ...] = ()
    """Attributes that only training needs."""

    def __init__(self, num_stations: int, num_servers: int) -> None:
        super().__init__()
        self.num_stations, self.num_servers = num_stations, num_servers

    @classmethod
    def of_spaces(cls, observation_space: Mapping[str, Any], **kwargs: Any) -> Self:
        """Networks for a fleet's observations; other arguments are the class's."""
        stations, servers = (observation_space[key].shape[0] for key in (names.TASKS, names.QUEUES))
        return cls(stations, servers, **kwargs)

    def see_servers(self, capacities: NDArray[np.floating[Any]], slot_s: float) -> None:
        """Take note of the servers that the next decisions are about, where these depend on them.

        Args:
            capacities: Computing capacities [Gcycle/s], shape (A,).
            slot_s: Length of a slot [s].
        """

    @property
    def evaluated_actor(self) -> nn.Module:
        """Actor that is judged and used; :attr:`actor` is the one that plays while it learns."""
        actor: nn.Module = self.actor
        return actor

    def inference_actors(self) -> list[nn.Module]:
        """All actors that environment runners need."""
        return [self.actor]

    def decide(
        self,
        actor: nn.Module,
        tasks: Tensor,
        counts: Tensor,
        queues: Tensor,
        latent: Tensor,
        noise: Tensor,
        uniform: Tensor | None,
    ) -> Decision:
        """Servers for all tasks of E slots.

        Tensors may be on any device, but for ``noise``, which is where the actor is, and ``uniform``, on the CPU.

        Args:
            actor: One of the actors.
            tasks: Input size and workload, shape (E, B, N, 2).
            counts: Tasks of each station, shape (E, B).
            queues: Slot-start queues, shape (E, A).
            latent: Latent actions to start from, shape (E, B, N, ``latent_size``).
            noise: Fresh noise, see :meth:`draw_noise`, shape (I - 1, B, A, E * N).
            uniform: Uniform random numbers, see :func:`choose_servers`, shape (E, B, N); None takes the most probable.
        """
        device = next(actor.parameters()).device
        logits = fleet_logits(actor, tasks.to(device), queues.to(device), latent.to(device), noise).cpu()
        servers, probabilities = choose_servers(logits, uniform)
        return Decision(servers, logits, probabilities, queues.cpu())

    def next_latent(self, content: str, decision: Decision) -> Tensor:
        """What to remember of decisions, shape (E, B, N, ``latent_size``).

        Args:
            content: ``latent_content`` of the configuration.
            decision: Decisions.
        """
        put_out = decision.probabilities if content == "probabilities" else decision.logits
        return put_out[..., : self.latent_size]  # nothing, for an actor that starts from no latent action

    def some_latent(self, *shape: int) -> Tensor:
        """Latent actions to start from where nothing has been remembered, shape (E, B, N, ``latent_size``)."""
        return torch.randn((*shape, self.latent_size))

    def draw_noise(self, samples: int, generator: torch.Generator | None = None) -> Tensor:
        """Fresh noise for one pass of the actor over ``samples`` states per station, shape (I - 1, B, A, samples).

        Actors that need no noise, or a start besides, get 0 or I on the first axis. A generator draws on its own
        device, so that a seed means the same noise wherever the networks are.
        """
        shape = (self.actor.num_noise_draws, self.num_stations, self.num_servers, samples)
        device = next(self.actor.parameters()).device
        if compiled.draws_normal(self.kernels, generator):
            return compiled.normal(shape, generator).to(device)
        return torch.randn(shape, generator=generator, device=generator.device if generator else device).to(device)


def seeded_generator(seed: int | None) -> torch.Generator:
    """Randomness of initial weights; None draws a seed."""
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    return generator
