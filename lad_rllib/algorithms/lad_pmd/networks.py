"""Networks that optimise total delay, their improvement, and the RLModule around them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.core.columns import Columns
from torch import Tensor, nn

from lad_rllib import names
from lad_rllib.algorithms.common.acting import Decision
from lad_rllib.algorithms.common.actors import ActingNetworks, LatentStart, latent_size, seeded_generator
from lad_rllib.algorithms.common.agentwise_adam import AgentwiseAdam
from lad_rllib.algorithms.common.rl_module import LADTSTorchRLModule
from lad_rllib.algorithms.lad_pmd.in_slot import InSlotView, decide_in_order
from lad_rllib.algorithms.lad_pmd.prior_actor import PriorActor
from lad_rllib.algorithms.soft_actor_critic.losses import gradients_of
from lad_rllib.errors import ConfigurationError
from lad_rllib.kernels.compiled import Kernels


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
