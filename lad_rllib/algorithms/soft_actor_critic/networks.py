"""Networks and update of all base stations, without RLlib: what the RLModule holds and the Learner calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lad_rllib.algorithms.common.agentwise_adam import AgentwiseAdam
from lad_rllib.algorithms.common.networks import ActingNetworks, gradients_of, seeded_generator
from lad_rllib.algorithms.soft_actor_critic import fused_update, losses
from lad_rllib.diffusion import StackedMLP
from lad_rllib.kernels.compiled import Kernels

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
        kernels: ``"auto"``, ``"torch"`` or ``"compiled"``; see :class:`~lad_rllib.diffusion.LatentActionActor`.
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
        super().__init__(num_stations, num_servers)
        self.kernels = kernels
        generator = seeded_generator(seed)
        self.actor = self.build_actor(tuple(hidden_sizes), generator, **actor)
        if inference_only:
            return
        sizes = (2 + num_servers, *hidden_sizes, num_servers)
        self.critics = StackedMLP(2 * num_stations, sizes, generator, kernels)
        self.target_critics = StackedMLP(2 * num_stations, sizes, generator, kernels)
        self.target_critics.load_state_dict(self.critics.state_dict())
        self.target_critics.requires_grad_(False)
        self.log_temperature = nn.Parameter(torch.full((num_stations,), float(initial_alpha)).log())

    def build_actor(self, hidden_sizes: tuple[int, ...], generator: torch.Generator) -> nn.Module:
        """The actors of all stations.

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
    ready: Tensor | None = None,
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
        ready: Stations that take part, bool (B,); None for all.

    Returns:
        Diagnostics without gradient: losses and temperature (B,), entropy [nat] (B, M), Q-values (2, B, A, M).
    """
    is_fused = fused_update.fits(networks.actor, networks.critics, networks.kernels, batch)
    state, temperature = batch["state"], networks.log_temperature.detach().exp()
    if is_fused:
        target = fused_update.soft_targets(
            networks.actor, networks.target_critics, batch, noise_next, temperature, gamma
        )
        critic_loss, gradient = fused_update.critic_loss_and_gradient(networks.critics, state, batch["action"], target)
        gradients: Sequence[Tensor] = [gradient]
    else:
        with torch.no_grad():
            next_logits = networks.actor(batch["next_state"], batch["next_latent"], noise_next)
            next_q = networks.q_values(networks.target_critics, batch["next_state"])
            target = batch["reward"] + gamma * losses.soft_value(next_logits, next_q, temperature, networks.kernels)
        q_values = networks.q_values(networks.critics, state)
        critic_loss = losses.critic_loss(q_values, batch["action"], target, networks.kernels)
        gradients = gradients_of(critic_loss, networks.critics.parameters(), ready)
    step("critic", gradients)

    with torch.no_grad():
        q_values = networks.q_values(networks.critics, state)
    if is_fused:
        value, entropy, gradient = fused_update.soft_value_and_gradient(
            networks.actor, state, batch["latent"], noise_now, q_values, temperature
        )
        gradients = [gradient]
    else:
        logits = networks.actor(state, batch["latent"], noise_now)
        value, entropy = losses.soft_value_and_entropy(logits, q_values, temperature, networks.kernels)
        gradients = gradients_of(-value.mean(-1), networks.actor.parameters(), ready)
    step("actor", gradients)

    alpha_loss = losses.temperature_loss(temperature, entropy, target_entropy)
    step("alpha", [alpha_loss])  # of xi on log xi the loss is its own derivative
    with torch.no_grad():
        networks.target_critics.weights.lerp_(networks.critics.weights, tau)
    return {
        "critic_loss": critic_loss.detach(),
        "actor_loss": -value.detach().mean(-1),
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
