"""Configuration of LAD-TS: every hyperparameter, what it means, and where its value comes from."""

from __future__ import annotations

import math
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from lad_rllib.diffusion.compiled import check_kernels
from lad_rllib.errors import ConfigurationError

PRESETS: dict[str, dict[str, Any]] = {
    "published_code": {
        "latent_index": "station_slot_task",
        "latent_content": "probabilities",
        "denoiser_output": "softmax",
        "clip_denoised": None,
        "replay_latent": "after_acting",
        "target_entropy": -1.0,
    },
    "paper": {
        "latent_index": "station_task",
        "latent_content": "logits",
        "denoiser_output": "linear",
        "clip_denoised": 3.0,
        "replay_latent": "before_acting",
        "target_entropy": "auto",
    },
}
"""Where the paper's text and its published code differ; see the algorithm's README."""

_CHOICES = {
    "latent_index": ("station_slot_task", "station_task"),
    "latent_content": ("probabilities", "logits"),
    "denoiser_output": ("softmax", "linear"),
    "replay_latent": ("after_acting", "before_acting"),
    "kernels": ("auto", "torch", "compiled"),
}

_POSITIVE = ("beta_min", "beta_max", "initial_alpha", "actor_lr", "critic_lr", "alpha_lr")
_AT_LEAST_ONE = ("policy_denoising_steps", "replay_capacity", "train_batch_size_per_learner", "torch_threads")


_RLLIB_KEYS = ("multiagent", "_enable_new_api_stack")
"""Keys of RLlib's dictionaries that are no attributes. Those that Ray Tune adds begin with two underscores."""


