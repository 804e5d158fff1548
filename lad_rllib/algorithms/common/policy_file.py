"""A trained policy on disk, in a form that runs no code: ``policy.json`` and ``policy.safetensors``.

``policy.json`` says what the networks are, what they saw and how they act; ``policy.safetensors`` holds their weights
(as the RLModule names them) and what the algorithm remembers besides. Both are checked before anything is built from
them: types and bounds, the weights' size and SHA-256, shapes, kinds of numbers, and that all are finite.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pyarrow import fs
from pydantic import ValidationError
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from safetensors import SafetensorError
from safetensors.numpy import save
from safetensors.torch import load
from torch import nn

import lad_rllib
from lad_rllib import __version__, durable
from lad_rllib.algorithms.common.base_config import SchedulingConfig
from lad_rllib.algorithms.common.config import FleetConfig
from lad_rllib.algorithms.common.hyperparameters import NETWORK, marked
from lad_rllib.algorithms.common.meaning import meaning
from lad_rllib.algorithms.common.policy_description import PolicyDescription, WeightFile
from lad_rllib.algorithms.registry import CONFIGS
from lad_rllib.declared import declared, plain
from lad_rllib.errors import ConfigurationError
from lad_rllib.names import SHIPPED_POLICIES

FOLDER = "policy"
"""Folder of a checkpoint that holds the policy."""
DESCRIPTION, WEIGHTS = "policy.json", "policy.safetensors"
MAX_DESCRIPTION_BYTES = 16 * 2**20
_SHIPPED = Path(lad_rllib.__file__).parent / "data" / "policies"
_PICKLES = ("algorithm_state.pkl", "class_and_ctor_args.pkl")


class SavedPolicy:
    """A trained policy as it was saved; a subclass for each kind of policy says what there is besides weights.

    Args:
        description: Contents of ``policy.json``.
        arrays: Contents of ``policy.safetensors`` by name.

    Attributes:
        weights: All weights of the module by name: actors, critics and their targets, temperatures.
        config_class: Configuration class of the algorithm that trained it.
        hyperparameters: The algorithm's hyperparameters by name.

    Raises:
        ConfigurationError: if the algorithm is not known here, or has no such hyperparameters.
    """

    description_class: ClassVar[type[PolicyDescription]]

    def __init__(self, description: Any, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.description, self.weights = description, dict(arrays)
        self.config_class: type[SchedulingConfig] = CONFIGS[description.algorithm]
        group = self.config_class.hyperparameters
        self.hyperparameters: dict[str, Any] = dict(declared(group, description.hyperparameters, "hyperparameters."))

    @property
    def title(self) -> str:
        """The algorithm's name in text."""
        return self.config_class.title

    @property
    def setting(self) -> str | dict[str, Any]:
        """Setting of the environment that it was trained in: a preset's name, or its values."""
        setting: str | dict[str, Any] = self.description.setting
        return setting

    @property
    def meaning(self) -> dict[str, Any]:
        """Every setting that the weights' meaning depends on."""
        return meaning(self.config_class.hyperparameters, self.hyperparameters)

    @property
    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of the networks."""
        return {key: self.hyperparameters[key] for key in marked(self.config_class.hyperparameters, NETWORK)}

    def build_networks(self, *, inference_only: bool = True) -> nn.Module:
        """The networks without the saved weights.

        Raises:
            TypeError, ValueError: if the arguments are not those of the class.
        """
        raise NotImplementedError

    def load_networks(self) -> Any:
        """The networks that decide, with their weights."""
        networks = self.build_networks()
        weights = {key: torch.from_numpy(self.weights["networks." + key]) for key in networks.state_dict()}
        networks.load_state_dict(weights)
        return networks

    def check_size(self) -> None:
        """Refuse sizes that the weights at hand cannot be of, before anything is built from them.

        Raises:
            ValueError: says what does not fit.
        """

    def check_memory(self, networks: Any) -> None:
        """Refuse what is remembered, if it does not fit the networks.

        Raises:
            ValueError: says what does not fit.
        """

    @classmethod
    def described(cls, algorithm: Any, spec: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """What ``policy.json`` says besides the common part, and arrays besides the weights, of a running algorithm."""
        raise NotImplementedError


# -- Writing ----------------------------------------------------------------------------------------------------------


def write_policy(algorithm: Any, path: str, filesystem: Any = None) -> None:
    """Write the policy of an algorithm into a checkpoint.

    Networks or hyperparameters of a user's own class have no such form, unless :data:`CONFIGS` has that algorithm.

    Args:
        algorithm: A :class:`~lad_rllib.algorithms.common.base_algorithm.SchedulingAlgorithm`.
        path: The checkpoint: a folder, or a URI.
        filesystem: pyarrow's filesystem of the path, if it is not in the path.
    """
    spec = algorithm.config.get_multi_rl_module_spec(spaces=algorithm.spaces).rl_module_specs[DEFAULT_MODULE_ID]
    name = algorithm.config.name
    if name not in CONFIGS:
        return
    known, own = CONFIGS[name], (spec.module_class.networks_class, algorithm.config.hyperparameters)
    if own != (known.module_class.networks_class, known.hyperparameters):
        return
    learner = algorithm.learner_group.get_state(components=f"{COMPONENT_LEARNER}/{COMPONENT_RL_MODULE}")
    weights = learner[COMPONENT_LEARNER][COMPONENT_RL_MODULE][DEFAULT_MODULE_ID]
    own_part, remembered = known.saved_policy_class().described(algorithm, spec)
    config, values = algorithm.config, vars(algorithm.config) | spec.model_config
    description = {
        "algorithm": config.name,
        "hyperparameters": {key: plain(_value(config, values, key)) for key in config.hyperparameters.model_fields},
        "setting": config.env_config.get("setting", "paper"),
        **own_part,
    }
    if filesystem is None:
        filesystem, path = fs.FileSystem.from_uri(path)
    filesystem.create_dir(f"{path}/{FOLDER}", recursive=True)
    for name, content in policy_files(description, {**weights, **remembered}).items():
        with filesystem.open_output_stream(f"{path}/{FOLDER}/{name}") as stream:
            stream.write(content)


def policy_files(description: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> dict[str, bytes]:
    """Contents of the files of a policy by their names; the description is the last one.

    Args:
        description: What ``policy.json`` says of this kind of policy, see :class:`PolicyDescription`.
        arrays: Weights as the RLModule names them, and what is remembered besides.
    """
    data = save({name: np.ascontiguousarray(value) for name, value in arrays.items()})
    weights = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    told = {"format_version": 1, "lad_rllib": __version__, **description, "weights": weights}
    return {WEIGHTS: data, DESCRIPTION: (json.dumps(told, indent=1, default=_plain) + "\n").encode()}


def _value(config: Any, values: Mapping[str, Any], key: str) -> Any:
    """A hyperparameter; RLlib keeps some of its own under other names."""
    return values[key] if key in values else getattr(config, key)


def _plain(value: Any) -> Any:
    """What JSON has no form for: numpy's numbers and arrays; the rest, such as paths, as text."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)


