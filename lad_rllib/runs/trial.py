"""One trial of a search: LAD-TS with some hyperparameters, trained with one or several seeds."""

from __future__ import annotations

import json
import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
from ray import tune
from ray.tune.execution.placement_groups import PlacementGroupFactory

from lad_rllib import durable, names

SCORE = "delay_over_oracle"
"""What is minimised: mean delay over the greedy oracle's on the same arrivals, of the last episodes and all seeds."""
WINDOW = 10
"""Iterations that the score covers."""
_COLUMNS = {"mean_service_delay_s": names.MEAN_DELAY, "oracle_delay_s": names.ORACLE_DELAY}
_STATE_FILE = "trial.json"


class TuningTrial(tune.Trainable):
    """Trains LAD-TS; an iteration is one iteration of every seed's algorithm, one after the other.

    Its configuration is a dictionary with

    - ``algorithm``: the configuration that all trials share, with
      :class:`~lad_rllib.envs.YardstickCallback`; or ``case``: a name and such an ``algorithm``,
    - ``training``: the trial's own arguments of its ``training()``,
    - ``seeds``: one seed, or a list.

    It reports ``delay_over_oracle`` (:data:`SCORE`), ``mean_service_delay_s`` and ``oracle_delay_s`` [s] as means of
    the last :data:`WINDOW` iterations and of all seeds, ``delay_over_oracle_sd`` over seeds, ``episodes`` of each
    seed; and of this iteration alone, as a mean of all seeds, ``iteration_delay_s`` and the delays of the yardsticks on
    the same arrivals, by their names in :mod:`lad_rllib.names` [s].
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Build the algorithms."""
        self.algorithms = [trial_config(config, seed).build_algo() for seed in seeds_of(config)]
        self._delays: deque[list[list[float]]] = deque(maxlen=WINDOW)  # iteration, seed, (own, oracle) [s]
        self._episodes = 0
        self._seconds = 0.0

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> PlacementGroupFactory:
        """What the algorithm asks for; runners and learners once for each seed, the driver once."""
        algorithm = algorithm_of(config)  # hyperparameters change nothing, and a wrong one is the trial's own failure
        request: PlacementGroupFactory = algorithm.algo_class.default_resource_request(algorithm.to_dict())
        driver, *others = request.bundles
        return PlacementGroupFactory([driver, *others * len(seeds_of(config))], strategy=request.strategy)

    def step(self) -> dict[str, Any]:
        """One iteration."""
        began_s = time.perf_counter()
        results = [algorithm.train()["env_runners"] for algorithm in self.algorithms]
        self._seconds += time.perf_counter() - began_s
        self._episodes += int(results[0]["num_episodes"])
        self._delays.append([[float(result[key]) for key in _COLUMNS.values()] for result in results])
        by_seed = np.array(self._delays).mean(axis=0)  # (seed, own and oracle)
        ratios = by_seed[:, 0] / by_seed[:, 1]
        return {
            "episodes": self._episodes,
            SCORE: float(ratios.mean()),
            f"{SCORE}_sd": float(ratios.std(ddof=1)) if len(ratios) > 1 else 0.0,
            **{column: float(value) for column, value in zip(_COLUMNS, by_seed.mean(axis=0), strict=True)},
            "iteration_delay_s": float(np.mean([own for own, _ in self._delays[-1]])),
            **{
                key: float(np.mean([result[key] for result in results]))
                for key in names.ALL_YARDSTICKS
                if key in results[0]
            },
            "training_s": self._seconds,
        }

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save every seed's algorithm."""
        folder = Path(checkpoint_dir)
        for index, algorithm in enumerate(self.algorithms):
            algorithm.save_to_path(str((folder / f"seed_{index}").resolve()))
        state = {"delays": list(self._delays), "episodes": self._episodes, "seconds": self._seconds}
        (folder / _STATE_FILE).write_text(json.dumps(state), encoding="utf-8")
        durable.seal(folder)

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """Go on from a checkpoint, maybe of a trial with other learning rates.

        Raises:
            ConfigurationError: if it is damaged.
        """
        folder = Path(checkpoint_dir)
        durable.check_seal(folder)
        for index, algorithm in enumerate(self.algorithms):
            algorithm.restore_from_path(str((folder / f"seed_{index}").resolve()))
        state = json.loads((folder / _STATE_FILE).read_text(encoding="utf-8"))
        self._delays = deque(state["delays"], maxlen=WINDOW)
        self._episodes, self._seconds = state["episodes"], state["seconds"]

    def cleanup(self) -> None:
        """Stop runners and learners."""
        for algorithm in self.algorithms:
            algorithm.stop()


def seeds_of(config: dict[str, Any]) -> list[int]:
    """The seeds of a trial, which its configuration has as a list, or as a number if a grid chose it."""
    seeds = config["seeds"]
    return list(seeds) if isinstance(seeds, (list, tuple)) else [seeds]


def algorithm_of(config: dict[str, Any]) -> Any:
    """The algorithm's configuration of a trial, without its own hyperparameters."""
    return config["case"]["algorithm"] if "case" in config else config["algorithm"]


def trial_config(config: dict[str, Any], seed: int) -> Any:
    """The checked configuration of a trial's algorithm.

    Raises:
        ConfigurationError: for hyperparameters that cannot be.
        TypeError: for one that does not exist.
    """
    algorithm = algorithm_of(config).copy(copy_frozen=False)
    algorithm.training(**config["training"]).debugging(seed=seed)
    algorithm.validate()
    return algorithm
