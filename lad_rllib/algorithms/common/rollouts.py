"""What the training runners play for an algorithm, and the state that each of them has.

A runner has ``collect(fragment)``, which returns samples in order, the last one of an episode marked ``is_last``;
``get_runner_state()``, ``set_runner_state(state)``, and ``start_like(state of another runner)``, which takes what
runners may share.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, ENV_RUNNER_SAMPLING_TIMER, TIMERS

from lad_rllib.errors import ConfigurationError

if TYPE_CHECKING:
    from lad_rllib.algorithms.common.base_algorithm import SchedulingAlgorithm

RESTART_WAIT_S = 120.0
"""How long a training step waits for a runner to come back when all have died [s]."""


class Rollouts:
    """Episodes of the training runners, round by round, and the runners' states.

    Attributes:
        states: State of each remote runner after its last finished episode, by index.
    """

    def __init__(self, algorithm: SchedulingAlgorithm) -> None:
        self._algorithm = algorithm
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
                samples = runner.collect(fragment)
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
                results = algorithm.env_runner_group.foreach_env_runner(
                    lambda runner: _collect_remotely(runner, fragment),
                    local_env_runner=False,
                    remote_worker_ids=None if running is None else sorted(running),
                    timeout_seconds=algorithm.config.sample_timeout_s,
                )
            if not results and may_wait and self._wait_for_restarted_runners():
                running, may_wait = None, False
                continue
            running = set()
            for index, _, metrics, state in results:
                if isinstance(state, ConfigurationError):
                    raise ConfigurationError(f"environment runner {index}: {state}")
                if state is None:
                    running.add(index)
                else:
                    may_wait = False
                    finished += 1
                    self.states[index] = state
                    algorithm.metrics.aggregate([metrics], key=ENV_RUNNER_RESULTS)
            by_runner = [samples for _, samples, _, _ in results]
            longest = max(map(len, by_runner), default=0)
            yield [samples[k] for k in range(longest) for samples in by_runner if k < len(samples)]
        if not finished:
            raise RuntimeError(
                "no environment runner finished an episode: each failed (RLlib has logged why), or took longer than "
                f"sample_timeout_s={algorithm.config.sample_timeout_s}"
            )

    def _wait_for_restarted_runners(self) -> bool:
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

    # -- States ---------------------------------------------------------------------------------------------------

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


def _collect_remotely(
    runner: Any, fragment: int | None
) -> tuple[int, list[Any], Any, dict[str, Any] | ConfigurationError | None]:
    """Runs on a remote runner: its index, samples, and - at the end of an episode - metrics and state, or its error."""
    try:
        samples = runner.collect(fragment)
    except ConfigurationError as error:
        return runner.worker_index, [], None, error
    if not (samples and samples[-1].is_last):
        return runner.worker_index, samples, None, None
    return runner.worker_index, samples, runner.get_metrics(), runner.get_runner_state()
