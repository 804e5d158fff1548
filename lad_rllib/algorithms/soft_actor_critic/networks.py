"""Networks and update of all base stations, without RLlib: what the RLModule holds and the Learner calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lad_rllib.algorithms.common.agentwise_adam import AgentwiseAdam
from lad_rllib.algorithms.common.networks import ActingNetworks, seeded_generator
from lad_rllib.diffusion import StackedMLP
from lad_rllib.kernels import Kernels

Step = Callable[[str, Sequence[Tensor]], None]
"""Takes one step of the named optimiser (actor, critic or alpha) with gradients of its parameters."""


class SoftActorCriticNetworks(ActingNetworks):
    """Actors, twin critics, their targets and temperatures of B base stations; a sibling says what the actor is.

    Every parameter carries a leading station axis; stations share nothing.

    Args:
        num_stations: Base stations B.
        num_servers: Edge servers A.
        inference_only: Leave out what only training needs.
        hidden_sizes: Widths of the hidden layers of all networks.
        initial_alpha: Temperature ``xi`` at the start.
        kernels: What computes, see :func:`~lad_rllib.kernels.make_backend`.
        seed: Seed of the initial weights; None draws one.
        **actor: Arguments of :meth:`build_actor`.
    """

    not_for_inference = ("critics", "target_critics", "log_temperature")

    def __init__(
        self,
        num_stations: int,
        num_servers: int,
        *,
        inference_only: bool = False,
        hidden_sizes: Sequence[int] = (20, 20),
        initial_alpha: float = 0.05,
        kernels: Kernels = "auto",
        seed: int | None = None,
        **actor: Any,
    ) -> None:
        super().__init__(num_stations, num_servers, kernels)
        generator = seeded_generator(seed)
        self.actor = self.build_actor(tuple(hidden_sizes), generator, **actor)
        if inference_only:
            return
        sizes = (2 + num_servers, *hidden_sizes, num_servers)
        self.critics = StackedMLP(2 * num_stations, sizes, generator, self.backend)
        self.target_critics = StackedMLP(2 * num_stations, sizes, generator, self.backend)
        self.target_critics.load_state_dict(self.critics.state_dict())
        self.target_critics.requires_grad_(False)
        self.log_temperature = nn.Parameter(torch.full((num_stations,), float(initial_alpha)).log())

    def build_actor(self, hidden_sizes: tuple[int, ...], generator: torch.Generator) -> nn.Module:
        """The actors of all stations, with a ``value_gradient`` as :class:`LatentActionActor` has it.

        Args:
            hidden_sizes: Widths of the hidden layers.
            generator: Randomness of the initial weights.
        """
        raise NotImplementedError

    def q_values(self, critics: StackedMLP, state: Tensor) -> Tensor:
        """Values of both critics: (B, 2 + A, M) -> (2, B, A, M)."""
        return critics(state).unflatten(0, (2, self.num_stations))

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Parameters of actors, critics and temperatures."""
        return {
            "actor": list(self.actor.parameters()),
            "critic": list(self.critics.parameters()),
            "alpha": [self.log_temperature],
        }


def temperature_loss(temperature: Tensor, entropy: Tensor, target_entropy: float) -> Tensor:
    """``mean[H(pi) - H_target] * xi``, shape (B,), and also its derivative by ``log xi``; ``entropy`` is (B, M).

    Source: arXiv 2412.18212, and arXiv 1910.07207 for discrete actions.
    """
    return (entropy - target_entropy).mean(-1) * temperature


def update_stations(
    networks: SoftActorCriticNetworks,
    batch: dict[str, Tensor],
    noise_next: Tensor,
    noise_now: Tensor,
    step: Step,
    *,
    gamma: float,
    tau: float,
    target_entropy: float,
) -> dict[str, Tensor]:
    """One soft actor-critic update of all stations: critics, then actors, then temperatures, then targets.

    Args:
        networks: Networks of all stations.
        batch: ``state``, ``latent``, ``next_state``, ``next_latent``, shapes (B, features, M); ``action`` and
            ``reward``, shapes (B, M).
        noise_next: Fresh noise of the actors' pass over the next states, shape (I - 1, B, A, M).
        noise_now: The same for their pass over the states.
        step: Takes a step with gradients; see :data:`Step`.
        gamma: Discount factor.
        tau: Share of the critics that goes into the targets.
        target_entropy: Entropy [nat] that the temperature steers to.

    Returns:
        Diagnostics without gradient: losses and temperature (B,), entropy [nat] (B, M), Q-values (2, B, A, M).
    """
    state, temperature = batch["state"], networks.log_temperature.detach().exp()
    critics, targets = networks.critics, networks.target_critics
    with torch.no_grad():
        next_logits = networks.actor(batch["next_state"], batch["next_latent"], noise_next)
    given = (batch["next_state"], next_logits, temperature, batch["reward"])
    target = targets.backend.soft_targets(targets.weights, targets.sizes, *given, gamma)
    critic_loss, gradient = critics.backend.critic_gradient(
        critics.weights, critics.sizes, state, batch["action"], target
    )
    step("critic", [gradient])

    with torch.no_grad():
        q_values = networks.q_values(critics, state)
    value, entropy, gradient = networks.actor.value_gradient(state, batch["latent"], noise_now, q_values, temperature)
    step("actor", [gradient])

    alpha_loss = temperature_loss(temperature, entropy, target_entropy)
    step("alpha", [alpha_loss])  # of xi on log xi the loss is its own derivative
    with torch.no_grad():
        targets.weights.lerp_(critics.weights, tau)
    return {
        "critic_loss": critic_loss,
        "actor_loss": -value.mean(-1),
        "alpha_loss": alpha_loss,
        "alpha_value": temperature,
        "qf_mean": q_values,
        "entropy_mean": entropy,
    }


def optimizer_step(optimizers: dict[str, AgentwiseAdam], ready: Tensor | None = None) -> Step:
    """A :data:`Step` that uses these optimisers directly (no RLlib, one learner)."""

    def step(name: str, gradients: Sequence[Tensor]) -> None:
        optimizers[name].set_active(ready)
        optimizers[name].apply_gradients(gradients)

    return step
