"""RLlib callback that plays yardstick schedulers on the very arrivals that were just learned from."""

from __future__ import annotations

from typing import Any

import numpy as np
from ray.rllib.callbacks.callbacks import RLlibCallback

from lad_rllib import names
from lad_rllib.scheduling import make_heuristic, play
from lad_rllib.simulator import Arrivals


class YardstickCallback(RLlibCallback):
    """Logs, at the end of each episode of a ``FleetVectorEnv``, what yardsticks need on the same arrivals.

    Under ``env_runners/``: ``greedy_oracle_delay_s`` and ``capacity_proportional_delay_s``, mean service delays [s]
    of the greedy oracle and of a random choice in proportion to capacity, and ``delay_over_oracle``, the episode's
    own over the oracle's. Below 1 the learned scheduler is better.
    """

    def on_episode_end(self, *, env_runner: Any, env: Any, env_index: int, metrics_logger: Any, **kwargs: Any) -> None:
        """Play the yardsticks on the arrivals of the episode that just ended."""
        oracle_s = yardstick_delay_s("greedy-oracle", env, env_index)
        proportional_s = yardstick_delay_s("capacity-proportional", env, env_index)
        own_s = env_runner.mean_delay_s[env_index]
        metrics_logger.log_value(names.ORACLE_DELAY, oracle_s, reduce="mean")
        metrics_logger.log_value(names.PROPORTIONAL_DELAY, proportional_s, reduce="mean")
        # An episode without a task has no delay to compare.
        metrics_logger.log_value(names.DELAY_OVER_ORACLE, own_s / oracle_s if oracle_s > 0 else 1.0, reduce="mean")


def yardstick_delay_s(scheduler: str, env: Any, env_index: int = 0) -> float:
    """Mean service delay [s] of a heuristic on the arrivals of an environment's present episode."""
    arrivals: Arrivals = env.simulator.arrivals
    only = slice(env_index, env_index + 1)
    one = Arrivals(
        arrivals.task_counts[only],
        arrivals.task_mbit[only],
        arrivals.denoising_steps[only],
        arrivals.density_gcycles_per_step[only],
        arrivals.result_mbit[only],
    )
    rng = np.random.default_rng(env_index)
    record = play(make_heuristic(scheduler), env.setting.network, one, rng, env.setting.num_slots - 1)
    return record.mean_delay_s
