"""Actors that learn for everybody: the latent action diffusion actor on top of a prior that knows the servers."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.core.columns import Columns
from torch import Tensor, nn

from lad_rllib import names
from lad_rllib.algorithms.lad_ts.actors import ActingNetworks, LatentStart, latent_size, seeded_generator
from lad_rllib.algorithms.lad_ts.agentwise_adam import AgentwiseAdam
from lad_rllib.algorithms.lad_ts.deciding import Decision
from lad_rllib.algorithms.lad_ts.losses import gradients_of
from lad_rllib.algorithms.lad_ts.rl_module import LADTSTorchRLModule
from lad_rllib.algorithms.lad_ts.system.in_slot import InSlotView, decide_in_order
from lad_rllib.diffusion import LatentActionActor
from lad_rllib.diffusion.compiled import Kernels
from lad_rllib.errors import ConfigurationError


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
        kernels: See :class:`LatentActionActor`.

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
        kernels: Kernels = "auto",
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
            kernels,
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
        still = seen.new_zeros(()).expand(self.chain.num_noise_draws, *start.shape)
        x_0: Tensor = self.chain(seen, start, still)
        return x_0

    def prior(self, queues: Tensor) -> Tensor:
        """The prior's logits (..., A) for queues (..., A) in slots of waiting time."""
        return self.log_capacity - self.prior_queue_weight * queues

    def _stacked(self, x: Tensor) -> Tensor:
        """(B, features, M) as the networks want it: (1, features, B * M) for one shared network."""
        return x.movedim(0, 1).flatten(1)[None] if self.shared else x


class SystemNetworks(ActingNetworks):
    """Actors of B base stations that learn from marginal costs: no critics, no temperatures.

    ``average`` is the mean of the actors of the last iterations, which is judged and used: single ones go to and fro
    around it. ``previous`` is the actor that played the iteration before, for the momentum of mirror descent.

    Args:
        num_stations: Base stations B.
        num_servers: Edge servers A.
        inference_only: Leave out what only training needs.
        hidden_sizes: Widths of the denoiser's hidden layers.
        policy_denoising_steps: Denoising steps I of the actor.
        denoiser_output: Last layer of the denoiser.
        beta_min: Least noise rate of the diffusion.
        beta_max: Greatest noise rate of the diffusion.
        clip_denoised: See :class:`LatentActionActor`.
        latent_start: ``"memory"``, ``"zero"`` or ``"learned"``.
        shared_actor: See :class:`PriorActor`.
        prior_queue_weight: See :class:`PriorActor`.
        in_slot_view: What a task's decision knows of the slot's earlier ones, see :func:`decide_in_order`; or
            ``"none"``: nothing, all are made at slot start.
        latent_decay: See :class:`PriorActor`.
        num_tasks: Task indices of a station, each of which has a start, if these are learned.
        kernels: See :class:`PriorActor`.
        seed: Seed of the initial weights; None draws one.
    """

    actor: PriorActor
    average: PriorActor
    previous: PriorActor
    not_for_inference = ("previous",)

    def __init__(
        self,
        num_stations: int,
        num_servers: int,
        *,
        inference_only: bool = False,
        hidden_sizes: tuple[int, ...] = (64, 64),
        policy_denoising_steps: int = 5,
        denoiser_output: Literal["softmax", "linear"] = "linear",
        beta_min: float = 0.1,
        beta_max: float = 10.0,
        clip_denoised: float | None = None,
        latent_start: LatentStart = "zero",
        shared_actor: bool = True,
        prior_queue_weight: float = 1.0,
        in_slot_view: InSlotView = "none",
        latent_decay: float = 0.5,
        num_tasks: int = 0,
        kernels: Kernels = "auto",
        seed: int | None = None,
    ) -> None:
        super().__init__(num_stations, num_servers)
        self.latent_size = latent_size("diffusion", latent_start, num_servers)
        self.latent_is_number = latent_start == "learned"
        self.actor = PriorActor(
            num_stations,
            num_servers,
            tuple(hidden_sizes),
            policy_denoising_steps,
            denoiser_output,
            beta_min,
            beta_max,
            clip_denoised,
            shared_actor,
            prior_queue_weight,
            latent_decay,
            num_tasks if self.latent_is_number else 0,
            seeded_generator(seed),
            kernels,
        )
        self.kernels = kernels
        self.in_slot_view: InSlotView = in_slot_view
        self.waiting_per_work: Tensor
        self.register_buffer("waiting_per_work", torch.ones(num_servers), persistent=False)
        self.average = copy.deepcopy(self.actor).requires_grad_(False)
        if not inference_only:
            self.previous = copy.deepcopy(self.average)

    @classmethod
    def of_spaces(cls, observation_space: Mapping[str, Any], **kwargs: Any) -> SystemNetworks:
        """See :meth:`ActingNetworks.of_spaces`.

        Raises:
            ConfigurationError: if decisions are to know of earlier ones in their slot, and the environment does not
                tell what that means for the queues.
        """
        networks = super().of_spaces(observation_space, num_tasks=observation_space[names.TASKS].shape[1], **kwargs)
        if networks.in_slot_view != "none":
            try:
                capacities, slot_s = (observation_space[key].low for key in (names.CAPACITIES, names.SLOT_LENGTH))
            except KeyError as error:
                raise ConfigurationError(
                    f"in_slot_view {networks.in_slot_view!r} needs {error.args[0]!r} in the observation space, as "
                    "FleetVectorEnv has it"
                ) from None
            networks.see_servers(capacities, float(slot_s[0]))
        return networks

    def see_servers(self, capacities: NDArray[np.floating[Any]], slot_s: float) -> None:
        """See :meth:`ActingNetworks.see_servers`."""
        waiting = torch.as_tensor(1.0 / (capacities * slot_s), dtype=torch.float32)
        self.waiting_per_work.copy_(waiting)

    def actors(self) -> list[PriorActor]:
        """All actors that are there."""
        return [self.actor, self.average, *([self.previous] if hasattr(self, "previous") else [])]

    @property
    def evaluated_actor(self) -> PriorActor:
        """The mean actor."""
        return self.average

    def inference_actors(self) -> list[nn.Module]:
        """The actor that plays, and the mean."""
        return [self.actor, self.average]

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
        """See :meth:`ActingNetworks.decide`; with a view of the slot, one task after the other."""
        if self.in_slot_view == "none":
            return super().decide(actor, tasks, counts, queues, latent, noise, uniform)
        assert isinstance(actor, PriorActor)
        return decide_in_order(actor, self.in_slot_view, self.waiting_per_work, tasks, counts, queues, latent, uniform)

    def next_latent(self, content: str, decision: Decision) -> Tensor:
        """``decay * sqrt(alpha_bar_I) * x_0``: the forward diffusion of what the chain put out, in its mean."""
        logits, queues = decision.logits, decision.queues
        if not self.latent_size:
            return logits[..., :0]
        if self.latent_is_number:
            return self.some_latent(*logits.shape[:3])
        prior = self.actor.prior(queues.to(self.actor.log_capacity.device)).to(logits.device)
        return self.actor.latent_gain * (logits - (prior if queues.ndim > 2 else prior[:, None, None]))

    def some_latent(self, *shape: int) -> Tensor:
        """Numbers of learned starts, or zeros, shape (E, B, N, ``latent_size``)."""
        if self.latent_is_number:
            return torch.arange(shape[-1], dtype=torch.float32)[:, None].expand(*shape, 1)
        return torch.zeros((*shape, self.latent_size))

    def learned_parameters(self) -> list[nn.Parameter]:
        """What the optimisers change, in their order."""
        starts = [] if self.actor.starts is None else [self.actor.starts]
        return [*self.actor.chain.parameters(), *starts]

    def optimizers(self, actor_lr: float, critic_lr: float, alpha_lr: float) -> dict[str, AgentwiseAdam]:
        """The actors' optimiser, and that of the learned starts."""
        optimizers = {"actor": AgentwiseAdam(self.actor.chain.parameters(), actor_lr, kernels=self.kernels)}
        if self.actor.starts is not None:
            optimizers["start"] = AgentwiseAdam([self.actor.starts], actor_lr, kernels=self.kernels)
        return optimizers


