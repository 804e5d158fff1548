"""What the training runners play for an algorithm, and the state that each of them has.

A runner has ``collect(fragment)``, which returns samples in order, the last one of an episode marked ``is_last``;
``for_the_way(samples)``, which gives what is sent in their place; ``get_runner_state()``, ``set_runner_state(state)``,
and ``start_like(state of another runner)``, which takes what runners may share.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, ENV_RUNNER_SAMPLING_TIMER, TIMERS

from lad_rllib import names
from lad_rllib.algorithms.common.collecting import Answer, Collecting

if TYPE_CHECKING:
    from lad_rllib.algorithms.common.base_algorithm import SchedulingAlgorithm


class Rollouts:
    """Episodes of the training runners, round by round, and the runners' states.

    Attributes:
        states: State of each remote runner after the last episode of it that was learned from, by index.
    """

    def __init__(self, algorithm: SchedulingAlgorithm) -> None:
        self._algorithm = algorithm
        self._collecting = Collecting(algorithm)
        self.states: dict[int, dict[str, Any]] = {}

    @property
    def are_remote(self) -> bool:
        """Whether remote runners play, and not the local one."""
        return bool(self._algorithm.env_runner_group.num_remote_env_runners())

    def rounds(self) -> Iterator[list[Any]]:
        """Play one episode in every environment; yields the samples of each fragment."""
        return self._remote_rounds() if self.are_remote else self._local_rounds()

    def _local_rounds(self) -> Iterator[list[Any]]:
        algorithm, runner = self._algorithm, self._algorithm.env_runner
        fragment = algorithm.config.get_rollout_fragment_length()
        done = False
        while not done:
            with algorithm.metrics.log_time((TIMERS, ENV_RUNNER_SAMPLING_TIMER)):
                samples = runner.for_the_way(runner.collect(fragment))
            yield samples
            done = bool(samples) and samples[-1].is_last
        algorithm.metrics.aggregate([runner.get_metrics()], key=ENV_RUNNER_RESULTS)

    def _remote_rounds(self) -> Iterator[list[Any]]:
        """Samples of all remote runners, interleaved one by one, until every healthy one ended its episode.

        Raises:
            ConfigurationError: of an environment that cannot work: a restart would not help.
            RuntimeError: if none ended one.
        """
        algorithm = self._algorithm
        fragment = algorithm.config.get_rollout_fragment_length()
        running: set[int] | None = None  # all
        may_wait, finished = True, 0
        while running is None or running:
            with algorithm.metrics.log_time((TIMERS, ENV_RUNNER_SAMPLING_TIMER)):
                answers = self._collecting.next_answers(fragment, running)
            if not answers and may_wait and self._collecting.wait_for_restarted_runners():
                running, may_wait = None, False
                continue
            ended = {index: answer for index, answer in answers.items() if answer.state is not None}
            running = answers.keys() - ended.keys()
            self._end(ended)
            finished += len(ended)
            may_wait = may_wait and not ended
            by_runner = [answer.samples for answer in answers.values()]
            longest = max(map(len, by_runner), default=0)
            yield [samples[k] for k in range(longest) for samples in by_runner if k < len(samples)]
        if not finished:
            raise RuntimeError(
                "no environment runner finished an episode: each failed (RLlib has logged why), or took longer than "
                f"sample_timeout_s={algorithm.config.sample_timeout_s}"
            )

    def _end(self, answers: Mapping[int, Answer]) -> None:
        """Take note of episodes that are learned from now."""
        if answers:
            metrics, version = self._algorithm.metrics, self._algorithm.weights.version
            self.states |= {index: answer.state or {} for index, answer in answers.items()}
            metrics.aggregate([answer.metrics for answer in answers.values()], key=ENV_RUNNER_RESULTS)
            behind = max(version - answer.version for answer in answers.values())
            metrics.log_value(names.STALENESS, behind, window=1)

    # -- States ---------------------------------------------------------------------------------------------------

    def runners_came_back(self, indices: Collection[int]) -> None:
        """Give restarted runners the states that they had after the last episode that was learned from."""
        self._collecting.drop(indices)
        self.spread(self.states, indices)

    def restart(self, states: Mapping[int, dict[str, Any]]) -> None:
        """Go on from saved states; what was played and not learned from is forgotten."""
        self._collecting.forget()
        self.states = {int(index): value for index, value in states.items()}
        self.spread(self.states)

    def present_states(self) -> dict[int, dict[str, Any]]:
        """State of every training runner, by index; a local one is asked, remote ones' are of their last episode."""
        return dict(self.states) if self.are_remote else {0: self._algorithm.env_runner.get_runner_state()}

    def first_state(self) -> dict[str, Any] | None:
        """State of the first training runner; None: nothing was sampled."""
        states = self.present_states()
        return states[min(states)] if states else None

    def spread(self, states: Mapping[int, dict[str, Any]], indices: Collection[int] | None = None) -> None:
        """Give runners their saved states; those without one take what they can from the first one's.

        Args:
            states: State of each runner by index.
            indices: Remote runners that take theirs; None: all runners, the local one included.
        """
        if not states:
            return
        first = states[min(states)]
        states = dict(states)

        def restore(runner: Any) -> None:
            own = states.get(runner.worker_index or 0)
            if own is not None and runner.env is not None:
                runner.set_runner_state(own)
            else:
                runner.start_like(first)

        self._algorithm.env_runner_group.foreach_env_runner(
            restore, remote_worker_ids=None if indices is None else list(indices), local_env_runner=indices is None
        )
