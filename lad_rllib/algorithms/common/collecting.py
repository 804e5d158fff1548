"""Requests to remote runners to play: who plays with which weights, and what came back and was not learned from yet."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lad_rllib.errors import ConfigurationError

if TYPE_CHECKING:
    from lad_rllib.algorithms.common.base_algorithm import SchedulingAlgorithm

TAG = "collect"
LOOK_EVERY_S = 0.02
"""How long one look for answers waits for all of them [s]."""
RESTART_WAIT_S = 120.0
"""How long a training step waits for a runner to come back when all have died [s]."""


@dataclass(frozen=True)
class Answer:
    """What a runner has played.

    Attributes:
        samples: For the algorithm, as the runner sends them on their way.
        metrics: At the end of an episode: the runner's metrics.
        state: At the end of an episode: what the runner alone knows.
        error: Of an environment that cannot work.
        version: Version of the weights that it played with, see
            :class:`~lad_rllib.algorithms.common.weights.WeightSharing`.
    """

    samples: list[Any]
    metrics: Any = None
    state: dict[str, Any] | None = None
    error: ConfigurationError | None = None
    version: int = 0


class Collecting:
    """Has remote runners play, by RLlib's asynchronous requests, each at its own pace within a bound.

    A runner may have ``max_staleness + 1`` answers that were not learned from, with the one that it plays for. Each
    iteration learns from one answer of every runner, so that an answer is learned from at most ``max_staleness``
    updates after the weights that it was played with. With 0 runners wait for new weights; with 1 they play the next
    episodes while the learner learns from the last ones. Which weights they play with does not depend on the clock
    with 0 and 1; with more it does.

    A runner that dies is waited for no longer; what it had played and was not learned from is dropped, since it plays
    that again when it comes back.
    """

    def __init__(self, algorithm: SchedulingAlgorithm) -> None:
        self._algorithm = algorithm
        self._under_way: dict[int, int] = {}  # runner -> version of its weights
        self._answers: defaultdict[int, deque[Answer]] = defaultdict(deque)

    def next_answers(self, fragment: int | None, runners: Collection[int] | None = None) -> dict[int, Answer]:
        """One answer of every healthy runner, by its index; none: all have died.

        Args:
            fragment: What a runner plays at a time, see ``collect()`` of the runner; None: whole episodes.
            runners: Runners that are to play; None: all.

        Raises:
            ConfigurationError: of an environment that cannot work: a restart would not help.
        """
        end_s = self._deadline_s()
        while True:
            wanted = self._healthy(runners)
            self._drop_stale()
            self._ask(wanted, fragment)
            if all(self._answers[index] for index in wanted):
                break
            if time.monotonic() > end_s:
                wanted = {index for index in wanted if self._answers[index]}
                break
            self._fetch(min(LOOK_EVERY_S, max(end_s - time.monotonic(), 0.0)))
        return {index: self._answers[index].popleft() for index in sorted(wanted)}

    def forget(self) -> None:
        """Let runners end what they play, and drop all that was not learned from."""
        while self._under_way:
            self._healthy(None)
            self._fetch(LOOK_EVERY_S)
        self._answers.clear()

    def drop(self, runners: Collection[int]) -> None:
        """Forget what runners were asked for that have died, and what they had answered."""
        for index in runners:
            self._under_way.pop(index, None)
            self._answers.pop(index, None)

    def _deadline_s(self) -> float:
        limit_s = self._algorithm.config.sample_timeout_s
        return float("inf") if limit_s is None else time.monotonic() + limit_s

    def _healthy(self, runners: Collection[int] | None) -> set[int]:
        """Healthy runners among some; forgets all others' requests and answers."""
        healthy = set(self._algorithm.env_runner_group.healthy_env_runner_ids())
        self.drop({*self._under_way, *self._answers} - healthy)
        return healthy if runners is None else healthy & set(runners)

    def _drop_stale(self) -> None:
        """Drop answers that came too late, after ``sample_timeout_s``."""
        oldest = self._algorithm.weights.version - self._algorithm.config.max_staleness
        for answers in self._answers.values():
            while answers and answers[0].version < oldest:
                answers.popleft()

    def _ask(self, runners: Collection[int], fragment: int | None) -> None:
        """Have idle runners play that are not too far ahead."""
        ahead = self._algorithm.config.max_staleness
        idle = [i for i in sorted(runners) if i not in self._under_way and len(self._answers[i]) <= ahead]
        if not idle:  # RLlib takes no runners for all of them
            return
        weights = self._algorithm.weights
        self._algorithm.env_runner_group.foreach_env_runner_async(
            _play,
            tag=TAG,
            kwargs={"fragment": fragment, "weights": weights.latest, "version": weights.version},
            remote_worker_ids=idle,
        )
        self._under_way |= dict.fromkeys(idle, weights.version)

    def _fetch(self, wait_s: float) -> None:
        """Take in the answers that are there."""
        group = self._algorithm.env_runner_group
        for index, answer in group.fetch_ready_async_reqs(tags=TAG, timeout_seconds=wait_s):
            if answer.error is not None:
                raise ConfigurationError(f"environment runner {index}: {answer.error}")
            self._under_way.pop(index, None)
            self._answers[index].append(answer)

    def wait_for_restarted_runners(self) -> bool:
        """If all remote runners died, wait for Ray to bring one back: an iteration without an episode has no delay."""
        algorithm, group = self._algorithm, self._algorithm.env_runner_group
        deadline = time.monotonic() + RESTART_WAIT_S
        while not group.num_healthy_remote_env_runners() and time.monotonic() < deadline:
            if restored := algorithm.restore_env_runners(group):
                algorithm._make_on_env_runners_recreated_callbacks(
                    config=algorithm.config, env_runner_group=group, restored_env_runner_indices=restored
                )
                return True
            time.sleep(0.5)
        return False


def _play(runner: Any, fragment: int | None, weights: dict[str, Any] | None, version: int) -> Answer:
    """Runs on a remote runner."""
    if weights is not None:
        runner.set_state(weights)
    try:
        samples = runner.collect(fragment)
    except ConfigurationError as error:
        return Answer([], error=error)
    answer = Answer(runner.for_the_way(samples), version=version)
    if not (samples and samples[-1].is_last):
        return answer
    return replace(answer, metrics=runner.get_metrics(), state=runner.get_runner_state())
