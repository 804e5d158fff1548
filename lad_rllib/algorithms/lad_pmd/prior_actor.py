"""The actor that optimises total delay: latent action diffusion on top of a prior that knows the servers."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from lad_rllib.diffusion import TORCH, LatentActionActor, TorchBackend


class PriorActor(nn.Module):
    """Logits ``log f_a - weight * queue_a + x_0``: a prior, and what the latent action diffusion adds to it.

    The prior sends tasks in proportion to capacity, and fewer where a queue is long. The denoiser's last layer starts
    at zero, so that the first policy is the prior. Chains have no step noise: the policy's randomness is the draw from
    its probabilities alone. Of queues the denoiser sees ``log(1 + queue)``, so that one longer than any before does not
    carry it far away; input size and workload are divided by their root mean squares over the first episodes.

    Args:
        num_stations: Base stations B.
        num_servers: Edge servers A.
        hidden_sizes: Widths of the denoiser's hidden layers.
        num_steps: Denoising steps I of the policy.
        denoiser_output: See :class:`LatentActionActor`.
        beta_min: Least noise rate of the schedule.
        beta_max: Greatest noise rate of the schedule.
        clip_denoised: See :class:`LatentActionActor`.
        shared: One network for all stations, which learns from the tasks of all; else each has its own.
        prior_queue_weight: By how much a logit falls for each slot of waiting time in the queue.
        latent_decay: Share of an ``x_0`` that is left in the latent action that starts the next chain.
        num_starts: Starts to learn for each station; 0 for none.
        generator: Randomness of the initial weights.
        backend: See :class:`LatentActionActor`.

    Attributes:
        starts: Learned starts of each station in units of logits, shape (B, ``num_starts``, A); None for none. All are
            zeros at first.
    """

    num_noise_draws = 0

    def __init__(
        self,
        num_stations: int,
        num_servers: int,
        hidden_sizes: tuple[int, ...],
        num_steps: int,
        denoiser_output: Literal["softmax", "linear"],
        beta_min: float,
        beta_max: float,
        clip_denoised: float | None,
        shared: bool,
        prior_queue_weight: float,
        latent_decay: float,
        num_starts: int,
        generator: torch.Generator,
        backend: TorchBackend = TORCH,
    ) -> None:
        super().__init__()
        self.num_stations, self.num_servers = num_stations, num_servers
        self.shared, self.prior_queue_weight = shared, prior_queue_weight
        # The chain multiplies what it starts from by exp((beta_min + beta_max) / 4): what is left of x_0 after the
        # forward diffusion is its inverse.
        self.start_gain = math.exp(-(beta_min + beta_max) / 4)
        self.latent_gain = latent_decay * self.start_gain
        self.starts = nn.Parameter(torch.zeros(num_stations, num_starts, num_servers)) if num_starts else None
        self.chain = LatentActionActor(
            1 if shared else num_stations,
            2 + num_servers,
            num_servers,
            hidden_sizes,
            num_steps,
            denoiser_output,
            beta_min,
            beta_max,
            clip_denoised,
            generator,
            backend,
        )
        with torch.no_grad():
            for parameter in self.chain.denoiser.layers[-1]:
                parameter.zero_()
        self.log_capacity: Tensor
        self.task_scale: Tensor
        self.register_buffer("log_capacity", torch.zeros(num_servers))
        self.register_buffer("task_scale", torch.ones(2, 1))

    def set_capacities(self, capacities: Tensor) -> None:
        """Tell the prior the servers' capacities (A,), in any unit."""
        log_capacity = capacities.log()
        self.log_capacity.copy_(log_capacity - log_capacity.mean())

    @property
    def is_prior(self) -> bool:
        """Whether the policy is the prior still: nothing has been learned."""
        learned = [*self.chain.denoiser.layers[-1], *([] if self.starts is None else [self.starts])]
        return not any(parameter.any() for parameter in learned)

    def set_task_scale(self, sizes: Tensor) -> None:
        """Divide tasks' inputs from now on by a typical input size and workload (2,)."""
        self.task_scale.copy_(sizes[:, None])

    def forward(self, state: Tensor, latent: Tensor, noise: Tensor) -> Tensor:
        """Logits (B, A, M) of states (B, 2 + A, M), queues in slots of waiting time; ``noise`` is not used.

        Args:
            state: States.
            latent: Latent actions to start from, shape (B, A, M); numbers of learned starts, shape (B, 1, M); or with
                no features (B, 0, M): zeros.
            noise: Not used.
        """
        samples = state.shape[-1]
        start = self.chain_start(torch.arange(self.num_stations, device=latent.device)[:, None], latent, samples)
        x_0 = self._denoised(self._stacked(self._seen(state)), self._stacked(start))
        if self.shared:
            x_0 = x_0[0].unflatten(1, (self.num_stations, samples)).movedim(1, 0)
        return x_0 + self.prior(state[:, 2:].movedim(1, -1)).movedim(-1, 1)

    def of_stations(self, stations: Tensor, state: Tensor, latent: Tensor) -> Tensor:
        """Logits (M, A) of M tasks, each of any station; for a shared network.

        Args:
            stations: Their stations, shape (M,).
            state: States, shape (M, 2 + A).
            latent: What to start from, see :meth:`forward`, shape (M, A), (M, 1) or (M, 0).
        """
        state, latent = state.T[None], latent.T[None]
        start = self.chain_start(stations[None], latent, state.shape[-1])
        return self._denoised(self._seen(state), start)[0].T + self.prior(state[0, 2:].T)

    def chain_start(self, stations: Tensor, latent: Tensor, samples: int) -> Tensor:
        """What chains start from, shape (G, A, M), for stations (G, 1 or M) and latent actions (G, features, M)."""
        if self.starts is not None:
            return self.start_gain * self.starts[stations, latent[:, 0].long()].movedim(-1, 1)
        return latent if latent.shape[1] else latent.new_zeros(len(latent), self.num_servers, samples)

    def _seen(self, state: Tensor) -> Tensor:
        """What the denoiser sees of states (G, 2 + A, M)."""
        return torch.cat([state[:, :2] / self.task_scale, state[:, 2:].log1p()], dim=1)

    def _denoised(self, seen: Tensor, start: Tensor) -> Tensor:
        x_0: Tensor = self.chain(seen, start, start.new_empty(0, *start.shape))
        return x_0

    def prior(self, queues: Tensor) -> Tensor:
        """The prior's logits (..., A) for queues (..., A) in slots of waiting time."""
        return self.log_capacity - self.prior_queue_weight * queues

    def _stacked(self, x: Tensor) -> Tensor:
        """(B, features, M) as the networks want it: (1, features, B * M) for one shared network."""
        return x.movedim(0, 1).flatten(1)[None] if self.shared else x
