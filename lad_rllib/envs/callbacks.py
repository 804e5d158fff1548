"""RLlib callbacks: yardstick schedulers on the arrivals of the episode that just ended, and stations' delays."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from ray.rllib.callbacks.callbacks import RLlibCallback

from lad_rllib import names
from lad_rllib.scheduling import make_heuristic, play
from lad_rllib.simulator import Arrivals
from lad_rllib.simulator.order import FirstInFirstOut

if TYPE_CHECKING:
    from lad_rllib.simulator.requests import Requests, RequestWorld


class YardstickCallback(RLlibCallback):
    """Logs, at the end of each episode of a fleet environment, what yardsticks need on the same arrivals.

    Under ``env_runners/``: ``greedy_oracle_delay_s``, ``water_filling_delay_s`` and ``capacity_proportional_delay_s``,
    mean service delays [s] of the greedy oracle and of two heuristics that choose at random and learn nothing, and
    ``delay_over_oracle``, the episode's own over the oracle's. Below 1 the learned scheduler is better.
    """

    def on_episode_end(self, *, env_runner: Any, env: Any, env_index: int, metrics_logger: Any, **kwargs: Any) -> None:
        """Play the yardsticks on the arrivals of the episode that just ended."""
        log_yardsticks(metrics_logger, env_runner.mean_delay_s[env_index], env, env_index)


class StationCallback(RLlibCallback):
    """Logs service delays under the names that LAD-TS uses, and keeps arrivals fresh in every episode.

    At the end of each episode of a :class:`~lad_rllib.envs.station_env.StationMultiAgentEnv`:
    ``env_runners/mean_service_delay_s`` [s], and beside it what
    :class:`YardstickCallback` logs.
    """

    def on_episode_end(self, *, env: Any, env_index: int, metrics_logger: Any, **kwargs: Any) -> None:
        """Log the delays of the episode that just ended."""
        station_env = env.envs[env_index].unwrapped
        metrics_logger.log_value(names.MEAN_DELAY, station_env.mean_delay_s, reduce="mean")
        log_yardsticks(metrics_logger, station_env.mean_delay_s, station_env)

    def on_sample_end(self, *, env_runner: Any, **kwargs: Any) -> None:
        """Keep the runner from seeding its environments again.

        With ``batch_mode="complete_episodes"`` and a seed, RLlib 2.60 seeds the environments at every ``sample()``: all
        training iterations would play the very same arrivals.
        """
        env_runner._needs_initial_reset = False


class RequestYardstickCallback(RLlibCallback):
    """Logs, at the end of each episode that LAD-Dispatch played, what yardsticks need on the same requests.

    Under ``env_runners/``: ``greedy_oracle_delay_s``, the mean service delay [s] of the shortest expected delay, first
    in, first out, with the work of each request known: the greedy oracle's; ``least_work_left_delay_s``, of the least
    work left in the environment's own order of service; and ``delay_over_oracle``, the episode's own over the oracle's.
    """

    def on_episode_end(self, *, episode: Any, metrics_logger: Any, **kwargs: Any) -> None:
        """Play the yardsticks on the requests of the episode that just ended."""
        world, requests = episode.world, episode.served.requests
        worlds = {names.ORACLE_DELAY: replace(world, order=FirstInFirstOut(), work="known")}
        delays = {
            key: request_yardstick_delay_s(scheduler, worlds.get(key, world), requests)
            for scheduler, key in names.REQUEST_YARDSTICKS.items()
        }
        delays[names.DELAY_OVER_ORACLE] = float(episode.served.delay_s.mean()) / delays[names.ORACLE_DELAY]
        for key, value in delays.items():
            metrics_logger.log_value(key, value, reduce="mean")


def request_yardstick_delay_s(scheduler: str, world: RequestWorld, requests: Requests) -> float:
    """Mean service delay [s] of a scheduler of requests that needs neither history nor randomness."""
    from lad_rllib.scheduling.request_scheduler import REQUEST_SCHEDULERS, play_requests  # loads the compiler

    made = REQUEST_SCHEDULERS[scheduler]()
    served = play_requests(made, world, requests, requests[:0], np.random.default_rng(0))
    return float(served.delay_s.mean())


def log_yardsticks(metrics_logger: Any, own_s: float, env: Any, env_index: int = 0) -> None:
    """Log the yardsticks' mean delays on an environment's present episode, and ``own_s`` over the oracle's."""
    delays = {key: yardstick_delay_s(scheduler, env, env_index) for scheduler, key in names.YARDSTICKS.items()}
    oracle_s = delays[names.ORACLE_DELAY]
    # An episode without a task has no delay to compare.
    delays[names.DELAY_OVER_ORACLE] = own_s / oracle_s if oracle_s > 0 else 1.0
    for key, value in delays.items():
        metrics_logger.log_value(key, value, reduce="mean")


def yardstick_delay_s(scheduler: str, env: Any, env_index: int = 0) -> float:
    """Mean service delay [s] of a heuristic on the arrivals of an environment's present episode."""
    arrivals: Arrivals = env.arrivals
    one = arrivals.episodes(slice(env_index, env_index + 1))
    rng = np.random.default_rng(env_index)
    record = play(make_heuristic(scheduler), env.setting.network, one, rng, env.setting.num_slots - 1)
    return record.mean_delay_s
