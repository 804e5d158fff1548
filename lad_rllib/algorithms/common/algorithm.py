"""LAD-TS: latent action diffusion task scheduling, as an RLlib algorithm."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    ENV_RUNNER_SAMPLING_TIMER,
    LEARNER_RESULTS,
    LEARNER_UPDATE_TIMER,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    SYNCH_WORKER_WEIGHTS_TIMER,
    TIMERS,
)

from lad_rllib import names
from lad_rllib.algorithms.common.actors import ActingNetworks
from lad_rllib.algorithms.common.config import LADTSConfig
from lad_rllib.algorithms.common.env_runner import LADTSEnvRunner
from lad_rllib.algorithms.common.latent_memory import for_tasks
from lad_rllib.algorithms.common.learner import DIVERGED, READY
from lad_rllib.algorithms.common.meaning import check_same_meaning
from lad_rllib.algorithms.common.policy_file import read_policy, write_policy
from lad_rllib.algorithms.common.replay_buffer import FleetReplayBuffer, SlotSample
from lad_rllib.algorithms.common.resources import require_room
from lad_rllib.algorithms.lad_pmd import ImprovementSet, StepSize, averaging_share
from lad_rllib.errors import ConfigurationError, TrainingDiverged

REPLAY_BUFFER = "replay_buffer"
RUNNER_STATES = "runner_states"
SAMPLING_RNG = "sampling_rng"
UPDATES_DUE = "updates_due"
IMPROVEMENTS = "improvements"

RESTART_WAIT_S = 120.0
"""How long a training step waits for a runner to come back when all have died [s]."""


class LADTS(Algorithm):
    """Learns where to send each task, with latent action diffusion actors.

    One ``train()`` plays one episode in every environment. With the paper's objective, each base station learns by soft
    actor-critic from its own delays: with a local environment runner, weights move on after every slot, as in the
    published code; with remote ones after every ``rollout_fragment_length`` slots ("auto": an episode). With a system
    objective they move on after whole episodes, by policy mirror descent on what each task costs all. The algorithm
    owns the replay buffers; the learner weights, temperatures and optimisers; the runners the latent memories (see
    :mod:`~lad_rllib.algorithms.common.latent_memory` for what becomes of them).

    Attributes:
        after_round: Called in ``train()`` each time that ``rollout_fragment_length`` slots were played, with how many
            times that was in this iteration.
    """

    @classmethod
    def get_default_config(cls) -> LADTSConfig:
        """The published settings."""
        return LADTSConfig(algo_class=cls)

    def setup(self, config: LADTSConfig) -> None:
        """Build runners, learners and replay buffers."""
        torch.set_num_threads(config.torch_threads)
        settings = {key: value for key, value in config.to_dict().items() if key != "class"}  # which from_state() adds
        require_room(self.default_resource_request(settings).bundles[1:])  # the first is this process
        super().setup(config)
        observation_space, _ = self.spaces[INPUT_ENV_SINGLE_SPACES]
        servers = observation_space[names.QUEUES].shape[0]
        self.config.check_target_entropy(servers)
        self.replay_buffer = FleetReplayBuffer(
            num_stations=observation_space[names.TASKS].shape[0],
            num_servers=servers,
            capacity=0 if self.config.learns_from_costs else self.config.replay_capacity,
            latent_size=self.config.latent_size(servers),
            latent_after_acting=self.config.replay_latent == "after_acting",
            zero_next_queues=self.config.replay_next_queues == "zeros",
            kernels=self.config.kernels,
        )
        self.after_round: Callable[[int], None] = lambda number: None
        self._sampling_rng = np.random.default_rng(None if self.config.seed is None else [self.config.seed, 1])
        self._updates_due = 0.0
        self._improvements = 0
        self._copied: dict[ActingNetworks, list[torch.Tensor]] = {}
        self._runner_states: dict[int, dict[str, Any]] = {}

    @property
    def _has_remote_runners(self) -> bool:
        return bool(self.env_runner_group.num_remote_env_runners())

    # -- Training -------------------------------------------------------------------------------------------------

    def training_step(self) -> None:
        """Play one episode in every environment; store, learn and share weights on the way."""
        rounds = self._remote_rounds() if self._has_remote_runners else self._local_rounds()
        for number, samples in enumerate(rounds, start=1):
            self.after_round(number)
            if self.config.learns_from_costs:
                self._improve(samples)
            else:
                self._learn_from_transitions(samples)
            with self.metrics.log_time((TIMERS, SYNCH_WORKER_WEIGHTS_TIMER)):
                self._share_weights()
        if not self.config.learns_from_costs:
            self.metrics.log_value("replay_buffer_size", float(self.replay_buffer.size.mean()), window=1)
        self._check_finite(f"in iteration {self.iteration + 1}; checkpoints from before are untouched")
        results = self.learner_group.foreach_learner(lambda learner: learner.reduce_metrics())
        self.metrics.aggregate([result.get() for result in results], key=LEARNER_RESULTS)

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

    def _learn_from_transitions(self, samples: list[SlotSample]) -> None:
        """Store each slot, and take the updates that are due."""
        for sample in samples:
            self.replay_buffer.add(sample)
            for _ in range(self._count_updates(sample)):
                self._update()

    def _count_updates(self, sample: SlotSample) -> int:
        """Updates that are due after one more slot."""
        self._updates_due += self.config.updates_per_slot * len(sample.task_counts)
        due = int(self._updates_due)
        self._updates_due -= due
        return due

    def _improve(self, samples: list[SlotSample]) -> None:
        """One step of mirror descent from the costs of whole episodes, learned in minibatches."""
        if not samples:
            return
        step_size = StepSize(self.config.step_size, self.config.last_step_size, self.config.step_size_iterations)
        improvement = ImprovementSet(samples, step_size.at(self._improvements))
        if not improvement.counts.any():
            return
        scale = improvement.task_scale
        self._on_learners(lambda learner: learner.begin_improvement(scale))
        share = averaging_share(self._improvements, self.config.averaging_exponent)
        self._improvements += 1
        ready = improvement.counts > 0
        for _ in range(sum(map(self._count_updates, samples))):
            batch = improvement.sample(self.config.total_train_batch_size, self._sampling_rng)
            self._update_learners(batch, ready)
        self._on_learners(lambda learner: learner.end_improvement(share))

    def _on_learners(self, function: Callable[[Any], None]) -> None:
        """Call a function on every learner; what one of them raises is raised here."""
        for result in self.learner_group.foreach_learner(function):
            result.get()

    def _local_rounds(self) -> Iterator[list[SlotSample]]:
        runner: LADTSEnvRunner = self.env_runner
        fragment = self.config.get_rollout_fragment_length()
        done = False
        while not done:
            with self.metrics.log_time((TIMERS, ENV_RUNNER_SAMPLING_TIMER)):
                samples = runner.collect(fragment)
            yield samples
            done = bool(samples) and samples[-1].is_last
        self.metrics.aggregate([runner.get_metrics()], key=ENV_RUNNER_RESULTS)

    def _remote_rounds(self) -> Iterator[list[SlotSample]]:
        """Samples of all remote runners, interleaved slot by slot, until every healthy one ended its episode.

        Raises:
            ConfigurationError: of an environment that cannot work: a restart would not help.
            RuntimeError: if none ended one.
        """
        fragment = self.config.get_rollout_fragment_length()
        running: set[int] | None = None  # all
        may_wait, finished = True, 0
        while running is None or running:
            with self.metrics.log_time((TIMERS, ENV_RUNNER_SAMPLING_TIMER)):
                results = self.env_runner_group.foreach_env_runner(
                    lambda runner: _collect_remotely(runner, fragment),
                    local_env_runner=False,
                    remote_worker_ids=None if running is None else sorted(running),
                    timeout_seconds=self.config.sample_timeout_s,
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
                    self._runner_states[index] = state
                    self.metrics.aggregate([metrics], key=ENV_RUNNER_RESULTS)
            by_runner = [samples for _, samples, _, _ in results]
            longest = max(map(len, by_runner), default=0)
            yield [samples[k] for k in range(longest) for samples in by_runner if k < len(samples)]
        if not finished:
            raise RuntimeError(
                "no environment runner finished an episode: each failed (RLlib has logged why), or took longer than "
                f"sample_timeout_s={self.config.sample_timeout_s}"
            )

    def _wait_for_restarted_runners(self) -> bool:
        """If all remote runners died, wait for Ray to bring one back, lest an iteration ends without an episode."""
        group, deadline = self.env_runner_group, time.monotonic() + RESTART_WAIT_S
        while not group.num_healthy_remote_env_runners() and time.monotonic() < deadline:
            if restored := self.restore_env_runners(group):
                self._make_on_env_runners_recreated_callbacks(
                    config=self.config, env_runner_group=group, restored_env_runner_indices=restored
                )
                return True
            time.sleep(0.5)
        return False

    def _update(self) -> None:
        buffer = self.replay_buffer
        ready = buffer.size > self.config.learning_starts
        if not ready.any():
            return
        samples = self.config.total_train_batch_size
        self._update_learners(buffer.sample(samples, self._sampling_rng), ready)

    def _update_learners(self, columns: dict[str, Any], ready: NDArray[np.bool_]) -> None:
        """One update of all learners with a batch, leading axes (sample, station), of the stations that are ready."""
        samples = len(columns["state"])
        columns[READY] = np.broadcast_to(ready, (samples, len(ready)))
        if self.learner_group.is_local:
            # Zero-copy; remote learners make their own tensors.
            device = self.learner_group._learner.device
            for key, value in columns.items():
                columns[key] = torch.from_numpy(np.require(value, requirements="W")).to(device)
        with self.metrics.log_time((TIMERS, LEARNER_UPDATE_TIMER)):
            self.learner_group.update(
                training_data=TrainingData(
                    batch=MultiAgentBatch({DEFAULT_MODULE_ID: SampleBatch(columns)}, env_steps=samples)
                ),
                timesteps={
                    NUM_ENV_STEPS_SAMPLED_LIFETIME: self.metrics.peek(
                        (ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), default=0
                    )
                },
                _no_metrics_reduce=True,
            )

    def _share_weights(self) -> None:
        if self._has_remote_runners or self.learner_group.is_remote:
            self.env_runner_group.sync_weights(from_worker_or_learner_group=self.learner_group, inference_only=True)
        else:
            self._copy_actor()

    @torch.no_grad()
    def _copy_actor(self) -> None:
        """Copy the actors from the local learner to the local runner (``sync_weights`` goes by the object store)."""
        learner: ActingNetworks = self.learner_group._learner.module[DEFAULT_MODULE_ID].networks
        runner: ActingNetworks = self.env_runner.module.networks
        if self._copied.keys() != {learner, runner}:
            self._copied = {networks: _acting_tensors(networks) for networks in (learner, runner)}
        torch._foreach_copy_(self._copied[runner], self._copied[learner])
        self.env_runner._weights_seq_no = self.learner_group._learner._weights_seq_no

    # -- Latent memory --------------------------------------------------------------------------------------------

    def _present_runner_states(self) -> dict[int, dict[str, Any]]:
        """State of every training runner, by index; a local one is asked, remote ones' are of their last episode."""
        if self._has_remote_runners:
            return dict(self._runner_states)
        return {0: self.env_runner.get_runner_state()}

    def first_latent_memory(self) -> dict[str, Any] | None:
        """Latent memory of the first training runner; None: nothing was sampled."""
        states = self._present_runner_states()
        return states[min(states)]["latent_memory"] if states else None

    def _spread_runner_states(
        self, states: Mapping[int, dict[str, Any]], indices: Collection[int] | None = None
    ) -> None:
        """Give runners their saved states; those without one take the first one's latent memory."""
        if not states:
            return
        first = states[min(states)]["latent_memory"]
        states = dict(states)

        def restore(runner: LADTSEnvRunner) -> None:
            own = states.get(runner.worker_index or 0)
            if own is not None and runner.env is not None:
                runner.set_runner_state(own)
            else:
                runner.set_latent_memory(first)

        self.env_runner_group.foreach_env_runner(
            restore, remote_worker_ids=None if indices is None else list(indices), local_env_runner=indices is None
        )

    def restore_env_runners(self, env_runner_group: Any) -> list[int]:
        """Bring restarted runners up to date: weights (RLlib), then the latent memory they had."""
        restored = super().restore_env_runners(env_runner_group)
        if restored and env_runner_group is self.env_runner_group:
            self._spread_runner_states(self._runner_states, restored)
        return restored

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Evaluate with a copy of the first training runner's latent memory; training is not touched."""
        memory = self.first_latent_memory()
        if self.eval_env_runner_group is not None and memory is not None:
            self.eval_env_runner_group.foreach_env_runner(lambda runner: runner.set_latent_memory(memory))
        return super().evaluate(*args, **kwargs)

    def _evaluate_on_local_env_runner(self, env_runner: LADTSEnvRunner) -> Any:
        if env_runner is not self.env_runner:
            return super()._evaluate_on_local_env_runner(env_runner)
        if env_runner.env is None:
            raise ConfigurationError(
                "there is no runner to evaluate on; set evaluation_interval or evaluation_num_env_runners >= 1"
            )
        memory = self.first_latent_memory()
        with env_runner.evaluating(explore=self.evaluation_config.explore):
            if memory is not None:
                env_runner.set_latent_memory(memory)
            return super()._evaluate_on_local_env_runner(env_runner)

    # -- Checkpoints ----------------------------------------------------------------------------------------------

    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """RLlib's state, and what an exact continuation needs besides: replay, runners, sampling."""
        state = super().get_state(components, not_components=not_components, **kwargs)
        if self._check_component(REPLAY_BUFFER, components, not_components):
            state[REPLAY_BUFFER] = self.replay_buffer.get_state()
            state[RUNNER_STATES] = self._present_runner_states()
            state[SAMPLING_RNG] = self._sampling_rng.bit_generator.state
            state[UPDATES_DUE] = self._updates_due
            state[IMPROVEMENTS] = self._improvements
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from a state, also an older one than the present."""
        super().set_state(state)
        if REPLAY_BUFFER in state:
            self.replay_buffer.set_state(state[REPLAY_BUFFER])
            self._sampling_rng.bit_generator.state = state[SAMPLING_RNG]
            self._updates_due = state[UPDATES_DUE]
            self._improvements = state.get(IMPROVEMENTS, 0)
            self._runner_states = {int(index): value for index, value in state[RUNNER_STATES].items()}
            self._spread_runner_states(self._runner_states)
        self._force_weights()

    def restore_from_path(self, path: str | pathlib.Path, *args: Any, **kwargs: Any) -> None:
        """Restore a checkpoint; runners take its weights even if theirs are newer."""
        super().restore_from_path(path, *args, **kwargs)
        self._force_weights()

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
        saved = super().save_to_path(path, state=state, filesystem=filesystem, use_msgpack=use_msgpack)
        write_policy(self, saved, filesystem)
        return saved

    def start_from(self, path: str | pathlib.Path) -> None:
        """Take over what another run has learned: weights, temperatures and latent memory.

        Replay buffers, optimisers, counts and arrivals stay as they are. For fine-tuning where delays are other than
        in the first run, for example on real servers after a simulator of them.

        Args:
            path: Checkpoint of a run with equally many base stations and edge servers, or its folder ``policy``. Where
                the network or the latent memory knows fewer tasks of a station than there are here, further ones
                start as the last one.

        Raises:
            ConfigurationError: if it is none, or was trained with another value of what the weights' meaning depends
                on; see :mod:`lad_rllib.algorithms.common.meaning`.
        """
        saved = read_policy(path)
        if saved.title != self.config.title:
            raise ConfigurationError(f"{path} is a checkpoint of {saved.title}, this algorithm is {self.config.title}")
        check_same_meaning(path, saved.meaning, self.config)
        # The environment's own capacities stay: they are no weights.
        weights = {key: value for key, value in saved.weights.items() if not key.endswith(".log_capacity")}
        for key in [key for key in weights if key.startswith("networks.average.")]:
            for actor in ("networks.actor.", "networks.previous."):  # the one that was judged learns on
                weights[key.replace("networks.average.", actor)] = weights[key]
        num_tasks = self.spaces[INPUT_ENV_SINGLE_SPACES][0][names.TASKS].shape[1]
        for key in [key for key in weights if key.endswith(".starts")]:
            weights[key] = for_tasks(weights[key], num_tasks, axis=1)
        self.learner_group.set_state({COMPONENT_LEARNER: {COMPONENT_RL_MODULE: {DEFAULT_MODULE_ID: weights}}})
        if saved.latent_state is not None:
            memory = saved.latent_state
            self.env_runner_group.foreach_env_runner(lambda runner: runner.set_latent_memory(memory))
        self._force_weights()

    def _force_weights(self) -> None:
        """Give all runners the learner's weights: by itself, RLlib leaves a runner with newer ones as it is."""
        weights = self.learner_group.get_state(components="learner/" + COMPONENT_RL_MODULE, inference_only=True)[
            "learner"
        ]
        for group in (self.env_runner_group, self.eval_env_runner_group):
            if group is not None:
                group.foreach_env_runner(lambda runner: _load_weights(runner, weights))


def _collect_remotely(
    runner: LADTSEnvRunner, fragment: int | None
) -> tuple[int, list[SlotSample], Any, dict[str, Any] | ConfigurationError | None]:
    """Runs on a remote runner: its index, samples, and - at the end of an episode - metrics and state, or its error."""
    try:
        samples = runner.collect(fragment)
    except ConfigurationError as error:
        return runner.worker_index, [], None, error
    if not (samples and samples[-1].is_last):
        return runner.worker_index, samples, None, None
    return runner.worker_index, samples, runner.get_metrics(), runner.get_runner_state()


def _acting_tensors(networks: ActingNetworks) -> list[torch.Tensor]:
    """All weights and buffers of the actors that environment runners need."""
    return [tensor for actor in networks.inference_actors() for tensor in (*actor.parameters(), *actor.buffers())]


def _load_weights(runner: LADTSEnvRunner, state: dict[str, Any]) -> None:
    """Load weights whatever version the runner has."""
    runner._weights_seq_no = 0
    runner.set_state(state)
