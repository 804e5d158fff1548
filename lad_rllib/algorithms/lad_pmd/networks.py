"""Networks of LAD-PMD, and the gradient step of all of them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lad_rllib import names
from lad_rllib.algorithms.common.acting import Decision
from lad_rllib.algorithms.common.networks import ActingNetworks, gradients_of, seeded_generator
from lad_rllib.algorithms.lad_pmd.in_slot import InSlotView, decide_in_order
from lad_rllib.algorithms.lad_pmd.prior_actor import PriorActor
from lad_rllib.errors import ConfigurationError
from lad_rllib.kernels import Kernels

LatentStart = Literal["memory", "zero", "learned"]


def latent_size(start: LatentStart, num_servers: int) -> int:
    """Length of what is remembered of an action: the latent action, the number of a learned start, or nothing."""
    return {"memory": num_servers, "learned": 1, "zero": 0}[start]


class LADPMDNetworks(ActingNetworks):
    """Actors of B base stations that learn from marginal costs: no critics, no temperatures.

    ``average`` is the mean of the actors of the last iterations, which is evaluated and deployed: single ones oscillate
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
        kernels: What computes, see :func:`~lad_rllib.kernels.make_backend`.
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
        hidden_sizes: Sequence[int] = (64, 64),
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
        super().__init__(num_stations, num_servers, kernels)
        self.latent_size = latent_size(latent_start, num_servers)
        self.first_latent = "index" if latent_start == "learned" else "zeros"
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
            num_tasks if latent_start == "learned" else 0,
            seeded_generator(seed),
            self.backend,
        )
        self.in_slot_view: InSlotView = in_slot_view
        self.decides_in_order = in_slot_view != "none"
        self.waiting_per_work: Tensor
        self.register_buffer("waiting_per_work", torch.ones(num_servers), persistent=False)
        self.average = copy.deepcopy(self.actor).requires_grad_(False)
        if not inference_only:
            self.previous = copy.deepcopy(self.average)

    @classmethod
    def of_spaces(cls, observation_space: Mapping[str, Any], **kwargs: Any) -> LADPMDNetworks:
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

    @classmethod
    def min_weights(
        cls, stations: int, servers: int, tasks: int, hidden_sizes: Sequence[int], arguments: Mapping[str, Any]
    ) -> int:
        """See :meth:`ActingNetworks.min_weights`."""
        starts = stations * tasks * servers if arguments["latent_start"] == "learned" else 0
        stations = 1 if arguments["shared_actor"] else stations
        return starts + super().min_weights(stations, servers, tasks, hidden_sizes, arguments)

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
        """See :meth:`ActingNetworks.decide`; with a view of the slot, one task after the other."""
        if not self.decides_in_order:
            return super().decide(tasks, counts, queues, latent, noise, uniform, evaluated)
        actor = self.average if evaluated else self.actor
        return decide_in_order(actor, self.in_slot_view, self.waiting_per_work, tasks, counts, queues, latent, uniform)

    def next_latent(self, decision: Decision) -> Tensor:
        """``decay * sqrt(alpha_bar_I) * x_0``: the forward diffusion of the chain's output, in its mean."""
        logits, queues = decision.logits, decision.queues
        if self.first_latent == "index":
            return self.some_latent(*logits.shape[:3])
        if not self.latent_size:
            return logits[..., :0]
        prior = self.actor.prior(queues.to(self.actor.log_capacity.device)).to(logits.device)
        return self.actor.latent_gain * (logits - (prior if queues.ndim > 2 else prior[:, None, None]))

    def learned_parameters(self) -> list[nn.Parameter]:
        """What the optimisers change, in their order."""
        starts = [] if self.actor.starts is None else [self.actor.starts]
        return [*self.actor.chain.parameters(), *starts]

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Parameters of the actors, and the learned starts."""
        groups = {"actor": list(self.actor.chain.parameters())}
        return groups if self.actor.starts is None else {**groups, "start": [self.actor.starts]}


def improve_stations(
    networks: LADPMDNetworks,
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
        step: Takes a step with gradients by :meth:`LADPMDNetworks.learned_parameters`.
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
