"""RLlib callback of the per-station environment: the metrics of LAD-TS, for any algorithm."""

from __future__ import annotations

from typing import Any

from ray.rllib.callbacks.callbacks import RLlibCallback

from lad_rllib import names
from lad_rllib.envs.callbacks import log_yardsticks


class StationCallback(RLlibCallback):
    """Logs service delays under the names that LAD-TS uses, and sees to fresh arrivals in every episode.

    At the end of each episode of a :class:`~lad_rllib.envs.station_env.StationMultiAgentEnv`:
    ``env_runners/mean_service_delay_s`` [s], and beside it what
    :class:`~lad_rllib.envs.callbacks.YardstickCallback` logs.
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
