"""Environment runner of LAD-TS: plays slots with the latent memory, in columns."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.callbacks.utils import make_callback
from ray.rllib.env.env_runner import ENV_STEP_FAILURE
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.metrics import RLMODULE_INFERENCE_TIMER, SAMPLE_TIMER, WEIGHTS_SEQ_NO
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger
from torch import Tensor

from lad_rllib import names
from lad_rllib.algorithms.common.acting import Decision, draw_uniform
from lad_rllib.algorithms.common.delayed_rewards import LateResults, ended_tasks, known_delay_s
from lad_rllib.algorithms.common.environment import check_spaces, not_a_fleet
from lad_rllib.algorithms.common.latent_memory import LatentMemory
from lad_rllib.algorithms.common.replay_buffer import SlotSample
from lad_rllib.algorithms.common.task_loss import TaskLoss
from lad_rllib.errors import ConfigurationError

Observation = dict[str, NDArray[Any]]


class LADTSEnvRunner(SingleAgentEnvRunner):
    """Runs E fleet environments in lockstep and keeps their latent memory.

    ``sample()`` returns RLlib episodes; ``collect()`` returns the same slots in columns, for the replay buffer.
    Callbacks see real episodes in both. Connectors are not used: a fleet observation is the module's input as it is.
    The randomness of a slot depends on the seed, the runner's index and the running number of the slot alone.
    """

    def __init__(self, *, config: Any, **kwargs: Any) -> None:
        torch.set_num_threads(config.torch_threads)
        self._num_slots = 0
        self._envs_made = 0
        self._evaluations = 0
        self._env_is_seeded = False
        self._latent_memory: LatentMemory | None = None
        self._observation: Observation = {}
        self._generator = torch.Generator()
        self._late_results = LateResults()
        self.metrics: MetricsLogger
        self._ongoing_episodes: list[SingleAgentEpisode]
        self._task_loss = TaskLoss(config.penalty, config.bounded_percentile, config.percentile_bound_s)
        super().__init__(config=config, **kwargs)
        # RLlib gives every runner a seed of its own, evaluation runners included; without one, draw it.
        self._entropy = int(np.random.SeedSequence(self._seed).generate_state(1)[0])
        self._total_delay_s = np.zeros(self.num_envs)
        self._total_tasks = np.zeros(self.num_envs)

    # -- Episodes -------------------------------------------------------------------------------------------------

    def make_env(self) -> None:
        """Create the environments; a new one is seeded at its first reset."""
        if self.config.env is None:
            raise not_a_fleet(self.config.title, "none")
        super().make_env()
        check_spaces(self.config.title, self.env, self.config.env)
        self._envs_made += 1
        self._env_is_seeded = False
        if self.config.learns_from_costs and self.env is not None:
            self._check_costs()

    def _reset_envs(self, episodes: list[SingleAgentEpisode], shared_data: dict, explore: bool) -> None:
        """Start new episodes. Environments are seeded once; later resets draw fresh arrivals."""
        seed = None if self._env_is_seeded else _seed_word(self._entropy, self._envs_made, self._num_slots)
        self._ongoing_episodes_for_metrics.clear()
        for index in range(self.num_envs):
            self._new_episode(index, episodes)
        observation, infos = self._try_env_reset(seed=seed)
        self._env_is_seeded = True
        self._observation = observation
        self._total_delay_s[:] = 0.0
        self._total_tasks[:] = 0.0
        self._late_results.clear()
        for index in range(self.num_envs):
            episodes[index].add_env_reset(observation=_row(observation, index), infos=infos[index])
            self._make_on_episode_callback("on_episode_start", index, episodes)

    def _step_slot(self, explore: bool, random_actions: bool = False) -> list[SlotSample] | None:
        """Decide and play one slot; None if the environment failed and was reset.

        Returns:
            The slots whose delays are all known by now: this one, or earlier ones, if delays come late.
        """
        if self._needs_initial_reset or self._ongoing_episodes[0].is_done:  # in lockstep: all are
            self._reset_envs_and_episodes(explore)
        episodes, before = self._ongoing_episodes, self._observation
        slot = episodes[0].t
        if random_actions:
            action = self.env.action_space.sample()
            latent_in = latent_out = self.latent_memory.read(slot)
            decision = None
        else:
            with self.metrics.log_time(RLMODULE_INFERENCE_TIMER):
                decision, latent_in, latent_out = self._decide(before, slot, explore)
            action = decision.servers.numpy()
        results = self._try_env_step(action)
        if results == ENV_STEP_FAILURE:
            self._reset_envs_and_episodes(explore)
            return None
        observation, rewards, terminateds, truncateds, infos = results
        done = np.logical_or(terminateds, truncateds)
        if done.any() != done.all():
            raise ValueError("LAD-TS needs environments in lockstep: all must end their episodes in the same slot")
        counts = before[names.TASK_COUNTS]
        delay = self._late_results.delays_s(infos, np.arange(action.shape[-1]) < counts[..., None])
        self._total_delay_s += known_delay_s(infos, delay)
        self._total_tasks += counts.sum(axis=1)
        for key, number in ended_tasks(infos).items():
            self.metrics.log_value(key, number, reduce="sum")
        extra = {WEIGHTS_SEQ_NO: self._weights_seq_no}
        for index, episode in enumerate(episodes):
            episode.add_env_step(
                observation=_row(observation, index),
                action=action[index],
                reward=rewards[index],
                infos=infos[index],
                terminated=terminateds[index],
                truncated=truncateds[index],
                extra_model_outputs=extra,
            )
            self._make_on_episode_callback("on_episode_step", index, episodes)
            if episode.is_done:
                self.metrics.log_value(names.MEAN_DELAY, self.mean_delay_s[index], reduce="mean")
                self._make_on_episode_callback("on_episode_end", index, episodes)
                self._done_episodes_for_metrics.append(episode)
        self._observation = observation
        after_acting = self.config.replay_latent == "after_acting" and not self.config.learns_from_costs
        stored = latent_out if after_acting else latent_in
        sample = SlotSample(
            source=self.worker_index or 0,
            slot=slot,
            tasks=before[names.TASKS],
            task_counts=counts,
            queues=before[names.QUEUES],
            action=action,
            delay_s=delay,
            latent=stored.numpy(),
            next_tasks=observation[names.TASKS][:, :, 0],
            next_task_counts=observation[names.TASK_COUNTS],
            next_queues=observation[names.QUEUES],
            next_latent=self.latent_memory.first(slot + 1).numpy(),
            is_last=bool(done.all()),
            logits=decision.logits.numpy() if decision is not None and self.config.learns_from_costs else None,
            seen_queues=decision.queues.numpy() if decision is not None and decision.queues.ndim > 2 else None,
        )
        return self._late_results.add(sample, infos)

    @torch.no_grad()
    def _decide(self, observation: Observation, slot: int, explore: bool) -> tuple[Decision, Tensor, Tensor]:
        """Decisions on the slot's tasks, the latent actions started from, and those to remember."""
        memory, networks = self.latent_memory, self.module.networks
        self._generator.manual_seed(_seed_word(self._entropy, 0, self._num_slots))
        self._num_slots += 1
        tasks, counts, queues = (
            torch.from_numpy(np.array(observation[key])) for key in (names.TASKS, names.TASK_COUNTS, names.QUEUES)
        )
        latent = memory.read(slot)
        episodes, _, num_tasks, _ = latent.shape
        noise = networks.draw_noise(episodes * num_tasks, self._generator)
        uniform = draw_uniform(counts, num_tasks, self.config.draws, self._generator) if explore else None
        actor = networks.evaluated_actor if self.config.in_evaluation else networks.actor
        decision = networks.decide(actor, tasks, counts, queues, latent, noise, uniform)
        put_out = networks.next_latent(self.config.latent_content, decision)
        memory.write(slot, put_out, torch.arange(num_tasks) < counts[..., None])
        return decision, latent, put_out

    @property
    def latent_memory(self) -> LatentMemory:
        """The latent memory of this runner's environments."""
        if self._latent_memory is None:
            spaces = self.env.single_observation_space
            stations, num_tasks = spaces[names.TASKS].shape[:2]
            self._latent_memory = LatentMemory(
                self.config.latent_index,
                (self.num_envs, stations, num_tasks, self.config.latent_size(spaces[names.QUEUES].shape[0])),
                seed=(
                    None
                    if self.config.learns_from_costs
                    else [[self._entropy, index] for index in range(self.num_envs)]
                ),
                is_number=self.config.latent_start == "learned",
            )
        return self._latent_memory

    @property
    def mean_delay_s(self) -> NDArray[np.float64]:
        """Mean service delay of the present episodes so far [s], shape (E,)."""
        return self._total_delay_s / np.maximum(self._total_tasks, 1)

    # -- Sampling -------------------------------------------------------------------------------------------------

    def collect(self, num_slots: int | None = None) -> list[SlotSample]:
        """Play slots of all environments, at most to the end of their episodes, exploring as configured.

        Args:
            num_slots: Slots to play; None plays to the end of the episodes, as system objectives need it.

        Returns:
            The slots that are complete by now, in order: those played, or, if delays come late, more or fewer. The last
            call of an episode returns the rest.
        """
        if self.config.learns_from_costs and num_slots is not None:
            raise ValueError("costs are known of whole episodes only; collect() them without a number of slots")
        samples: list[SlotSample] = []
        played = 0
        with self.metrics.log_time(SAMPLE_TIMER):
            while num_slots is None or played < num_slots:
                complete = self._step_slot(self.config.explore)
                if complete is None:  # the environment failed and starts anew
                    samples.clear()
                    played = 0
                    continue
                played += 1
                samples += complete
                if samples and samples[-1].is_last:
                    break
            if self.config.learns_from_costs:
                samples = self._with_costs(samples)
        if samples and samples[-1].is_last:
            self._increase_sampled_metrics(len(self._ongoing_episodes[0]) * self.num_envs, self.num_envs)
            make_callback(
                "on_sample_end",
                callbacks_objects=self._callbacks,
                callbacks_functions=self.config.callbacks_on_sample_end,
                kwargs={"env_runner": self, "metrics_logger": self.metrics, "samples": self._ongoing_episodes},
            )
        return samples

    def _sample(
        self,
        *,
        num_timesteps: int | None = None,
        num_episodes: int | None = None,
        explore: bool,
        random_actions: bool = False,
        force_reset: bool = False,
    ) -> list[SingleAgentEpisode]:
        """RLlib's own way to sample: at least so many time steps, or so many whole episodes."""
        if force_reset or (num_episodes is not None and self._observation):
            self._reset_envs_and_episodes(explore)
        steps = 0
        finished: list[SingleAgentEpisode] = []
        while steps < num_timesteps if num_timesteps is not None else len(finished) < (num_episodes or 0):
            if self._step_slot(explore, random_actions) is None:
                steps = 0
                continue
            steps += self.num_envs
            if self._ongoing_episodes[0].is_done:  # in lockstep: all are
                finished += self._ongoing_episodes
        chunks = [episode for episode in self._ongoing_episodes if episode and episode.t > 0 and not episode.is_done]
        if chunks:
            for chunk in chunks:
                self._ongoing_episodes_for_metrics[chunk.id_].append(chunk)
            self._ongoing_episodes = [
                chunk.cut(len_lookback_buffer=self.config.episode_lookback_horizon) for chunk in chunks
            ]
        if steps:
            self._increase_sampled_metrics(steps, len(finished))
        returned = finished + chunks
        return [episode.to_numpy() for episode in returned] if self.episodes_to_numpy else returned

    # -- Costs, for system objectives -----------------------------------------------------------------------------

    def _check_costs(self) -> None:
        """Refuse an environment that cannot tell costs, or not of this loss."""
        check = getattr(self.env.unwrapped, "check_penalty", None)
        if check is None:
            raise ConfigurationError(
                f"objective {self.config.objective!r} needs an environment that tells marginal costs, as "
                f"FleetVectorEnv does; {type(self.env.unwrapped).__name__} does not"
            )
        check(self._task_loss.penalty)

    def _with_costs(self, samples: list[SlotSample]) -> list[SlotSample]:
        """The slots of whole episodes, with what each of their tasks costs all tasks on each server."""
        costs = self.env.unwrapped.marginal_costs(self._task_loss.penalty, self.config.gamma)
        delays = np.stack([sample.delay_s for sample in samples], axis=1)
        counts = np.stack([sample.task_counts for sample in samples], axis=1)
        self._task_loss.observe(delays[np.arange(delays.shape[-1]) < counts[..., None]])
        if self.config.bounded_percentile is not None:
            self.metrics.log_value("loss_strength", self._task_loss.strength, window=1)
        return [replace(sample, cost=costs[:, sample.slot]) for sample in samples]

    # -- State ----------------------------------------------------------------------------------------------------

    def get_runner_state(self) -> dict[str, Any]:
        """What this runner alone knows and a checkpoint needs: latent memory, arrivals' and noise's position."""
        get_env_state = getattr(self.env.unwrapped, "get_state", None)
        return {
            "latent_memory": self.latent_memory.get_state(),
            "environment": get_env_state() if get_env_state and self._env_is_seeded else None,
            "entropy": self._entropy,
            "num_slots": self._num_slots,
            "envs_made": self._envs_made,
            "evaluations": self._evaluations,
            "loss_strength": self._task_loss.strength,
        }

    def set_runner_state(self, state: Mapping[str, Any]) -> None:
        """Continue where :meth:`get_runner_state` was called, with a new episode.

        An environment that has no ``get_state`` and ``set_state`` starts from a seed of its own.
        """
        self.latent_memory.set_state(state["latent_memory"])
        self._entropy, self._num_slots = state["entropy"], state["num_slots"]
        self._envs_made, self._evaluations = state["envs_made"], state["evaluations"]
        self._task_loss.strength = state.get("loss_strength", self._task_loss.strength)
        self._needs_initial_reset = True
        self._env_is_seeded = state["environment"] is not None
        if self._env_is_seeded:
            self.env.unwrapped.set_state(state["environment"])

    @contextlib.contextmanager
    def evaluating(self, explore: bool) -> Iterator[None]:
        """Lend a training runner to an evaluation: arrivals, noise and metrics of its own; all is put back after.

        A training episode that is under way is given up.
        """
        self._evaluations += 1
        state, metrics, training_explore = self.get_runner_state(), self.metrics, self.config.explore
        self._entropy, self._env_is_seeded = _seed_word(self._entropy, 0, 0, self._evaluations), False
        self._needs_initial_reset = True
        self.metrics = MetricsLogger(stats_cls_lookup=self.config.stats_cls_lookup, root=False)
        self.config.explore, self.config.in_evaluation = explore, True
        try:
            yield
        finally:
            self.set_runner_state(state)
            self.metrics = metrics
            self.config.explore, self.config.in_evaluation = training_explore, False

    def set_latent_memory(self, state: Mapping[str, Any]) -> None:
        """Take over a copy of another runner's latent memory, and nothing else."""
        if self.env is not None:  # the local runner beside remote ones has none, and nothing to remember
            self.latent_memory.set_state(state)


def _row(batched: Observation, index: int) -> Observation:
    return {key: value[index] for key, value in batched.items()}


def _seed_word(*entropy: int) -> int:
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint32)[0])
