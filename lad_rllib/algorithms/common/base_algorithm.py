"""What all algorithms share around their training loop: setup, runners, checkpoints, policies, divergence."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Collection
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    LEARNER_RESULTS,
    LEARNER_UPDATE_TIMER,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    TIMERS,
)

from lad_rllib.algorithms.common.base_config import SchedulingConfig
from lad_rllib.algorithms.common.base_learner import DIVERGED
from lad_rllib.algorithms.common.meaning import check_same_meaning
from lad_rllib.algorithms.common.policy_file import read_policy, write_policy
from lad_rllib.algorithms.common.resources import require_room
from lad_rllib.algorithms.common.rollouts import Rollouts
from lad_rllib.algorithms.common.weights import WeightSharing
from lad_rllib.errors import ConfigurationError, TrainingDiverged

LEARNING_STATE = "learning_state"
"""Component of a checkpoint: what an exact continuation needs besides RLlib's state."""


class Stateful(Protocol):
    """A part of an algorithm that a checkpoint holds."""

    def get_state(self) -> dict[str, Any]:
        """What is saved."""

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over what was saved."""


class SchedulingAlgorithm(Algorithm):
    """Learns to schedule; a sibling says in ``training_step()`` what is played and what is learned from it.

    One ``train()`` plays one episode in every environment of every runner. The learner owns weights and optimisers;
    what a runner alone knows is its state, which checkpoints hold and restarted runners get back.

    Attributes:
        after_round: Called in ``train()`` each time that a round of samples was played, with how many times that was in
            this iteration.
        sampling_rng: Randomness of batches.
        learning_state: Parts of the sibling's own, by name, that checkpoints hold.
    """

    config: SchedulingConfig

    def setup(self, config: SchedulingConfig) -> None:
        """Build runners and learners."""
        torch.set_num_threads(config.torch_threads)
        known = vars(self.get_default_config())  # a configuration's subclass may have settings of its own
        settings = {key: value for key, value in config.to_dict().items() if key in known}
        require_room(self.default_resource_request(settings).bundles[1:])  # the first is this process
        self.learning_state: dict[str, Stateful] = {}
        super().setup(config)
        self.after_round: Callable[[int], None] = lambda number: None
        self.rollouts, self.weights = Rollouts(self), WeightSharing(self)
        self.sampling_rng = np.random.default_rng(None if self.config.seed is None else [self.config.seed, 1])

    # -- Learners -------------------------------------------------------------------------------------------------

    def update_learners(self, columns: dict[str, Any], samples: int) -> None:
        """One update of all learners, from a batch.

        Args:
            columns: Batch by column; RLlib shards axis 0 over learners.
            samples: Length of that axis.
        """
        if self.learner_group.is_local:
            # Zero-copy; remote learners make their own tensors.
            device = self.learner_group._learner.device
            for key, value in columns.items():
                columns[key] = torch.from_numpy(np.require(value, requirements="W")).to(device)
        batch = MultiAgentBatch({DEFAULT_MODULE_ID: SampleBatch(columns)}, env_steps=samples)
        self.learn_from(TrainingData(batch=batch))

    def learn_from(self, data: TrainingData) -> None:
        """One update of all learners."""
        with self.metrics.log_time((TIMERS, LEARNER_UPDATE_TIMER)):
            self.learner_group.update(
                training_data=data,
                timesteps={
                    NUM_ENV_STEPS_SAMPLED_LIFETIME: self.metrics.peek(
                        (ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), default=0
                    )
                },
                _no_metrics_reduce=True,
            )

    def end_iteration(self) -> None:
        """Report what learners did, and end training that has diverged."""
        self._check_finite(f"in iteration {self.iteration + 1}; checkpoints from before are untouched")
        results = self.learner_group.foreach_learner(lambda learner: learner.reduce_metrics())
        self.metrics.aggregate([result.get() for result in results], key=LEARNER_RESULTS)

    def on_learners(self, function: Callable[[Any], None]) -> None:
        """Call a function on every learner; what one of them raises is raised here."""
        for result in self.learner_group.foreach_learner(function):
            result.get()

    def _check_finite(self, circumstances: str) -> None:
        """End training that has diverged, before it is saved.

        Raises:
            TrainingDiverged: names the loss or weight.
        """
        for result in self.learner_group.foreach_learner(lambda learner: learner.not_finite()):
            if (name := result.get()) is not None:
                raise TrainingDiverged(
                    f"training has diverged: {name} is not finite, or beyond {DIVERGED:g}, {circumstances}; "
                    "lower the learning rates, or set grad_clip"
                )

    # -- Runners and evaluation -----------------------------------------------------------------------------------

    def restore_env_runners(self, env_runner_group: Any) -> list[int]:
        """Bring restarted runners up to date: weights (RLlib), then the state they had."""
        restored: list[int] = super().restore_env_runners(env_runner_group)
        if restored and env_runner_group is self.env_runner_group:
            self.rollouts.runners_came_back(restored)
        return restored

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Evaluate with a copy of what the first training runner remembers; training is not touched."""
        state = self.rollouts.first_state()
        if self.eval_env_runner_group is not None and state is not None:
            self.eval_env_runner_group.foreach_env_runner(lambda runner: runner.start_like(state))
        results: dict[str, Any] = super().evaluate(*args, **kwargs)
        return results

    def _evaluate_on_local_env_runner(self, env_runner: Any) -> Any:
        if env_runner is not self.env_runner:
            return super()._evaluate_on_local_env_runner(env_runner)
        if env_runner.env is None:
            raise ConfigurationError(
                "there is no runner to evaluate on; set evaluation_interval or evaluation_num_env_runners >= 1"
            )
        state = self.rollouts.first_state()
        with env_runner.evaluating(explore=self.evaluation_config.explore):
            if state is not None:
                env_runner.start_like(state)
            return super()._evaluate_on_local_env_runner(env_runner)

    # -- Checkpoints ----------------------------------------------------------------------------------------------

    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """RLlib's state, and what an exact continuation needs besides: runners, sampling, the sibling's own parts."""
        state: dict[str, Any] = super().get_state(components, not_components=not_components, **kwargs)
        if self._check_component(LEARNING_STATE, components, not_components):
            state[LEARNING_STATE] = {
                "runner_states": self.rollouts.present_states(),
                "sampling_rng": self.sampling_rng.bit_generator.state,
                "parts": {name: part.get_state() for name, part in self.learning_state.items()},
            }
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from a state, also an older one than the present."""
        super().set_state(state)
        if (saved := state.get(LEARNING_STATE)) is not None:
            for name, part in self.learning_state.items():
                part.set_state(saved["parts"][name])
            self.sampling_rng.bit_generator.state = saved["sampling_rng"]
            self.rollouts.restart(saved["runner_states"])
        self.weights.force()

    def restore_from_path(self, path: str | pathlib.Path, *args: Any, **kwargs: Any) -> None:
        """Restore a checkpoint; runners take its weights even if theirs are newer."""
        super().restore_from_path(path, *args, **kwargs)
        self.weights.force()

    def save_to_path(
        self,
        path: str | pathlib.Path | None = None,
        *,
        state: dict[str, Any] | None = None,
        filesystem: Any = None,
        use_msgpack: bool = False,
    ) -> str:
        """Save a checkpoint, and in its folder ``policy`` what serves and shares the policy without any pickle.

        Raises:
            TrainingDiverged: if a weight is not finite; nothing is written.
        """
        self._check_finite("so no checkpoint is written")
        saved: str = super().save_to_path(path, state=state, filesystem=filesystem, use_msgpack=use_msgpack)
        write_policy(self, saved, filesystem)
        return saved

    def start_from(self, path: str | pathlib.Path) -> None:
        """Take over what another run has learned: weights, and what runners remember.

        Replay buffers, optimisers, counts and arrivals stay as they are. For fine-tuning where delays are other than
        in the first run, for example on real servers after a simulator of them.

        Args:
            path: Checkpoint of a run, or its folder ``policy``. A fleet in slots takes one with equally many base
                stations and edge servers; where the network or the latent memory knows fewer tasks of a station than
                there are here, further ones start as the last one.

        Raises:
            ConfigurationError: if it is none, or was trained with another value of what the weights' meaning depends
                on; see :mod:`lad_rllib.algorithms.common.meaning`.
        """
        saved = read_policy(path)
        if saved.title != self.config.title:
            raise ConfigurationError(f"{path} is a checkpoint of {saved.title}, this algorithm is {self.config.title}")
        check_same_meaning(path, saved.meaning, self.config.meaning())
        weights = self.adapt_weights(dict(saved.weights))
        self.learner_group.set_state({COMPONENT_LEARNER: {COMPONENT_RL_MODULE: {DEFAULT_MODULE_ID: weights}}})
        self.start_runners_from(saved)
        self.weights.force()

    def start_runners_from(self, saved: Any) -> None:
        """Give runners what they remember in another run's policy."""

    def settle(self) -> str | None:
        """At the end of a run that started from another's policy: go back to that if it does better.

        Returns:
            What was found, in words; None where nothing is judged.
        """
        return None

    def adapt_weights(self, weights: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Another run's weights by name, as this run starts from them."""
        return weights
