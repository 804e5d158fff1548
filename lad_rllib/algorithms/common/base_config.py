"""Configuration that all algorithms share; a sibling adds its hyperparameters and its classes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.tune.search.variant_generator import parse_spec_vars

from lad_rllib.algorithms.common.base_module import SchedulingTorchRLModule
from lad_rllib.algorithms.common.hyperparameters import (
    NETWORK,
    LearningHyperparameters,
    arguments_text,
    check_torch_threads,
    defaults,
    marked,
)
from lad_rllib.algorithms.common.meaning import meaning
from lad_rllib.algorithms.common.rllib_keys import check_given, check_unused
from lad_rllib.declared import check_some, declared, plain, shown, suggestion
from lad_rllib.errors import ConfigurationError
from lad_rllib.kernels import make_backend

if TYPE_CHECKING:
    from lad_rllib.algorithms.common.policy_file import SavedPolicy

_OF_RLLIB = frozenset(inspect.signature(AlgorithmConfig.training).parameters) - {"self"}
"""What RLlib's own ``training()`` takes; what would do nothing here is refused with what does its job."""
_RLLIB_KEYS = ("multiagent", "_enable_new_api_stack", "class")
"""Keys of RLlib's dictionaries that are no settings. Those that Ray Tune adds begin with two underscores."""


