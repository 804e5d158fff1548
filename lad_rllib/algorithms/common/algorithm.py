"""The training loop that all algorithms of a fleet in slots share; siblings say where batches come from."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from ray.rllib.utils.metrics import SYNCH_WORKER_WEIGHTS_TIMER, TIMERS

from lad_rllib.algorithms.common.base_algorithm import LEARNING_STATE, SchedulingAlgorithm
from lad_rllib.algorithms.common.config import FleetConfig
from lad_rllib.algorithms.common.learner import READY
from lad_rllib.algorithms.common.replay_buffer import SlotSample


class FleetAlgorithm(SchedulingAlgorithm):
    """Learns where to send each task of a fleet, slot by slot.

    After each slot the updates that are due follow: a sibling stores the slot (:meth:`store`) and gives the batches
    (:meth:`draw_batch`), its learner takes the steps. Runners own the latent memories (see
    :mod:`~lad_rllib.algorithms.common.latent_memory` for their life cycle). A round has ``rollout_fragment_length``
    slots.
    """

    config: FleetConfig

    def setup(self, config: FleetConfig) -> None:
        """Build runners and learners."""
        super().setup(config)
        self._updates_due = 0.0

    # -- Training -------------------------------------------------------------------------------------------------

    def training_step(self) -> None:
        """Play one episode in every environment; learn and share weights on the way."""
        for number, samples in enumerate(self.rollouts.rounds(), start=1):
            self.after_round(number)
            self.learn(samples)
            with self.metrics.log_time((TIMERS, SYNCH_WORKER_WEIGHTS_TIMER)):
                self.weights.share()
        self.log_iteration()
        self.end_iteration()

    def learn(self, samples: list[SlotSample]) -> None:
        """Take the updates that are due after each of some slots."""
        for sample in samples:
            self.store(sample)
            self._updates_due += self.config.updates_per_slot * len(sample.task_counts)
            due = int(self._updates_due)
            self._updates_due -= due
            for _ in range(due):
                self._update()

    def store(self, sample: SlotSample) -> None:
        """Keep a slot to learn from."""

    def draw_batch(self) -> tuple[dict[str, Any], NDArray[np.bool_]] | None:
        """Columns of the next update, leading axes (sample, station), and the stations that take part, shape (B,).

        None: no station has enough to learn from.
        """
        raise NotImplementedError

    def log_iteration(self) -> None:
        """Log metrics of the algorithm at the end of an iteration."""

    def _update(self) -> None:
        """One update of all learners with a batch, of the stations that are ready."""
        if (batch := self.draw_batch()) is None:
            return
        columns, ready = batch
        samples = len(columns["state"])
        columns[READY] = np.broadcast_to(ready, (samples, len(ready)))
        self.update_learners(columns, samples)

    # -- States ---------------------------------------------------------------------------------------------------

    def start_runners_from(self, saved: Any) -> None:
        """Take over the latent memory."""
        if (memory := saved.latent_state) is not None:
            self.env_runner_group.foreach_env_runner(lambda runner: runner.set_latent_memory(memory))

    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """See :meth:`SchedulingAlgorithm.get_state`; with the share of an update that is due."""
        state = super().get_state(*args, **kwargs)
        if LEARNING_STATE in state:
            state[LEARNING_STATE]["updates_due"] = self._updates_due
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """See :meth:`SchedulingAlgorithm.set_state`."""
        super().set_state(state)
        if LEARNING_STATE in state:
            self._updates_due = state[LEARNING_STATE]["updates_due"]
