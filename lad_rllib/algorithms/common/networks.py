"""What all networks that decide for base stations have in common, whatever the algorithm."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lad_rllib import names
from lad_rllib.algorithms.common.acting import Decision, choose_servers, fleet_logits
from lad_rllib.algorithms.common.agentwise_adam import AgentwiseAdam
from lad_rllib.diffusion import TorchBackend
from lad_rllib.kernels import Kernels, make_backend


class ActingNetworks(nn.Module):
    """What deciding needs of the networks of B base stations.

    Args:
        num_stations: Base stations B.
        num_servers: Edge servers A.
        kernels: What computes, see :func:`~lad_rllib.kernels.make_backend`.

    Attributes:
        actor: Module from states, latent actions and noise to action logits, as :class:`LatentActionActor` is; or one
            that ignores the latter two.
        latent_size: Length of the latent actions that are remembered; 0 where the actor starts from none.
        first_latent: What a latent memory holds at first: standard normal noise, zeros, or each task's index, which is
            the number of a start that is learned with the network.
        decides_in_order: Whether a task's logits depend on where earlier tasks of its slot were sent.
        backend: What computes, where it can.
    """

    actor: Any
    latent_size = 0
    first_latent: Literal["noise", "zeros", "index"] = "noise"
    decides_in_order = False
    not_for_inference: tuple[str, ...] = ()
    """Attributes that only training needs."""

    def __init__(self, num_stations: int, num_servers: int, kernels: Kernels = "auto") -> None:
        super().__init__()
        self.num_stations, self.num_servers = num_stations, num_servers
        self.backend = make_backend(kernels)

    @classmethod
    def of_spaces(cls, observation_space: Mapping[str, Any], **kwargs: Any) -> Self:
        """Networks for a fleet's observations; other arguments are the class's."""
        stations, servers = (observation_space[key].shape[0] for key in (names.TASKS, names.QUEUES))
        return cls(stations, servers, **kwargs)

    @classmethod
    def min_weights(
        cls, stations: int, servers: int, tasks: int, hidden_sizes: Sequence[int], arguments: Mapping[str, Any]
    ) -> int:
        """A lower bound on the number of weights, told without building anything.

        Args:
            stations: Base stations.
            servers: Edge servers.
            tasks: Task indices of a station.
            hidden_sizes: Widths of the hidden layers.
            arguments: All keyword arguments of the class.
        """
        widths = [2 + servers, *hidden_sizes, servers]
        return stations * sum(one * other for one, other in zip(widths, widths[1:], strict=False))

    def see_servers(self, capacities: NDArray[np.floating[Any]], slot_s: float) -> None:
        """Take note of the servers that the next decisions are about, where these depend on them.

        Args:
            capacities: Computing capacities [Gcycle/s], shape (A,).
            slot_s: Length of a slot [s].
        """

    @property
    def evaluated_actor(self) -> nn.Module:
        """Actor that is evaluated and deployed; :attr:`actor` is the one that plays while it learns."""
        actor: nn.Module = self.actor
        return actor

    def inference_actors(self) -> list[nn.Module]:
        """All actors that environment runners need."""
        return [self.actor]

    def decide(
        self,
        tasks: Tensor,
        counts: Tensor,
        queues: Tensor,
        latent: Tensor,
        noise: Tensor,
        uniform: Tensor | None,
        evaluated: bool,
    ) -> Decision:
        """Servers for all tasks of E slots.

        Tensors may be on any device, but for ``noise``, which is where the actor is, and ``uniform``, on the CPU.

        Args:
            tasks: Input size and workload, shape (E, B, N, 2).
            counts: Tasks of each station, shape (E, B).
            queues: Slot-start queues, shape (E, A).
            latent: Latent actions to start from, shape (E, B, N, ``latent_size``).
            noise: Fresh noise, see :meth:`draw_noise`, shape (I - 1, B, A, E * N).
            uniform: Uniform random numbers, see :func:`choose_servers`, shape (E, B, N); None takes the most probable.
            evaluated: Decide with :attr:`evaluated_actor`.
        """
        actor = self.evaluated_actor if evaluated else self.actor
        device = next(actor.parameters()).device
        logits = fleet_logits(actor, tasks.to(device), queues.to(device), latent.to(device), noise).cpu()
        servers, probabilities = choose_servers(logits, uniform)
        return Decision(servers, logits, probabilities, queues.cpu())

    def next_latent(self, decision: Decision) -> Tensor:
        """What to remember of decisions, shape (E, B, N, ``latent_size``)."""
        return decision.logits[..., :0]

    def some_latent(self, *shape: int) -> Tensor:
        """Latent actions to start from where nothing has been remembered, shape (E, B, N, ``latent_size``)."""
        if self.first_latent == "index":
            return torch.arange(shape[-1], dtype=torch.float32)[:, None].expand(*shape, 1)
        draw = torch.randn if self.first_latent == "noise" else torch.zeros
        return draw((*shape, self.latent_size))

    def draw_noise(self, samples: int, generator: torch.Generator | np.random.Generator | None = None) -> Tensor:
        """Fresh noise for one pass of the actor over ``samples`` states per station, shape (I - 1, B, A, samples).

        Actors that need no noise, or a start besides, get 0 or I on the first axis. A generator of torch draws on its
        own device, so that a seed gives the same noise wherever the networks are.
        """
        shape = (self.actor.num_noise_draws, self.num_stations, self.num_servers, samples)
        device = next(self.actor.parameters()).device
        if isinstance(generator, np.random.Generator):
            return torch.from_numpy(generator.standard_normal(shape, dtype=np.float32)).to(device)
        return self.backend.normal(shape, generator, device)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Parameters of each optimiser by its name; ``NAME_lr`` is its learning rate."""
        raise NotImplementedError

    @property
    def optimizer_backend(self) -> TorchBackend:
        """What computes the optimisers' steps."""
        return self.backend

    def optimizers(self, **rates: float) -> dict[str, AgentwiseAdam]:
        """An optimiser for each group of parameters; ``NAME_lr`` is its learning rate (0)."""
        return {
            name: AgentwiseAdam(group, rates.get(f"{name}_lr", 0.0), backend=self.optimizer_backend)
            for name, group in self.parameter_groups().items()
        }


def seeded_generator(seed: int | None) -> torch.Generator:
    """Randomness of initial weights; None draws a seed."""
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    return generator


def gradients_of(loss: Tensor, parameters: Iterable[Tensor], ready: Tensor | None = None) -> Sequence[Tensor]:
    """Gradients of each agent's loss (G,) by its own part of the parameters; zeros where an agent is not ready."""
    total = loss.sum() if ready is None else torch.where(ready, loss, 0.0).sum()
    gradients: Sequence[Tensor] = torch.autograd.grad(total, list(parameters))
    return gradients