def improve_stations(
    networks: SystemNetworks,
    batch: dict[str, Tensor],
    step: Callable[[Sequence[Tensor]], None],
    *,
    momentum: float,
    ready: Tensor | None = None,
) -> dict[str, Tensor]:
    """One gradient step of all actors towards the policy that mirror descent steps to.

    That is ``softmax(z + momentum * (z - z_before) + step)`` with the logits ``z`` of the policy that played and
    ``z_before`` of the one before it (heavy ball, in the space of policies). The loss is the cross-entropy.

    Args:
        networks: Networks of all stations.
        batch: ``state``, ``latent``, ``logits`` and ``step``, shapes (B, features, M).
        step: Takes a step with gradients by :meth:`SystemNetworks.learned_parameters`.
        momentum: Share of the last step of the policy that is taken again.
        ready: Stations that have tasks to learn from, bool (B,); None for all.

    Returns:
        Diagnostics without gradient: cross-entropy (B,) and entropy of the policy (B, M) [nat].
    """
    state, latent, played = batch["state"], batch["latent"], batch["logits"]
    target = played + batch["step"]
    if momentum:
        with torch.no_grad():
            target = target + momentum * (played - networks.previous(state, latent, state))
    target = torch.softmax(target, dim=1)
    log_probabilities = torch.log_softmax(networks.actor(state, latent, state), dim=1)
    loss = -(target * log_probabilities).sum(1).mean(-1)
    step(gradients_of(loss, networks.learned_parameters(), ready))
    log_probabilities = log_probabilities.detach()
    entropy = -(log_probabilities.exp() * log_probabilities).sum(1)
    return {"actor_loss": loss.detach(), "entropy_mean": entropy}


class SystemRLModule(LADTSTorchRLModule):
    """RLModule around :class:`SystemNetworks`; capacities come from the observation space."""

    networks_class = SystemNetworks
    networks: SystemNetworks

    def setup(self) -> None:
        """Build the networks."""
        super().setup()
        capacities = torch.as_tensor(self.observation_space[names.CAPACITIES].low)
        for actor in self.networks.actors():
            actor.set_capacities(capacities)

    def _forward(self, batch: dict[str, Any], in_evaluation: bool = False, **kwargs: Any) -> dict[str, Any]:
        """Action logits; with a view of the slot, servers as well, since each task's logits hang on the earlier ones.

        Those are the most probable ones in inference, as RLlib takes them, else drawn.
        """
        networks = self.networks
        if networks.in_slot_view == "none":
            return super()._forward(batch, in_evaluation, **kwargs)
        latent, observation = self._latent(batch), batch[Columns.OBS]
        tasks, counts, queues = (observation[key] for key in (names.TASKS, names.TASK_COUNTS, names.QUEUES))
        uniform = None if in_evaluation else torch.rand(tasks.shape[:3])
        decision = networks.decide(self._actor(in_evaluation), tasks, counts, queues, latent, latent, uniform)
        chosen = {Columns.ACTIONS: decision.servers, Columns.ACTION_DIST_INPUTS: decision.logits}
        return {key: value.to(tasks.device) for key, value in chosen.items()}
