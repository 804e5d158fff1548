"""Credits delays that become known late to the slots that they belong to."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lad_rllib import names
from lad_rllib.algorithms.common.replay_buffer import SlotSample


class DelayedRewards:
    """Slots of the running episodes that wait for delays, in order.

    An environment over real edge servers learns a task's delay when its image is there, some slots after the decision
    (infos ``reported_delays``). A slot's transitions are complete when all its delays are known; they are released in
    the order of the slots, so that the replay buffer sees an episode as it happened. An environment that knows all
    delays at once (infos ``task_delays_s``) never waits.
    """

    def __init__(self) -> None:
        self._waiting: deque[SlotSample] = deque()

    def clear(self) -> None:
        """Forget the slots of episodes that were given up."""
        self._waiting.clear()

    def delays_s(self, infos: Sequence[Mapping[str, Any]], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Delays of a slot's tasks [s], shape (E, B, N): NaN where one is not known yet, 0 where there is no task.

        Args:
            infos: What the environments say of the step.
            mask: True where there is a task, shape (E, B, N).
        """
        if names.REPORTED_DELAYS not in infos[0]:
            return np.stack([info[names.TASK_DELAYS] for info in infos])
        return np.where(mask, np.float32(np.nan), np.float32(0.0))

    def add(self, sample: SlotSample, infos: Sequence[Mapping[str, Any]]) -> list[SlotSample]:
        """Take a slot and what was reported with it; returns the slots that are complete now.

        Raises:
            ValueError: if an environment reports a delay twice or of no task, or ends an episode without some.
        """
        self._waiting.append(sample)
        by_slot = {waiting.slot: waiting.delay_s for waiting in self._waiting}
        for episode, info in enumerate(infos):
            for slot, station, task, delay_s in info.get(names.REPORTED_DELAYS, ()):
                place = (episode, int(station), int(task))
                if int(slot) not in by_slot or not np.isnan(by_slot[int(slot)][place]):
                    raise ValueError(f"reported a delay that nobody waits for: slot {slot:.0f}, environment {place}")
                by_slot[int(slot)][place] = delay_s
        complete = []
        while self._waiting and not np.isnan(self._waiting[0].delay_s).any():
            complete.append(self._waiting.popleft())
        if sample.is_last and self._waiting:
            missing = sum(int(np.isnan(waiting.delay_s).sum()) for waiting in self._waiting)
            raise ValueError(f"an episode ended, but the delays of {missing} tasks were never reported")
        return complete


def known_delay_s(infos: Sequence[Mapping[str, Any]], delay_s: NDArray[np.float32]) -> NDArray[np.float64]:
    """Sum of the delays that became known in a step [s], shape (E,)."""
    if names.REPORTED_DELAYS not in infos[0]:
        return delay_s.sum(axis=(1, 2))
    return np.array([info[names.REPORTED_DELAYS][:, 3].sum() for info in infos])


def ended_tasks(infos: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Tasks that ended in a step, and those of them that ended in an error, by metric; nothing from a simulator."""
    if names.FAILED_TASKS not in infos[0]:
        return {}
    return {
        names.ENDED_TASKS: sum(len(info[names.REPORTED_DELAYS]) for info in infos),
        names.FAILED_TASKS: sum(int(info[names.FAILED_TASKS]) for info in infos),
    }
