"""RLlib callback of the per-station environment: the metrics of LAD-TS, for any algorithm."""

from __future__ import annotations

from typing import Any

from ray.rllib.callbacks.callbacks import RLlibCallback

from lad_rllib import names
from lad_rllib.envs.callbacks import yardstick_delay_s


class StationCallback(RLlibCallback):
    """Logs service delays under the names that LAD-TS uses, and sees to fresh arrivals in every episode.

    At the end of each episode of a :class:`~lad_rllib.envs.station_env.StationMultiAgentEnv`:
    ``env_runners/mean_service_delay_s`` [s]; beside it ``env_runners/greedy_oracle_delay_s`` [s], the greedy oracle on
    the same arrivals, and ``env_runners/delay_over_oracle``.
    """

    def on_episode_end(self, *, env: Any, env_index: int, metrics_logger: Any, **kwargs: Any) -> None:
        """Log the delays of the episode that just ended."""
        station_env = env.envs[env_index].unwrapped
        delay_s, oracle_s = station_env.mean_delay_s, yardstick_delay_s("greedy-oracle", station_env)
        metrics_logger.log_value(names.MEAN_DELAY, delay_s, reduce="mean")
        metrics_logger.log_value(names.ORACLE_DELAY, oracle_s, reduce="mean")
        metrics_logger.log_value(names.DELAY_OVER_ORACLE, delay_s / oracle_s, reduce="mean")

    def on_sample_end(self, *, env_runner: Any, **kwargs: Any) -> None:
        """Keep the runner from seeding its environments again.

        With ``batch_mode="complete_episodes"`` and a seed, RLlib 2.60 seeds the environments at every ``sample()``: all
        training iterations would play the very same arrivals.
        """
        env_runner._needs_initial_reset = False