class SchedulingConfig(AlgorithmConfig):
    """Configures a :class:`~lad_rllib.algorithms.common.base_algorithm.SchedulingAlgorithm`.

    A sibling names itself, declares its hyperparameters, and gives its module, its learner and its env runner.
    """

    name: ClassVar[str]
    """Name on the command line and in policy files."""
    title: ClassVar[str]
    """Name of the algorithm in text."""
    hyperparameters: ClassVar[type[LearningHyperparameters]]
    """Declaration of what :meth:`training` takes."""
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Groups of hyperparameters that ``training(preset=...)`` sets."""
    module_base: ClassVar[type[SchedulingTorchRLModule]] = SchedulingTorchRLModule
    """What a user's own RLModule must inherit from."""
    module_class: ClassVar[type[SchedulingTorchRLModule]]
    """RLModule that is built unless the user gives another."""
    own_unused: ClassVar[Mapping[str, str]] = {}
    """Keys of RLlib that do nothing in this algorithm, beside those that do nothing in any, and what does their job."""
    queue_unit: ClassVar[str | None] = None
    """Unit of the queues that the algorithm needs; None: any, or it sees none."""
    vectorize_mode: ClassVar[str]
    """How several environments of one runner are made, in RLlib's words."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Give a class that declares hyperparameters a ``training()`` that shows them."""
        super().__init_subclass__(**kwargs)
        if "hyperparameters" in vars(cls) and "training" not in vars(cls):
            cls.training = _training_of(cls)  # type: ignore[method-assign]

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class)
        for key, value in defaults(self.hyperparameters).items():
            self._set(key, value)
        self.env_runner_cls = self.default_env_runner_class()
        self.gym_env_vectorize_mode = self.vectorize_mode
        self.normalize_actions = False
        self.clip_actions = False
        self.episodes_to_numpy = True
        self.sample_timeout_s = None  # an episode in wall time takes as long as it takes; Ray notices a lost runner
        self.evaluation_sample_timeout_s = None
        self.rollout_fragment_length = "auto"
        self.batch_mode = "truncate_episodes"
        self._dont_auto_sync_env_runner_states = True  # no connectors; it would wait for every runner's episode
        self.simple_optimizer = False  # or else RLlib sets it when it validates

    def _set(self, key: str, value: Any) -> None:
        value = plain(value)
        setattr(self, key, tuple(value) if key == "hidden_sizes" and isinstance(value, list) else value)

    # -- Setting values -------------------------------------------------------------------------------------------

    def training(self, **settings: Any) -> Self:
        """Set hyperparameters, see :attr:`hyperparameters`, or RLlib's own training settings.

        A preset sets its group first; values beside it win. Search spaces of Ray Tune are checked once drawn from.

        Raises:
            ConfigurationError: for an unknown key, a value out of bounds, or a key of RLlib's that does nothing here.
        """
        given = {key: value for key, value in settings.items() if value is not NotProvided}
        own = {key: given.pop(key) for key in list(given) if key in self.hyperparameters.model_fields}
        for key in given.keys() - _OF_RLLIB:
            raise self._unknown(key)
        check_given(given, self.own_unused)
        _, domains, grids = parse_spec_vars(own)
        searched = {path[0] for path, _ in (*domains, *grids)} - {"preset"}  # whose group is set here
        check_some(self.hyperparameters, {key: value for key, value in own.items() if key not in searched})
        super().training(**given)
        for key, value in {**self.presets.get(own.get("preset", ""), {}), **own}.items():
            self._set(key, value)
        return self

    def update_from_dict(self, config_dict: dict[str, Any]) -> Self:
        """Set values by name (as Ray Tune does); ``preset`` sets its group first, other keys win.

        Raises:
            ConfigurationError: for a key that does not exist.
        """
        for key in config_dict:
            name = self._translate_special_keys(key, warn_deprecated=False)
            is_setting = name in vars(self) or isinstance(getattr(type(self), name, None), property)
            if not is_setting and name not in _RLLIB_KEYS and not name.startswith("__"):
                raise self._unknown(key)
        if "preset" in config_dict:
            self.training(preset=config_dict["preset"])
        rest = dict(config_dict)
        for key in ("model", "optimizer"):  # RLlib passes them to training(), also when it copies a configuration
            if key in rest:
                setattr(self, key, rest.pop(key))
        super().update_from_dict(rest)
        if "hidden_sizes" in vars(self):
            self._set("hidden_sizes", self.hidden_sizes)
        return self

    def _unknown(self, key: str) -> ConfigurationError:
        return ConfigurationError(
            f"{self.title} has no setting {shown(key)}; {suggestion(key, self.hyperparameters.model_fields)}"
        )

    # -- What siblings add to --------------------------------------------------------------------------------------

    @classmethod
    def default_env_runner_class(cls) -> type:
        """Env runner of the algorithm; a user's own must inherit from it."""
        raise NotImplementedError

    @classmethod
    def saved_policy_class(cls) -> type[SavedPolicy]:
        """Form of its trained policies on disk, a :class:`~lad_rllib.algorithms.common.policy_file.SavedPolicy`."""
        raise NotImplementedError

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """Module that the algorithm builds unless the user gives another."""
        return RLModuleSpec(module_class=self.module_class)

    def meaning(self) -> dict[str, Any]:
        """Everything that the meaning of trained weights depends on, by name."""
        return meaning(self.hyperparameters, vars(self))

    def check_environment(self) -> None:
        """Refuse an environment that the algorithm cannot take, as far as its name or class tells.

        Raises:
            ConfigurationError: says which there are.
        """

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        arguments = {key: getattr(self, key) for key in marked(self.hyperparameters, NETWORK)}
        return super()._model_config_auto_includes | arguments | {"seed": self.seed}

    # -- Checking ---------------------------------------------------------------------------------------------------

    def validate(self) -> None:
        """Check all values, types first, then against each other.

        Raises:
            ConfigurationError: names the value and what would be valid.
        """
        self._check_process()
        self._take_model_config()
        values = declared(self.hyperparameters, {key: getattr(self, key) for key in self.hyperparameters.model_fields})
        for key, value in values:
            self._set(key, value)
        check_torch_threads(self.torch_threads)
        super().validate()
        make_backend(self.kernels)

    def get_evaluation_config_object(self) -> SchedulingConfig | None:
        """Configuration of evaluation.

        Raises:
            ConfigurationError: if ``evaluation_config`` changes what the meaning of trained weights depends on.
        """
        evaluation: SchedulingConfig | None = super().get_evaluation_config_object()
        if evaluation is not None:
            trained, evaluated = self.meaning(), evaluation.meaning()
            for key, value in trained.items():
                check(
                    evaluated[key] == value, f"evaluation_config: {key}", evaluated[key], f"{value!r}, as in training"
                )
        return evaluation

    def _check_process(self) -> None:
        """RLlib's own settings: refuse those that would be ignored or go wrong later."""
        if not self.enable_env_runner_and_connector_v2 or not self.enable_rl_module_and_learner:
            raise ConfigurationError(f"{self.title} runs on RLlib's new API stack only")
        check(self.framework_str == "torch", "framework", self.framework_str, "'torch'")
        if not self.in_evaluation:  # where RLlib sets some of them
            check_unused(self, type(self)(), self.own_unused)
        self.check_environment()
        mode = getattr(self.gym_env_vectorize_mode, "value", self.gym_env_vectorize_mode)
        check(mode == self.vectorize_mode, "gym_env_vectorize_mode", mode, repr(self.vectorize_mode))
        if self.is_multi_agent:
            raise ConfigurationError(f"{self.title} takes the whole fleet as one agent; leave multi_agent() out")
        for key, part, base in (
            ("env_runner_cls", self.env_runner_cls, self.default_env_runner_class()),
            ("learner_class", self.learner_class, self.get_default_learner_class()),
            ("module_class", self.get_rl_module_spec().module_class, self.module_base),
        ):
            check(isinstance(part, type) and issubclass(part, base), key, part, f"a {base.__name__} for {self.title}")

    def _take_model_config(self) -> None:
        """Take the networks' arguments that ``rl_module(model_config=...)`` gives: they win over ``training()``."""
        spec, arguments = self.get_rl_module_spec(), marked(self.hyperparameters, NETWORK)
        if spec.module_class is self.module_class:
            for key in sorted(spec.model_config.keys() - {*arguments, "seed"}):
                raise ConfigurationError(
                    f"model_config: the networks of {self.title} have no argument {shown(key)}; "
                    f"{suggestion(key, arguments)}"
                )
        for key in arguments:
            self._set(key, spec.model_config[key])


def check(is_valid: bool, key: str, value: Any, valid: str) -> None:
    """Refuse a value.

    Raises:
        ConfigurationError: names the key, what is valid, and the value.
    """
    if not is_valid:
        raise ConfigurationError(f"{key} must be {valid}, got {value!r}")


def _training_of(cls: type[SchedulingConfig]) -> Any:
    """``training()`` of a class, with its hyperparameters in signature and docstring."""

    def training(self: SchedulingConfig, **settings: Any) -> SchedulingConfig:
        return super(cls, self).training(**settings)

    values, keyword = defaults(cls.hyperparameters), inspect.Parameter.KEYWORD_ONLY
    names = [inspect.Parameter(name, keyword, default=value) for name, value in values.items()]
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    rest = inspect.Parameter("settings", inspect.Parameter.VAR_KEYWORD)
    training.__signature__ = inspect.Signature([own, *names, rest])  # type: ignore[attr-defined]
    first, _, others = inspect.cleandoc(SchedulingConfig.training.__doc__ or "").partition("\nRaises:")
    training.__doc__ = f"{first}\n{arguments_text(cls.hyperparameters)}\n\nRaises:{others}"
    training.__qualname__ = f"{cls.__qualname__}.training"
    return training