class LADTSConfig(AlgorithmConfig):
    """Configures :class:`~lad_rllib.algorithms.lad_ts.algorithm.LADTS`.

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

    def __init__(self, algo_class: type | None = None) -> None:
        from lad_rllib.algorithms.lad_ts.env_runner import LADTSEnvRunner

        if algo_class is None:
            from lad_rllib.algorithms.lad_ts.algorithm import LADTS

            algo_class = LADTS
        super().__init__(algo_class=algo_class)
        # Latent action diffusion (arXiv 2412.18212, section on LADN).
        self.preset = "published_code"
        self.policy_denoising_steps = 5
        self.hidden_sizes: tuple[int, ...] = (20, 20)
        self.beta_min = 0.1
        self.beta_max = 10.0
        self.latent_index = "station_slot_task"
        self.latent_content = "probabilities"
        self.denoiser_output = "softmax"
        self.clip_denoised: float | None = None
        self.replay_latent = "after_acting"
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

    def training(
        self,
        *,
        preset: str = NotProvided,
        policy_denoising_steps: int = NotProvided,
        hidden_sizes: tuple[int, ...] = NotProvided,
        beta_min: float = NotProvided,
        beta_max: float = NotProvided,
        latent_index: str = NotProvided,
        latent_content: str = NotProvided,
        denoiser_output: str = NotProvided,
        clip_denoised: float | None = NotProvided,
        replay_latent: str = NotProvided,
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
                ``latent_index``, ``latent_content``, ``denoiser_output``, ``clip_denoised``, ``replay_latent`` and
                ``target_entropy``; those given beside it win.
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
            **kwargs: RLlib's common keys, among them ``gamma`` (0.95), ``train_batch_size_per_learner`` (64
                transitions of each station) and ``grad_clip`` (None; clips each network by itself).

        Raises:
            ConfigurationError: for an unknown preset.
            TypeError: for an unknown key.
        """
        given = {k: v for k, v in locals().items() if k not in ("self", "kwargs", "__class__") and v is not NotProvided}
        super().training(**kwargs)
        if "preset" in given:
            if given["preset"] not in PRESETS:
                raise ConfigurationError(f"unknown preset {given['preset']!r}; choose from {', '.join(PRESETS)}")
            given = PRESETS[given["preset"]] | given
        for key, value in given.items():
            setattr(self, key, tuple(value) if key == "hidden_sizes" else value)
        return self

    def update_from_dict(self, config_dict: dict[str, Any]) -> LADTSConfig:
        """Set values by name (as Ray Tune does); a ``preset`` sets its group first, other keys win over it.

        Raises:
            ConfigurationError: for a key that does not exist.
        """
        for key in config_dict:
            name = self._translate_special_keys(key, warn_deprecated=False)
            is_setting = name in vars(self) or isinstance(getattr(type(self), name, None), property)
            if not is_setting and name not in _RLLIB_KEYS and not name.startswith("__"):
                raise ConfigurationError(f"unknown configuration key {key!r} for LAD-TS")
        if "preset" in config_dict:
            self.training(preset=config_dict["preset"])
        super().update_from_dict(config_dict)
        self.hidden_sizes = tuple(self.hidden_sizes)
        return self

    def resolved_target_entropy(self, num_servers: int) -> float:
        """Target entropy [nat] for a number of servers."""
        return 0.5 * math.log(num_servers) if self.target_entropy == "auto" else float(self.target_entropy)

    def get_rollout_fragment_length(self, worker_index: int = 0) -> int | None:
        """Slots between weight updates: one for a local runner, a whole episode (None) for remote ones."""
        if self.rollout_fragment_length == "auto":
            return 1 if self.num_env_runners == 0 else None
        return int(self.rollout_fragment_length)

    def validate(self) -> None:
        """Check all values against each other.

        Raises:
            ConfigurationError: names the value and what would be valid.
        """
        self._check_process()
        super().validate()
        for key, choices in _CHOICES.items():
            _check(getattr(self, key) in choices, key, getattr(self, key), f"one of {', '.join(choices)}")
        for key in _POSITIVE:
            value = getattr(self, key)
            _check(not isinstance(value, (int, float)) or value > 0, key, value, "positive")
        for key in _AT_LEAST_ONE:
            _check(getattr(self, key) >= 1, key, getattr(self, key), "at least 1")
        check_kernels(self.kernels)
        _check(0 < self.tau <= 1, "tau", self.tau, "in (0, 1]")
        _check(0 <= self.gamma <= 1, "gamma", self.gamma, "in [0, 1]")
        _check(self.updates_per_slot >= 0, "updates_per_slot", self.updates_per_slot, "at least 0")
        _check(
            not isinstance(self.target_entropy, str) or self.target_entropy == "auto",
            "target_entropy",
            self.target_entropy,
            "a number or 'auto'",
        )
        limit = self.clip_denoised
        is_limit = limit is None or (isinstance(limit, (int, float)) and limit > 0)
        _check(is_limit, "clip_denoised", limit, "positive, or None for no limit")
        sizes = self.hidden_sizes
        _check(len(sizes) > 0 and min(sizes) >= 1, "hidden_sizes", sizes, "one or more widths of at least 1")
        if self.beta_min > self.beta_max:
            raise ConfigurationError(f"beta_min {self.beta_min} must not exceed beta_max {self.beta_max}")
        self._check_replay()

    def _check_process(self) -> None:
        """RLlib's own settings: refuse those that would be ignored or go wrong later."""
        from lad_rllib.algorithms.lad_ts.env_runner import LADTSEnvRunner

        if not self.enable_env_runner_and_connector_v2 or not self.enable_rl_module_and_learner:
            raise ConfigurationError("LAD-TS runs on RLlib's new API stack only")
        _check(self.framework_str == "torch", "framework", self.framework_str, "'torch'")
        if self.is_multi_agent:
            raise ConfigurationError("LAD-TS takes the whole fleet as one agent; leave multi_agent() out")
        if not (isinstance(self.env_runner_cls, type) and issubclass(self.env_runner_cls, LADTSEnvRunner)):
            raise ConfigurationError(
                f"LAD-TS needs a runner that keeps its latent memory: env_runner_cls must be a LADTSEnvRunner, "
                f"got {self.env_runner_cls}"
            )
        for key in ("_env_to_module_connector", "_module_to_env_connector", "_learner_connector"):
            if getattr(self, key) is not None:
                raise ConfigurationError(
                    f"LAD-TS does not use connectors, but {key.strip('_')} is set; preprocess in the environment"
                )

    def _check_replay(self) -> None:
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
        from lad_rllib.algorithms.lad_ts.rl_module import LADTSTorchRLModule

        return RLModuleSpec(module_class=LADTSTorchRLModule)

    def get_default_learner_class(self) -> type:
        """Learner of the algorithm."""
        from lad_rllib.algorithms.lad_ts.learner import LADTSTorchLearner

        return LADTSTorchLearner

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        return super()._model_config_auto_includes | {
            "hidden_sizes": tuple(self.hidden_sizes),
            "policy_denoising_steps": self.policy_denoising_steps,
            "denoiser_output": self.denoiser_output,
            "beta_min": self.beta_min,
            "beta_max": self.beta_max,
            "clip_denoised": self.clip_denoised,
            "initial_alpha": self.initial_alpha,
            "kernels": self.kernels,
            "seed": self.seed,
        }


def _check(is_valid: bool, key: str, value: Any, valid: str) -> None:
    if not is_valid:
        raise ConfigurationError(f"{key} must be {valid}, got {value!r}")
