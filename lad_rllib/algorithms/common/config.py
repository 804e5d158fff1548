"""Configuration of LAD-TS: every hyperparameter, what it means, and where its value comes from."""

from __future__ import annotations

import math
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from lad_rllib.algorithms.common.actors import ActorKind, LatentStart, latent_size
from lad_rllib.algorithms.common.environment import check_environment
from lad_rllib.algorithms.common.hyperparameters import Hyperparameters, check_torch_threads
from lad_rllib.algorithms.common.rllib_keys import check_given, check_unused
from lad_rllib.algorithms.common.task_loss import check_task_loss
from lad_rllib.declared import check_some, declared
from lad_rllib.errors import ConfigurationError
from lad_rllib.kernels.compiled import check_kernels

PRESETS: dict[str, dict[str, Any]] = {
    "published_code": {
        "latent_index": "station_slot_task",
        "latent_content": "probabilities",
        "denoiser_output": "softmax",
        "clip_denoised": None,
        "replay_latent": "after_acting",
        "replay_next_queues": "zeros",
        "target_entropy": -1.0,
    },
    "paper": {
        "latent_index": "station_task",
        "latent_content": "logits",
        "denoiser_output": "linear",
        "clip_denoised": 3.0,
        "replay_latent": "before_acting",
        "replay_next_queues": "actual",
        "target_entropy": "auto",
    },
}
"""Where the paper's text and its published code differ; see the algorithm's README."""

OBJECTIVES: dict[str, dict[str, Any]] = {
    "own_delay": {},
    "system_delay": {
        "latent_start": "zero",
        "latent_index": "station_task",
        "denoiser_output": "linear",
        "clip_denoised": None,
        "replay_latent": "before_acting",
        "hidden_sizes": (64, 64),
        "actor_lr": 1e-3,
        "gamma": 0.99,
    },
}
"""What is learned for, and the settings that go with it; see the algorithm's README."""

OBJECTIVE_SETTINGS = frozenset(
    {
        "objective",
        "penalty",
        "bounded_percentile",
        "percentile_bound_s",
        "step_size",
        "last_step_size",
        "step_size_iterations",
        "momentum",
        "shared_actor",
        "prior_queue_weight",
        "in_slot_view",
        "latent_decay",
        "start_lr",
        "averaging_exponent",
    }
)
"""Settings that are about other objectives than a task's own delay."""

_RLLIB_KEYS = ("multiagent", "_enable_new_api_stack")
"""Keys of RLlib's dictionaries that are no attributes. Those that Ray Tune adds begin with two underscores."""


