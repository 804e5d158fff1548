"""Environment runner of a fleet: plays slots with the latent memory, in columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.callbacks.utils import make_callback
from ray.rllib.env.env_runner import ENV_STEP_FAILURE
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.metrics import RLMODULE_INFERENCE_TIMER, SAMPLE_TIMER, WEIGHTS_SEQ_NO
from torch import Tensor

from lad_rllib import names
from lad_rllib.algorithms.common.acting import Acting, Decision
from lad_rllib.algorithms.common.base_env_runner import SchedulingEnvRunner, seed_word
from lad_rllib.algorithms.common.delayed_rewards import DelayedRewards, ended_tasks, known_delay_s
from lad_rllib.algorithms.common.environment import check_spaces, not_a_fleet
from lad_rllib.algorithms.common.latent_memory import LatentMemory
from lad_rllib.algorithms.common.replay_buffer import SlotSample

Observation = dict[str, NDArray[Any]]


class FleetEnvRunner(SchedulingEnvRunner):
    """Runs E fleet environments in lockstep and keeps their latent memory.

    ``sample()`` returns RLlib episodes; ``collect()`` returns the same slots in columns, for the replay buffer.
    Callbacks see real episodes in both. Connectors are not used: a fleet observation is the module's input as it is.
    The randomness of a slot depends on the seed, the runner's index and the running number of the slot alone.
    """

    def __init__(self, *, config: Any, **kwargs: Any) -> None:
        self._num_slots = 0
        self._envs_made = 0
        self._env_is_seeded = False
        self._latent_memory: LatentMemory | None = None
        self._observation: Observation = {}
        self._generator = torch.Generator()
        self._delayed_rewards = DelayedRewards()
        self._ongoing_episodes: list[SingleAgentEpisode]
        super().__init__(config=config, **kwargs)
        self._total_delay_s = np.zeros(self.num_envs)
        self._total_tasks = np.zeros(self.num_envs)

    # -- Episodes -------------------------------------------------------------------------------------------------

    def make_env(self) -> None:
        """Create the environments; a new one is seeded at its first reset."""
        if self.config.env is None:
            raise not_a_fleet(self.config.title, "none")
        try:
            super().make_env()
        except TypeError as error:  # it has no such argument
            raise not_a_fleet(self.config.title, f"{self.config.env}, which says: {error}") from error
        check_spaces(self.config.title, self.env, self.config.env)
        self._envs_made += 1
        self._env_is_seeded = False

    def _reset_envs(self, episodes: list[SingleAgentEpisode], shared_data: dict, explore: bool) -> None:
        """Start new episodes. Environments are seeded once; later resets draw fresh arrivals."""
        seed = None if self._env_is_seeded else seed_word(self._entropy, self._envs_made, self._num_slots)
        self._ongoing_episodes_for_metrics.clear()
        for index in range(self.num_envs):
            self._new_episode(index, episodes)
        observation, infos = self._try_env_reset(seed=seed)
        self._env_is_seeded = True
        self._observation = observation
        self._total_delay_s[:] = 0.0
        self._total_tasks[:] = 0.0
        self._delayed_rewards.clear()
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
        before, slot = self._observation, self._ongoing_episodes[0].t
        action, latent, decision = self._act(before, slot, explore, random_actions)
        results = self._try_env_step(action)
        if results == ENV_STEP_FAILURE:
            self._reset_envs_and_episodes(explore)
            return None
        observation, _, terminateds, truncateds, infos = results
        done = np.logical_or(terminateds, truncateds)
        if done.any() != done.all():
            raise ValueError(
                f"{self.config.title} needs environments in lockstep: all must end their episodes in the same slot"
            )
        delay = self._delays(before[names.TASK_COUNTS], action.shape[-1], infos)
        self._extend_episodes(action, *results)
        self._observation = observation
        sample = self._sample_of(
            decision,
            source=self.worker_index or 0,
            slot=slot,
            tasks=before[names.TASKS],
            task_counts=before[names.TASK_COUNTS],
            queues=before[names.QUEUES],
            action=action,
            delay_s=delay,
            latent=latent.numpy(),
            next_tasks=observation[names.TASKS][:, :, 0],
            next_task_counts=observation[names.TASK_COUNTS],
            next_queues=observation[names.QUEUES],
            next_latent=self.latent_memory.first(slot + 1).numpy(),
            is_last=bool(done.all()),
        )
        return self._delayed_rewards.add(sample, infos)

    def _act(
        self, observation: Observation, slot: int, explore: bool, random_actions: bool
    ) -> tuple[NDArray[np.int64], Tensor, Decision | None]:
        """Servers of a slot's tasks, the latent actions to store with them, and the decision; None: at random."""
        if random_actions:
            return self.env.action_space.sample(), self.latent_memory.read(slot), None
        with self.metrics.log_time(RLMODULE_INFERENCE_TIMER):
            decision, latent, output = self._decide(observation, slot, explore)
        return decision.servers.numpy(), output if self.config.stores_latent_after_acting else latent, decision

    def _delays(self, counts: NDArray[Any], num_tasks: int, infos: Sequence[Any]) -> NDArray[np.float32]:
        """Delays of a slot's tasks as far as they are known [s], shape (E, B, N); keeps account of them."""
        delay = self._delayed_rewards.delays_s(infos, np.arange(num_tasks) < counts[..., None])
        self._total_delay_s += known_delay_s(infos, delay)
        self._total_tasks += counts.sum(axis=1)
        for key, number in ended_tasks(infos).items():
            self.metrics.log_value(key, number, reduce="sum")
        return delay

    def _extend_episodes(
        self, action: Any, observation: Observation, rewards: Any, terminateds: Any, truncateds: Any, infos: Any
    ) -> None:
        """Add a step to RLlib's episodes, and call their callbacks."""
        episodes, extra = self._ongoing_episodes, {WEIGHTS_SEQ_NO: self._weights_seq_no}
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

    def _sample_of(self, decision: Decision | None, **columns: Any) -> SlotSample:
        """The slot for the algorithm; siblings add what they learn from besides. None: actions were random."""
        return SlotSample(**columns)

    def _decide(self, observation: Observation, slot: int, explore: bool) -> tuple[Decision, Tensor, Tensor]:
        """See :meth:`Acting.decide`; randomness is that of the slot's running number."""
        self._generator.manual_seed(seed_word(self._entropy, 0, self._num_slots))
        self._num_slots += 1
        acting = Acting(self.module.networks, self.latent_memory, self.config.draws)
        tasks, counts, queues = (
            torch.from_numpy(np.array(observation[key])) for key in (names.TASKS, names.TASK_COUNTS, names.QUEUES)
        )
        evaluated = self.config.in_evaluation
        return acting.decide(tasks, counts, queues, slot, self._generator, explore=explore, evaluated=evaluated)

    @property
    def latent_memory(self) -> LatentMemory:
        """The latent memory of this runner's environments."""
        if self._latent_memory is None:
            networks, num_tasks = self.module.networks, self.env.single_observation_space[names.TASKS].shape[1]
            self._latent_memory = LatentMemory(
                self.config.latent_index,
                (self.num_envs, networks.num_stations, num_tasks, networks.latent_size),
                networks.first_latent,
                seeds=[[self._entropy, index] for index in range(self.num_envs)],
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
            num_slots: Slots to play; None plays to the end of the episodes.

        Returns:
            The slots that are complete by now, in order: those played, or, if delays come late, more or fewer. The last
            call of an episode returns the rest.
        """
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
            samples = self._completed(samples)
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

    def _completed(self, samples: list[SlotSample]) -> list[SlotSample]:
        """Slots that were played, with what only their whole episode tells; siblings that need that add it."""
        return samples

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
        }

    def set_runner_state(self, state: Mapping[str, Any]) -> None:
        """Continue where :meth:`get_runner_state` was called, with a new episode.

        An environment that has no ``get_state`` and ``set_state`` starts from a seed of its own.
        """
        self.latent_memory.set_state(state["latent_memory"])
        self._entropy, self._num_slots = state["entropy"], state["num_slots"]
        self._envs_made, self._evaluations = state["envs_made"], state["evaluations"]
        self._needs_initial_reset = True
        self._env_is_seeded = state["environment"] is not None
        if self._env_is_seeded:
            self.env.unwrapped.set_state(state["environment"])

    def _begin_evaluation(self) -> None:
        """Arrivals and noise of its own, from a new episode on."""
        self._entropy, self._env_is_seeded = seed_word(self._entropy, 0, 0, self._evaluations), False
        self._needs_initial_reset = True

    def start_like(self, state: Mapping[str, Any]) -> None:
        """Begin with the latent memory of another runner's state."""
        self.set_latent_memory(state["latent_memory"])

    def set_latent_memory(self, state: Mapping[str, Any]) -> None:
        """Take over a copy of another runner's latent memory, and nothing else."""
        if self.env is not None:  # the local runner beside remote ones has none, and nothing to remember
            self.latent_memory.set_state(state)


def _row(batched: Observation, index: int) -> Observation:
    return {key: value[index] for key, value in batched.items()}
