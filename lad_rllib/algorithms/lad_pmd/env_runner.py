"""Env runner of LAD-PMD: plays whole episodes and asks the environment for the costs of their tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from lad_rllib import names
from lad_rllib.algorithms.common.acting import Decision
from lad_rllib.algorithms.common.env_runner import FleetEnvRunner
from lad_rllib.algorithms.common.replay_buffer import SlotSample
from lad_rllib.algorithms.common.task_loss import TaskLoss
from lad_rllib.algorithms.lad_pmd.improvement import PlayedSlot
from lad_rllib.errors import ConfigurationError


class LADPMDEnvRunner(FleetEnvRunner):
    """Adds the logits of decisions and the marginal costs of tasks to the slots it plays."""

    def __init__(self, *, config: Any, **kwargs: Any) -> None:
        self._task_loss = TaskLoss(config)
        super().__init__(config=config, **kwargs)

    def make_env(self) -> None:
        """Create the environments; refuse those that cannot tell costs, or not of this loss."""
        super().make_env()
        if self.env is None:
            return
        check_penalty = getattr(self.env.unwrapped, "check_penalty", None)
        if check_penalty is None:
            raise ConfigurationError(
                f"{self.config.title} needs an environment that tells marginal costs, as FleetVectorEnv does; "
                f"{type(self.env.unwrapped).__name__} does not"
            )
        check_penalty(self._task_loss.penalty())

    def collect(self, num_slots: int | None = None) -> list[SlotSample]:
        """Play to the end of the episodes; costs are known of whole episodes only."""
        if num_slots is not None:
            raise ValueError("costs are known of whole episodes only; collect() them without a number of slots")
        return super().collect()

    def _sample_of(self, decision: Decision | None, **columns: Any) -> PlayedSlot:
        if decision is None:
            return PlayedSlot(**columns)
        seen_queues = decision.queues.numpy() if decision.queues.ndim > 2 else None
        return PlayedSlot(**columns, logits=decision.logits.numpy(), seen_queues=seen_queues)

    def _completed(self, samples: list[Any]) -> list[SlotSample]:
        """The slots of whole episodes, with what each of their tasks costs all tasks on each server."""
        costs = self.env.unwrapped.marginal_costs(self._task_loss.penalty(), self.config.gamma)
        delays = np.stack([sample.delay_s for sample in samples], axis=1)
        counts = np.stack([sample.task_counts for sample in samples], axis=1)
        self._task_loss.observe(delays[np.arange(delays.shape[-1]) < counts[..., None]])
        if self.config.bounded_percentile is not None:
            self.metrics.log_value(names.LOSS_STRENGTH, self._task_loss.strength, window=1)
        return [replace(sample, cost=costs[:, sample.slot]) for sample in samples]

    def get_runner_state(self) -> dict[str, Any]:
        """See :meth:`FleetEnvRunner.get_runner_state`; with the strength of an adapted loss."""
        return {**super().get_runner_state(), "loss": self._task_loss.get_state()}

    def set_runner_state(self, state: Mapping[str, Any]) -> None:
        """See :meth:`FleetEnvRunner.set_runner_state`."""
        super().set_runner_state(state)
        self._task_loss.set_state(state["loss"])