class LADTSConfig(AlgorithmConfig):
    """Configures :class:`~lad_rllib.algorithms.common.algorithm.LADTS`.

    Example:
        >>> from lad_rllib.algorithms.lad_ts import LADTSConfig
        >>> from lad_rllib.envs import FleetVectorEnv
        >>> config = (
        ...     LADTSConfig()
        ...     .environment(FleetVectorEnv, env_config={"setting": "paper"})
        ...     .training(preset="published_code", policy_denoising_steps=5)
        ... )
        >>> algo = config.build_algo()  # doctest: +SKIP
    """

    title = "LAD-TS"
    """Name of the algorithm in text."""
    hyperparameters: type[Hyperparameters] = Hyperparameters
    """Types and bounds of its settings."""
    without: frozenset[str] = frozenset()
    """Settings that mean nothing to the algorithm; a preset leaves them alone, and another value is refused."""

    def __init__(self, algo_class: type | None = None) -> None:
        from lad_rllib.algorithms.common.env_runner import LADTSEnvRunner

        if algo_class is None:
            from lad_rllib.algorithms.common.algorithm import LADTS

            algo_class = LADTS
        super().__init__(algo_class=algo_class)
        # Latent action diffusion (arXiv 2412.18212, section on LADN).
        self.preset = "published_code"
        self.actor: ActorKind = "diffusion"
        self.latent_start: LatentStart = "memory"
        self.policy_denoising_steps = 5
        self.hidden_sizes: tuple[int, ...] = (20, 20)
        self.beta_min = 0.1
        self.beta_max = 10.0
        self.latent_index = "station_slot_task"
        self.latent_content = "probabilities"
        self.denoiser_output = "softmax"
        self.clip_denoised: float | None = None
        self.replay_latent = "after_acting"
        self.replay_next_queues = "zeros"
        self.draws = "independent"
        # What is learned for.
        self.objective = "own_delay"
        self.penalty: dict[str, Any] | None = None
        self.bounded_percentile: float | None = None
        self.percentile_bound_s: float | None = None
        self.step_size = 3.0
        self.last_step_size = 0.1
        self.step_size_iterations = 100
        self.momentum = 0.0
        self.shared_actor = True
        self.prior_queue_weight = 1.0
        self.in_slot_view = "none"
        self.latent_decay = 0.5
        self.start_lr: Any = 0.03
        self.averaging_exponent: float | None = 8.0
        # Discrete soft actor-critic.
        self.gamma = 0.95
        self.tau = 0.005
        self.initial_alpha = 0.05
        self.target_entropy: float | str = -1.0
        self.actor_lr: Any = 1e-4
        self.critic_lr: Any = 1e-3
        self.alpha_lr: Any = 3e-4
        self.grad_clip = None
        # Replay and pace.
        self.replay_capacity = 1000
        self.train_batch_size_per_learner = 64
        self.learning_starts = 300
        self.updates_per_slot = 1.0
        # Process.
        self.torch_threads = 1
        self.kernels = "auto"
        # RLlib's own settings that this algorithm needs.
        self.env_runner_cls = LADTSEnvRunner
        self.gym_env_vectorize_mode = "vector_entry_point"
        self.normalize_actions = False
        self.clip_actions = False
        self.episodes_to_numpy = True
        self.sample_timeout_s = None  # an episode in wall time takes as long as it takes; Ray notices a lost runner
        self.evaluation_sample_timeout_s = None
        self.rollout_fragment_length = "auto"
        self.batch_mode = "truncate_episodes"
        self.simple_optimizer = False  # or else RLlib sets it when it validates

    def training(
        self,
        *,
        preset: str = NotProvided,
        actor: str = NotProvided,
        latent_start: str = NotProvided,
        policy_denoising_steps: int = NotProvided,
        hidden_sizes: tuple[int, ...] = NotProvided,
        beta_min: float = NotProvided,
        beta_max: float = NotProvided,
        latent_index: str = NotProvided,
        latent_content: str = NotProvided,
        denoiser_output: str = NotProvided,
        clip_denoised: float | None = NotProvided,
        replay_latent: str = NotProvided,
        replay_next_queues: str = NotProvided,
        draws: str = NotProvided,
        objective: str = NotProvided,
        penalty: dict[str, Any] | None = NotProvided,
        bounded_percentile: float | None = NotProvided,
        percentile_bound_s: float | None = NotProvided,
        step_size: float = NotProvided,
        last_step_size: float = NotProvided,
        step_size_iterations: int = NotProvided,
        momentum: float = NotProvided,
        shared_actor: bool = NotProvided,
        prior_queue_weight: float = NotProvided,
        in_slot_view: str = NotProvided,
        latent_decay: float = NotProvided,
        start_lr: Any = NotProvided,
        averaging_exponent: float | None = NotProvided,
        tau: float = NotProvided,
        initial_alpha: float = NotProvided,
        target_entropy: float | str = NotProvided,
        actor_lr: Any = NotProvided,
        critic_lr: Any = NotProvided,
        alpha_lr: Any = NotProvided,
        replay_capacity: int = NotProvided,
        learning_starts: int = NotProvided,
        updates_per_slot: float = NotProvided,
        torch_threads: int = NotProvided,
        kernels: str = NotProvided,
        **kwargs: Any,
    ) -> LADTSConfig:
        """Set hyperparameters; values are those of the published experiments by default.

        Args:
            preset: ``"published_code"`` (default; gives the published curves) or ``"paper"``: sets
                ``latent_index``, ``latent_content``, ``denoiser_output``, ``clip_denoised``, ``replay_latent``,
                ``replay_next_queues`` and ``target_entropy``; those given beside it win.
            actor: What decides: ``"diffusion"``, or ``"mlp"``, a network from the state to logits, to which the
                settings of diffusion and latent actions mean nothing (SAC-TS).
            latent_start: What the diffusion starts from: ``"memory"``, the latent action; ``"noise"``, fresh
                Gaussian noise when acting and in updates (D2SAC-TS); or, with system objectives only, ``"zero"``, or
                ``"learned"``: a start for each station and task index, which is learned with the network. With the
                latter three, what the settings of latent actions say means nothing.
            policy_denoising_steps: Denoising steps I of the actor (5).
            hidden_sizes: Widths of the hidden layers of denoiser and critics ((20, 20)).
            beta_min: Least noise rate of the diffusion (0.1).
            beta_max: Greatest noise rate of the diffusion (10).
            latent_index: What a latent action belongs to: ``"station_slot_task"`` (carried from episode to
                episode) or ``"station_task"`` (carried from slot to slot).
            latent_content: What is remembered: ``"probabilities"`` or ``"logits"`` (x_0).
            denoiser_output: The denoiser's last layer: ``"softmax"`` or ``"linear"``.
            clip_denoised: Limit L to which each denoising step clamps its estimate of x_0, so that logits are in
                [-L, L]; None (published code) for no limit, 3 with preset ``"paper"``, whose logits would grow from
                slot to slot without it. No server's probability is then below exp(-2 L) times another's.
            replay_latent: What the replay buffer holds as latent: the actor's output (``"after_acting"``) or what
                it started from (``"before_acting"``).
            replay_next_queues: Queues in the next state of a station's last task of a slot: ``"zeros"`` (published
                code, which reads the next slot's queues before it has updated them) or ``"actual"``.
            draws: How servers are drawn from the probabilities when exploring: ``"independent"`` for each task;
                ``"stratified"``: each with its own probabilities still, but the tasks of a station in a slot spread as
                evenly as those say; ``"coordinated"``: the tasks of all stations, which share one random number for
                each slot and tell one another how many tasks they have.
            objective: ``"own_delay"`` (paper): each task's own delay, by soft actor-critic. ``"system_delay"``: the
                delay of all tasks, by policy mirror descent on what each task costs all tasks; it sets
                ``latent_start``, ``latent_index``, ``denoiser_output``, ``clip_denoised``, ``replay_latent``,
                ``hidden_sizes``, ``actor_lr`` and ``gamma``, and those given beside it win. Then ``gamma`` discounts
                the delay of tasks in later slots. It needs queues in slots of waiting time (``env_config``
                ``queue_unit="slots"``, filled in if not given), and an environment that tells marginal costs. The
                settings of critics, temperatures, replay and ``latent_content`` do nothing then. Called again, the last
                objective wins, with its settings.
            penalty: System objectives: loss of a task by its delay, as name and fields of
                :func:`lad_rllib.simulator.make_penalty`: ``{"name": "tail", "threshold_s": 14, "strength": 4}``,
                ``{"name": "deadline-miss", "deadline_s": 5}``; None: the delay itself.
            bounded_percentile: System objectives: percentile of the delays that shall stay below
                ``percentile_bound_s``, in (0, 100), for example 95; None for no bound.
            percentile_bound_s: Its bound [s]. Each env runner weighs it by what it has seen (metric ``loss_strength``).
            step_size: System objectives: first step size of mirror descent, over the policy's mean cost (3).
            last_step_size: Step size from ``step_size_iterations`` on (0.1); between them it falls geometrically.
            step_size_iterations: See ``last_step_size`` (100).
            momentum: System objectives: share of the policy's last step that is taken again (0). It
                speeds learning up where costs differ little, as below saturation, and makes it less steady.
            shared_actor: System objectives: one actor for all stations, which learns from the tasks of all (True), or
                one for each station.
            prior_queue_weight: System objectives: by how much the prior's logit of a server falls for each slot of
                waiting time in its queue (1). More makes learning steadier, and stations herd if it is too much.
            in_slot_view: System objectives: what a decision knows of earlier ones in the same slot. ``"none"``: all are
                made at slot start. ``"own"``: where the station's earlier tasks went. ``"all"``: where all earlier
                tasks went, station by station, as one dispatcher for all stations knows it, and the greedy oracle.
                Queues in the state are then those as far as known; a strong prior (``prior_queue_weight`` 4) does
                no longer make stations herd with ``"all"``.
            latent_decay: System objectives with ``latent_start="memory"``: share of an action's x_0 that is left in the
                latent action that the next chain starts from (0.5).
            start_lr: System objectives with ``latent_start="learned"``: learning rate of the starts, in units of logits
                (0.03), a number or a schedule as ``actor_lr``.
            averaging_exponent: System objectives: what is evaluated and used is the mean of the actors of all
                iterations, the k-th weighted with about ``k ** averaging_exponent`` (8: the last ninth, roughly);
                None: the last one. What plays while it learns is always the last one.
            tau: Share of the critics that goes into their targets at each update (0.005).
            initial_alpha: Temperature at the start (0.05).
            target_entropy: Entropy [nat] that the temperature steers to; ``"auto"`` is half of that of a uniform
                choice, log(A) / 2. The published -1 cannot be reached: there the temperature only falls.
            actor_lr: Learning rate of the actors (1e-4), a number or an RLlib schedule over environment steps
                (slots times environments): ``[[0, 1e-4], [30_000, 1e-5]]``.
            critic_lr: Learning rate of the critics (1e-3), likewise.
            alpha_lr: Learning rate of the temperatures (3e-4), likewise.
            replay_capacity: Transitions that each station keeps (1000).
            learning_starts: A station is updated once it holds more transitions than this (300).
            updates_per_slot: Updates of all stations for each slot of each environment (1).
            torch_threads: Threads of torch in the algorithm, each learner and each runner (1; with small networks
                more threads are slower).
            kernels: ``"auto"``: compiled kernels on the CPU where numba is installed, torch's operations elsewhere;
                ``"torch"``: torch's alone; ``"compiled"``: an error without numba. Results agree but for float32
                rounding; kernels draw other noise from the same seed.
            **kwargs: RLlib's common keys, among them ``gamma`` (0.95; 0.99 with objective ``"system_delay"``),
                ``train_batch_size_per_learner`` (64 transitions of each station) and ``grad_clip`` (None; clips each
                network by itself).

        Raises:
            ConfigurationError: for a value that is none, or a key of RLlib's that does nothing here.
            TypeError: for an unknown key.
        """
        given = {k: v for k, v in locals().items() if k not in ("self", "kwargs", "__class__") and v is not NotProvided}
        further = {key: value for key, value in kwargs.items() if value is not NotProvided}
        check_given(further)
        values = {key: value for key, value in {**further, **given}.items() if key in self.hyperparameters.model_fields}
        check_some(self.hyperparameters, values)
        super().training(**kwargs)
        groups: list[dict[str, Any]] = []
        if "preset" in given:
            group = {key: value for key, value in PRESETS[given["preset"]].items() if key not in self.without}
            groups.append(group)
        if "objective" in given:
            groups.append(self._settings_of(given["objective"]))
        given = {key: value for group in (*groups, given) for key, value in group.items() if key not in kwargs}
        for key, value in given.items():
            setattr(self, key, tuple(value) if key == "hidden_sizes" else value)
        return self

    def _settings_of(self, objective: str) -> dict[str, Any]:
        """Settings that go with an objective; back from another one, those that go with the preset."""
        if objective == "own_delay" and self.learns_from_costs:
            defaults = type(self)()
            group = {key: getattr(defaults, key) for key in OBJECTIVES[self.objective]}
            return group | {key: value for key, value in PRESETS[self.preset].items() if key in group}
        return OBJECTIVES.get(objective, {})

    def update_from_dict(self, config_dict: dict[str, Any]) -> LADTSConfig:
        """Set values by name (as Ray Tune does); ``preset`` and ``objective`` set their groups first, other keys win.

        Raises:
            ConfigurationError: for a key that does not exist.
        """
        for key in config_dict:
            name = self._translate_special_keys(key, warn_deprecated=False)
            is_setting = name in vars(self) or isinstance(getattr(type(self), name, None), property)
            if not is_setting and name not in _RLLIB_KEYS and not name.startswith("__"):
                raise ConfigurationError(f"unknown configuration key {key!r} for {self.title}")
        for group in ("preset", "objective"):
            if group in config_dict:
                self.training(**{group: config_dict[group]})
        rest = dict(config_dict)
        for key in ("model", "optimizer"):  # RLlib passes them to training(), also when it copies a configuration
            if key in rest:
                setattr(self, key, rest.pop(key))
        super().update_from_dict(rest)
        self.hidden_sizes = tuple(self.hidden_sizes)
        return self

    def resolved_target_entropy(self, num_servers: int) -> float:
        """Target entropy [nat] for a number of servers."""
        return 0.5 * math.log(num_servers) if self.target_entropy == "auto" else float(self.target_entropy)

    def check_target_entropy(self, num_servers: int) -> None:
        """Refuse a target that no policy over so many servers can have: the temperature would grow without bound.

        Raises:
            ConfigurationError: names the greatest entropy.
        """
        target, greatest = self.resolved_target_entropy(num_servers), math.log(num_servers)
        if "target_entropy" not in self.without and target > greatest:
            raise ConfigurationError(
                f"target_entropy must be at most log({num_servers}) = {greatest:.3f}, the entropy of a uniform choice "
                f"among {num_servers} edge servers, got {target:g}"
            )

    def latent_size(self, num_servers: int) -> int:
        """Length of the latent actions that are remembered and replayed; 0 if the actor starts from none."""
        return latent_size(self.actor, self.latent_start, num_servers)

    @property
    def learns_from_costs(self) -> bool:
        """Whether it learns from what each task costs all tasks, after whole episodes, instead of from own delays."""
        return self.objective != "own_delay"

    def get_rollout_fragment_length(self, worker_index: int = 0) -> int | None:
        """Slots between weight updates: one for a local runner; a whole episode (None) for remote ones and costs."""
        if self.learns_from_costs:
            return None
        if self.rollout_fragment_length == "auto":
            return 1 if self.num_env_runners == 0 else None
        return int(self.rollout_fragment_length)

    def validate(self) -> None:
        """Check all values, types first, then against each other.

        Raises:
            ConfigurationError: names the value and what would be valid.
        """
        defaults = type(self)()
        self._check_process(defaults)
        values = declared(self.hyperparameters, {key: getattr(self, key) for key in self.hyperparameters.model_fields})
        for key, value in values:
            setattr(self, key, tuple(value) if key == "hidden_sizes" else value)
        check_torch_threads(self.torch_threads)
        super().validate()
        self._check_meaningful(defaults)
        check_kernels(self.kernels)
        if self.beta_min > self.beta_max:
            raise ConfigurationError(f"beta_min {self.beta_min} must not exceed beta_max {self.beta_max}")
        self._check_objective()
        self._check_replay()

    def _check_objective(self) -> None:
        """System objectives: refuse what does not go together; own delay: what needs a system objective."""
        check_task_loss(self.penalty, self.bounded_percentile, self.percentile_bound_s)
        if not self.learns_from_costs:
            if self.latent_start in ("zero", "learned"):
                raise ConfigurationError(f"latent_start {self.latent_start!r} needs objective='system_delay'")
            return
        if self.in_slot_view == "all" and not self.shared_actor:
            raise ConfigurationError("in_slot_view 'all' is one dispatcher's: it needs shared_actor=True")
        _check(self.gamma > 0, "gamma", self.gamma, "above 0 with a system objective")
        _check(self.actor == "diffusion", "actor", self.actor, "'diffusion' with a system objective")
        starts, start = ("memory", "zero", "learned"), self.latent_start
        _check(start in starts, "latent_start", start, f"one of {', '.join(starts)} with a system objective")
        if not self.in_evaluation:  # where RLlib sets another
            fragment = self.rollout_fragment_length
            _check(fragment == "auto", "rollout_fragment_length", fragment, "'auto' with a system objective")
        env_config = {"queue_unit": "slots", **self.env_config}
        self.env_config: dict[str, Any] = env_config
        unit = env_config["queue_unit"]
        _check(unit == "slots", "env_config['queue_unit']", unit, "'slots' with a system objective")

    def _check_process(self, defaults: LADTSConfig) -> None:
        """RLlib's own settings: refuse those that would be ignored or go wrong later."""
        from lad_rllib.algorithms.common.env_runner import LADTSEnvRunner

        if not self.enable_env_runner_and_connector_v2 or not self.enable_rl_module_and_learner:
            raise ConfigurationError(f"{self.title} runs on RLlib's new API stack only")
        _check(self.framework_str == "torch", "framework", self.framework_str, "'torch'")
        if not self.in_evaluation:  # where RLlib sets some of them
            check_unused(self, defaults)
        check_environment(self.title, self.env)
        mode = getattr(self.gym_env_vectorize_mode, "value", self.gym_env_vectorize_mode)
        _check(mode == "vector_entry_point", "gym_env_vectorize_mode", mode, "'vector_entry_point'")
        if self.is_multi_agent:
            raise ConfigurationError(f"{self.title} takes the whole fleet as one agent; leave multi_agent() out")
        if not (isinstance(self.env_runner_cls, type) and issubclass(self.env_runner_cls, LADTSEnvRunner)):
            raise ConfigurationError(
                f"{self.title} needs a runner that keeps its latent memory: env_runner_cls must be a LADTSEnvRunner, "
                f"got {self.env_runner_cls}"
            )

    def _check_meaningful(self, defaults: LADTSConfig) -> None:
        """Refuse values of settings that the algorithm, or its objective, does not have."""
        if "objective" not in self.without and not self.learns_from_costs:
            for key in sorted(OBJECTIVE_SETTINGS - {"objective"}):
                if getattr(self, key) != getattr(defaults, key):
                    raise ConfigurationError(
                        f"{key} needs objective='system_delay', got {getattr(self, key)!r} with {self.objective!r}"
                    )
        for key in sorted(self.without, key=lambda key: (key != "objective", key)):
            if getattr(self, key) != getattr(defaults, key):
                raise ConfigurationError(f"{self.title} has no {key}, got {getattr(self, key)!r}; leave it out")

    def _check_replay(self) -> None:
        if self.learns_from_costs:  # no replay
            return
        total_batch = self.total_train_batch_size
        if total_batch > self.replay_capacity:
            raise ConfigurationError(
                f"a batch of {total_batch} transitions does not fit into replay_capacity {self.replay_capacity}; "
                "lower train_batch_size_per_learner or raise replay_capacity"
            )
        if not total_batch - 1 <= self.learning_starts < self.replay_capacity:
            raise ConfigurationError(
                f"learning_starts {self.learning_starts} must be at least {total_batch - 1}, the batch of all learners "
                f"less one, and below replay_capacity {self.replay_capacity}"
            )

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """Module that the algorithm builds unless the user gives another."""
        from lad_rllib.algorithms.common.rl_module import LADTSTorchRLModule
        from lad_rllib.algorithms.lad_pmd import SystemRLModule

        if self.learns_from_costs:
            return RLModuleSpec(module_class=SystemRLModule)
        return RLModuleSpec(module_class=LADTSTorchRLModule)

    def get_default_learner_class(self) -> type:
        """Learner of the algorithm."""
        from lad_rllib.algorithms.common.learner import LADTSTorchLearner
        from lad_rllib.algorithms.lad_pmd import SystemDelayLearner

        if self.learns_from_costs:
            return SystemDelayLearner
        return LADTSTorchLearner

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        own: dict[str, Any] = {"initial_alpha": self.initial_alpha, "actor": self.actor}
        if self.learns_from_costs:
            keys = ("shared_actor", "prior_queue_weight", "in_slot_view", "latent_decay")
            own = {key: getattr(self, key) for key in keys}
        return super()._model_config_auto_includes | {
            **own,
            "hidden_sizes": tuple(self.hidden_sizes),
            "policy_denoising_steps": self.policy_denoising_steps,
            "denoiser_output": self.denoiser_output,
            "beta_min": self.beta_min,
            "beta_max": self.beta_max,
            "clip_denoised": self.clip_denoised,
            "latent_start": self.latent_start,
            "kernels": self.kernels,
            "seed": self.seed,
        }


def _check(is_valid: bool, key: str, value: Any, valid: str) -> None:
    if not is_valid:
        raise ConfigurationError(f"{key} must be {valid}, got {value!r}")
