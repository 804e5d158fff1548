"""Q networks and update of all base stations, in plain torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from lad_rllib.algorithms.common.networks import ActingNetworks, gradients_of, seeded_generator
from lad_rllib.diffusion import TORCH, StackedMLP, TorchBackend
from lad_rllib.kernels import Kernels


class EpsilonGreedyActor(nn.Module):
    """A Q network for each of G agents, and the epsilon-greedy policy of it.

    Args:
        num_agents: Number of agents G.
        sizes: Widths of all layers, state and actions included.
        epsilon: Probability of a uniform choice instead of the best action, in [0, 1).
        generator: Randomness of the initial weights.
        backend: See :class:`~lad_rllib.diffusion.StackedMLP`.
    """

    num_noise_draws = 0

    def __init__(
        self,
        num_agents: int,
        sizes: tuple[int, ...],
        epsilon: float,
        generator: torch.Generator | None = None,
        backend: TorchBackend = TORCH,
    ) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.network = StackedMLP(num_agents, sizes, generator, backend)

    def forward(self, state: Tensor, latent: Tensor, noise: Tensor) -> Tensor:
        """Log-probabilities of the epsilon-greedy policy, so that the most probable action is the greedy one.

        Args:
            state: States, shape (G, state_size, M).
            latent: Not used.
            noise: Not used.

        Returns:
            Shape (G, A, M).
        """
        q_values: Tensor = self.network(state)
        other = self.epsilon / q_values.shape[1]
        logits = torch.full_like(q_values, math.log(other) if other else -math.inf)
        return logits.scatter_(1, q_values.argmax(1, keepdim=True), math.log(1 - self.epsilon + other))


class QNetworks(ActingNetworks):
    """Q networks of B base stations and their targets; stations share nothing.

    Args:
        num_stations: Base stations B.
        num_servers: Edge servers A.
        inference_only: Leave out what only training needs.
        hidden_sizes: Widths of the hidden layers.
        epsilon: Probability of a uniform choice when exploring.
        kernels: What computes, see :func:`~lad_rllib.kernels.make_backend`.
        seed: Seed of the initial weights; None draws one.
    """

    not_for_inference = ("target", "num_updates")

    def __init__(
        self,
        num_stations: int,
        num_servers: int,
        *,
        inference_only: bool = False,
        hidden_sizes: Sequence[int] = (20, 20),
        epsilon: float = 0.01,
        kernels: Kernels = "auto",
        seed: int | None = None,
    ) -> None:
        super().__init__(num_stations, num_servers, kernels)
        sizes = (2 + num_servers, *hidden_sizes, num_servers)
        self.actor = EpsilonGreedyActor(num_stations, sizes, epsilon, seeded_generator(seed), self.backend)
        if inference_only:
            return
        self.target = StackedMLP(num_stations, sizes, backend=self.backend)
        self.target.load_state_dict(self.actor.network.state_dict())
        self.target.requires_grad_(False)
        self.num_updates: Tensor
        self.register_buffer("num_updates", torch.zeros(num_stations, dtype=torch.int64))

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Parameters of the Q networks, which are critics: there are neither actors of their own nor temperatures."""
        return {"critic": list(self.actor.parameters())}

    @property
    def optimizer_backend(self) -> TorchBackend:
        """Always torch: the published curves were trained so, and kernels round otherwise."""
        return TORCH


def q_loss(q_values: Tensor, next_q: Tensor, action: Tensor, reward: Tensor, gamma: float) -> Tensor:
    """``mean [r + gamma max_a' Q^t(s', a') - Q(s, a)]^2`` of each agent, shape (G,): arXiv 1312.5602, eq. (2).

    Args:
        q_values: ``Q(s, .)``, shape (G, A, M).
        next_q: ``Q^t(s', .)``, shape (G, A, M), without gradient.
        action: Actions taken, shape (G, M), integers.
        reward: Rewards, shape (G, M).
        gamma: Discount factor.
    """
    taken = q_values.gather(1, action[:, None])[:, 0]
    return (reward + gamma * next_q.amax(1) - taken).square().mean(-1)


def update_q_networks(
    networks: QNetworks,
    batch: dict[str, Tensor],
    step: Callable[[str, Sequence[Tensor]], None],
    *,
    gamma: float,
    target_update_period: int,
    ready: Tensor | None = None,
) -> dict[str, Tensor]:
    """One Q-learning update of all stations; a station's target is copied after so many updates of its own.

    Args:
        networks: Networks of all stations.
        batch: ``state`` and ``next_state``, shapes (B, 2 + A, M); ``action`` and ``reward``, shapes (B, M).
        step: Takes a step of the named optimiser, ``"critic"``, with gradients of its parameters.
        gamma: Discount factor.
        target_update_period: Updates between two copies.
        ready: Stations that take part, bool (B,); None for all.

    Returns:
        Diagnostics without gradient: loss (B,), Q-values (B, A, M).
    """
    with torch.no_grad():
        next_q = networks.target(batch["next_state"])
    q_values = networks.actor.network(batch["state"])
    loss = q_loss(q_values, next_q, batch["action"], batch["reward"], gamma)
    step("critic", gradients_of(loss, networks.actor.parameters(), ready))
    with torch.no_grad():
        networks.num_updates += 1 if ready is None else ready
        due = networks.num_updates % target_update_period == 0
        due = due if ready is None else due & ready
        if due.any():
            for target, own in zip(networks.target.parameters(), networks.actor.network.parameters(), strict=True):
                target[due] = own[due]
    return {"critic_loss": loss.detach(), "qf_mean": q_values.detach()}
