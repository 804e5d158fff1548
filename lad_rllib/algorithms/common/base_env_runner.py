"""Env runner of a scheduling algorithm, whatever it plays: its seed, its state, and its loan to an evaluation."""

from __future__ import annotations

import contextlib
import sys
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger


class SchedulingEnvRunner(SingleAgentEnvRunner):
    """What the runners of all algorithms share; siblings add how they play."""

    metrics: MetricsLogger

    def __init__(self, *, config: Any, **kwargs: Any) -> None:
        torch.set_num_threads(config.torch_threads)
        self._evaluations = 0
        with _without_importing_the_compiler():
            super().__init__(config=config, **kwargs)
        # RLlib gives every runner a seed of its own, evaluation runners included; without one, draw it.
        self._entropy = int(np.random.SeedSequence(self._seed).generate_state(1)[0])

    def for_the_way(self, samples: list[Any]) -> list[Any]:
        """What is sent to the algorithm in place of what was played.

        A sibling that plays more than a little holds it ready for the learners, and sends references.
        """
        return samples

    @abstractmethod
    def get_runner_state(self) -> dict[str, Any]:
        """What this runner alone knows and a checkpoint needs."""

    @abstractmethod
    def set_runner_state(self, state: Mapping[str, Any]) -> None:
        """Continue where :meth:`get_runner_state` was called."""

    @abstractmethod
    def start_like(self, state: Mapping[str, Any]) -> None:
        """Begin with what runners share, from another runner's state."""

    @abstractmethod
    def _begin_evaluation(self) -> None:
        """Go on with randomness that is this evaluation's own."""

    @contextlib.contextmanager
    def evaluating(self, explore: bool) -> Iterator[None]:
        """Lend a training runner to an evaluation: randomness and metrics of its own; all is put back after.

        A training episode that is under way is given up.
        """
        self._evaluations += 1
        state, metrics, training_explore = self.get_runner_state(), self.metrics, self.config.explore
        self._begin_evaluation()
        self.metrics = MetricsLogger(stats_cls_lookup=self.config.stats_cls_lookup, root=False)
        self.config.explore, self.config.in_evaluation = explore, True
        try:
            yield
        finally:
            self.set_runner_state(state)
            self.metrics = metrics
            self.config.explore, self.config.in_evaluation = training_explore, False


@contextlib.contextmanager
def _without_importing_the_compiler() -> Iterator[None]:
    """Let RLlib ask for deterministic algorithms, as it does with a seed, without the import of torch's compiler.

    ``torch.use_deterministic_algorithms`` also tells the compiler. A runner compiles nothing, and that import is
    a fifth of what its process takes to start.
    """
    telling_the_compiler = torch.use_deterministic_algorithms
    if "torch._inductor" not in sys.modules:
        torch.use_deterministic_algorithms = _use_deterministic_algorithms
    try:
        yield
    finally:
        torch.use_deterministic_algorithms = telling_the_compiler


def _use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    error = "warn" if warn_only else "error"
    torch.set_deterministic_debug_mode(error if mode else "default")


def seed_word(*entropy: int) -> int:
    """A seed of 32 bits made of some numbers."""
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint32)[0])