# -- Reading ----------------------------------------------------------------------------------------------------------


def read_policy(path: str | Path) -> SavedPolicy:
    """Read a policy from a checkpoint, or from its folder ``policy`` alone; never a pickle.

    Args:
        path: Folder on this machine; or the name of a policy that comes with the package,
            :data:`lad_rllib.names.SHIPPED_POLICIES` (a folder of that name is ``./NAME``).

    Raises:
        ConfigurationError: if there is no policy, or it is damaged or malformed.
    """
    folder = _SHIPPED / path if path in SHIPPED_POLICIES else _policy_folder(path)
    values = _read_json(folder / DESCRIPTION)
    saved_class = _saved_class(values)
    description = _validated(saved_class.description_class, values, folder / DESCRIPTION)
    arrays = _read_arrays(folder / WEIGHTS, description.weights)
    try:
        saved = saved_class(description, arrays)
        saved.check_size()
        networks = saved.build_networks(inference_only=False)
        _check_weights(saved, networks)
        saved.check_memory(networks)
    except (TypeError, ValueError, KeyError) as error:
        raise ConfigurationError(f"{folder} is not a policy that can be used: {_one_line(error)}") from None
    return saved


def _policy_folder(path: str | Path) -> Path:
    folder = Path(os.path.expanduser(path))
    if not folder.exists():
        if previous := _previous(folder):
            raise ConfigurationError(f"there is no checkpoint {path}; the one before it is {previous}")
        raise ConfigurationError(f"there is no checkpoint {path}; give a folder that 'lad-rllib train' wrote")
    checkpoint = folder.parent if folder.name == FOLDER else folder
    if (checkpoint / durable.SEAL).exists():
        _check_seal(checkpoint)
    for candidate in (folder / FOLDER, folder):
        if (candidate / DESCRIPTION).is_file():
            return candidate
    if any((folder / pickled).exists() for pickled in _PICKLES):
        raise ConfigurationError(
            f"{path} holds RLlib's pickles but no {FOLDER}/; pickles can run code and are read by --resume alone: go "
            f"on with its run by 'lad-rllib train --resume', which writes {FOLDER}/, or ask its author for that folder"
        )
    raise ConfigurationError(
        f"{path} is not a checkpoint: {FOLDER}/{DESCRIPTION} is missing; give the folder 'checkpoint' of a run"
    )


