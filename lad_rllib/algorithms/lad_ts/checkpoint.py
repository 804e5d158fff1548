"""What a checkpoint of LAD-TS holds of a trained policy, read without RLlib's machinery."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lad_rllib.algorithms.lad_ts.actors import ActingNetworks
from lad_rllib.errors import ConfigurationError

_MODULE = Path("learner_group/learner/rl_module/default_policy")


@dataclass(frozen=True)
class SavedPolicy:
    """A trained policy as it was saved.

    Attributes:
        weights: All weights of the module by name: actors, critics and their targets, temperatures.
        model_config: Arguments of the networks.
        spaces: Observation space by key.
        config: The algorithm's configuration, as a dictionary.
        latent_state: Latent memory of the first runner; None if nothing was sampled before saving.
        title: The algorithm's name in text, such as ``"LAD-TS"``.
        networks_class: Class of its networks.
    """

    weights: Mapping[str, Any]
    model_config: Mapping[str, Any]
    spaces: Mapping[str, Any]
    config: Mapping[str, Any]
    latent_state: Mapping[str, Any] | None
    title: str
    networks_class: type[ActingNetworks]

    @property
    def env_config(self) -> Mapping[str, Any]:
        """Configuration of the environment that it was trained in."""
        env_config: Mapping[str, Any] = self.config["env_config"]
        return env_config


def read_checkpoint(path: str | Path) -> SavedPolicy:
    """Read the policy from a checkpoint of the algorithm (a folder on this machine).

    Raises:
        ConfigurationError: if the folder is no checkpoint of LAD-TS.
    """
    folder = Path(path).expanduser().resolve()
    try:
        state = _unpickle(folder / "algorithm_state.pkl")
        built = _unpickle(folder / _MODULE / "class_and_ctor_args.pkl")
        module = built["ctor_args_and_kwargs"][1]
        algorithm = _unpickle(folder / "class_and_ctor_args.pkl")
        runners = state["runner_states"]
        return SavedPolicy(
            weights=_unpickle(folder / _MODULE / "module_state.pkl"),
            model_config=module["model_config"],
            spaces=module["observation_space"],
            config=algorithm["ctor_args_and_kwargs"][0][0],
            latent_state=runners[min(runners)]["latent_memory"] if runners else None,
            title=algorithm["class"].get_default_config().title,
            networks_class=built["class"].networks_class,
        )
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ConfigurationError(
            f"{path} is not a checkpoint of LAD-TS: {Path(error.filename).name} is missing"
        ) from None
    except (AttributeError, KeyError, IndexError, EOFError, pickle.UnpicklingError) as error:
        raise ConfigurationError(f"{path} is not a checkpoint of LAD-TS that this version reads: {error}") from None


def _unpickle(path: Path) -> Any:
    with path.open("rb") as file:
        return pickle.load(file)