def _read_bytes(file: Path, most: int) -> bytes:
    """Contents of a regular file of limited size."""
    try:
        if not file.is_file():
            raise ConfigurationError(f"{file} is missing; give a folder with a whole policy")
        with file.open("rb") as stream:
            data = stream.read(most + 1)
    except OSError as error:
        raise ConfigurationError(f"cannot read {file}: {error.strerror or error}") from None
    if len(data) > most:
        raise ConfigurationError(f"{file} is larger than {most / 2**20:g} MiB; that is no policy")
    return data


def _saved_class(values: Any) -> type[SavedPolicy]:
    """The kind of policy that a description is of; of an unknown algorithm, those that decide slot by slot."""
    name = values.get("algorithm") if isinstance(values, dict) else None
    config: type[SchedulingConfig] = CONFIGS[name] if isinstance(name, str) and name in CONFIGS else FleetConfig
    return config.saved_policy_class()


def _read_json(file: Path) -> Any:
    try:
        return json.loads(_read_bytes(file, MAX_DESCRIPTION_BYTES))
    except (ValueError, RecursionError) as error:
        if isinstance(error, ConfigurationError):
            raise
        raise ConfigurationError(f"{file} is damaged: {_one_line(error)}; {_way_back(file)}") from None


def _validated(group: type[PolicyDescription], values: Any, file: Path) -> PolicyDescription:
    try:
        return group.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "contents"
        raise ConfigurationError(f"{file}: {where}: {_one_line(first['msg'])}; {_way_back(file)}") from None


def _read_arrays(file: Path, expected: WeightFile) -> dict[str, NDArray[Any]]:
    """All arrays of the weights' file, float32 or whole numbers, and finite."""
    data = _read_bytes(file, expected.bytes)
    if len(data) != expected.bytes or hashlib.sha256(data).hexdigest() != expected.sha256:
        raise ConfigurationError(f"{file} is damaged: it is not what {DESCRIPTION} says; {_way_back(file)}")
    try:
        arrays = {name: tensor.numpy() for name, tensor in load(data).items()}
    except (SafetensorError, TypeError, ValueError, KeyError) as error:
        raise ConfigurationError(f"{file} is no file of weights: {_one_line(error)}; {_way_back(file)}") from None
    for name, array in arrays.items():
        if array.dtype not in (np.float32, np.int32, np.int64):  # RLlib turns whole numbers into int32
            raise ConfigurationError(f"{file}: {name} is of {array.dtype}, weights are float32")
        if not np.isfinite(array).all():
            raise ConfigurationError(f"{file}: {name} has values that are not finite; take an earlier checkpoint")
    return arrays


def _check_seal(checkpoint: Path) -> None:
    """Refuse a checkpoint whose policy is not what was written."""
    try:
        durable.check_seal(checkpoint, under=f"{FOLDER}/")
    except ConfigurationError as error:
        raise ConfigurationError(f"{error}; {_way_back(checkpoint / FOLDER / DESCRIPTION)}") from None


def _way_back(file: Path) -> str:
    """Where an earlier policy may be."""
    previous = _previous(file.parent.parent)
    return f"the one before it is {previous}" if previous else "take another checkpoint"


def _previous(checkpoint: Path) -> Path | None:
    """The checkpoint before one of a run, if it is there."""
    previous = checkpoint.with_name(f"{checkpoint.name}{durable.PREVIOUS}")
    return previous if (previous / FOLDER / DESCRIPTION).is_file() else None


def _check_weights(saved: SavedPolicy, networks: nn.Module) -> None:
    """Refuse weights that are missing, or of another shape than the networks'."""
    for key, tensor in networks.state_dict().items():
        wanted, found = tensor.numpy(), saved.weights.get(f"networks.{key}")
        if found is None:
            raise ValueError(f"networks.{key} is missing in {WEIGHTS}")
        if found.shape != wanted.shape or found.dtype.kind != wanted.dtype.kind:
            raise ValueError(
                f"networks.{key} is {found.dtype}{list(found.shape)}, {wanted.dtype}{list(wanted.shape)} is due"
            )


def _one_line(error: object) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
