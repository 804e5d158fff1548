"""One edge server of a fleet: what it is, where it runs and what it needs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from lad_rllib.declared import Declared, Text, check_keys, declared, plain, shown, suggestion
from lad_rllib.edge import MEMORY_PROFILES, DeviceProfile, get_profile
from lad_rllib.edge.engines.diffusers import DTYPES
from lad_rllib.edge.engines.pipeline import model_folder
from lad_rllib.edge.engines.profiles import MAX_DURATION_S, Side
from lad_rllib.edge.server import MAX_QUEUE_LIMIT
from lad_rllib.edge.task import MAX_GUIDANCE
from lad_rllib.errors import ConfigurationError

EMBEDDED = "embedded"
"""Name that stands for the image model which comes with the package."""

MAX_SERVERS = 1000
"""Servers of a fleet; each is a process of its own, of at least 134 MB."""

MAX_SEED = 2**62


def _name(text: str) -> str:
    if "/" in text or not text.isprintable():
        raise ValueError("must be a text without a slash or a line break")
    return text


def _no_core(amounts: dict[str, float]) -> dict[str, float]:
    for reserved, key in (("CPU", "num_cpus"), ("GPU", "num_gpus")):
        if reserved in amounts:
            raise ValueError(f"must not name {reserved}; say {key} instead")
    return amounts


Name = Annotated[Text, AfterValidator(_name)]
"""Name of a fleet or server, part of the name of a Ray actor."""

Amount = Annotated[float, Field(ge=0, le=1e9)]
Positive = Annotated[float, Field(gt=0, le=1e9)]
Size = Annotated[list[Side], Field(min_length=2, max_length=2)]


class ServerSpec(Declared):
    """What every edge server has; ``docs/fleets.md`` has the same as a table.

    Attributes:
        name: Name, unique in the fleet.
        kind: ``emulated`` (a service-time model) or ``diffusers`` (a real pipeline).
        num_cpus: CPUs that Ray reserves; fractions are honoured.
        num_gpus: GPUs that Ray reserves; a fraction limits no memory.
        resources: Custom resources of the node that it needs, which pin it to a node that has them.
        labels: Node labels and the value, or Ray's selector (``!x``, ``in(x, y)``), that it needs in the same way.
        link_rate_mbit_per_s: Rate of its emulated link [Mbit/s]; None: no link is emulated.
        queue_limit: Tasks that may wait beside the running one.
        max_restarts: How often Ray starts its process again after it was lost; -1: always.
        stall_s: Unhealthy if the running task did no step for so long [s].
        allowed_sizes: Sizes (width, height) that are served [pixel]; None: all that the engine can.
        warm_up_sizes: Sizes that run once before it is ready [pixel]; None: the engine's default size.
    """

    name: Name
    kind: str
    num_cpus: Amount
    num_gpus: Amount = 0.0
    resources: Annotated[dict[Text, Positive], AfterValidator(_no_core)] = {}
    labels: dict[Text, str] = {}
    link_rate_mbit_per_s: Positive | None = None
    queue_limit: Annotated[int, Field(ge=1, le=MAX_QUEUE_LIMIT)] = 64
    max_restarts: Annotated[int, Field(ge=-1, le=2**31 - 1)] = 1
    stall_s: Positive = 300.0
    allowed_sizes: Annotated[list[Size], Field(min_length=1)] | None = None
    warm_up_sizes: list[Size] | None = None

    @property
    def is_pinned(self) -> bool:
        """Whether resources or labels of its own decide where it runs."""
        return bool(self.resources or self.labels)

    def to_dict(self) -> dict[str, Any]:
        """The server as an entry of a fleet file, every key of its kind filled in."""
        return self.model_dump()


class EmulatedServer(ServerSpec):
    """An emulated server.

    Attributes:
        profile: Service times.
        seed: Seed of the jitter.
        cold_start: Whether loading takes the profile's ``cold_start_s``.
        make_png: Whether to draw a picture.
    """

    kind: Literal["emulated"] = "emulated"
    num_cpus: Amount = 0.1  # it sleeps nearly all the time
    profile: DeviceProfile
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] = 0
    cold_start: bool = False
    make_png: bool = True


class DiffusersServer(ServerSpec):
    """A server with a real pipeline.

    Attributes:
        model: ``embedded``, the folder of a pipeline, or a name of the Hugging Face hub.
        dtype: Number format, see :class:`~lad_rllib.edge.DiffusersEngine`.
        device: torch device.
        memory_profile: One of :data:`~lad_rllib.edge.MEMORY_PROFILES`.
        guidance: Guidance scale; None: the pipeline's.
        negative_prompt: What images should not show.
        width: Default width [pixel]; None: the model's.
        height: Default height [pixel]; None: the model's.
        max_sequence_length: Tokens of T5; None: see the engine.
        least_step_s: Least time of a denoising step [s], to emulate a slower device; 0: none.
    """

    kind: Literal["diffusers"] = "diffusers"
    num_cpus: Amount = 1.0  # it computes on a core, or feeds a GPU
    model: Text = EMBEDDED
    dtype: Literal[DTYPES] = "auto"  # type: ignore[valid-type]
    device: Text = "auto"
    memory_profile: Literal[tuple(MEMORY_PROFILES)] = "full"  # type: ignore[valid-type]
    guidance: Annotated[float, Field(ge=0, le=MAX_GUIDANCE)] | None = None
    negative_prompt: str = ""
    width: Side | None = None
    height: Side | None = None
    max_sequence_length: Annotated[int, Field(ge=0, le=2**16)] | None = None
    least_step_s: Annotated[float, Field(ge=0, le=MAX_DURATION_S)] = 0.0


AnyServer = EmulatedServer | DiffusersServer


class _OfTheEntry(Declared):
    """Keys of a file's entry that no single server keeps."""

    count: Annotated[int, Field(ge=1, le=MAX_SERVERS)] = 1
    profiles: Text | None = None


_GROUPS: dict[str, type[EmulatedServer] | type[DiffusersServer]] = {
    "emulated": EmulatedServer,
    "diffusers": DiffusersServer,
}
_KEYS = {
    "emulated": {*EmulatedServer.model_fields, "count", "profiles"},
    "diffusers": {*DiffusersServer.model_fields, "count"},
}


def server_specs(where: str, entry: object, position: int, folder: Path) -> list[AnyServer]:
    """The servers that one entry of a fleet's list describes: ``count`` of them.

    Args:
        where: The fleet, for messages.
        entry: The entry.
        position: Servers before it, which gives a server without name or seed its own.
        folder: Folder that relative paths start from.

    Raises:
        ConfigurationError: one line for the first thing that is wrong.
    """
    if not isinstance(entry, Mapping):
        raise ConfigurationError(f"{where}, server number {position} must map keys to values, got {shown(entry)}")
    name = entry.get("name")
    known = name if isinstance(name, str) and name.strip() and name == shown(name).strip("'") else f"number {position}"
    where = f"{where}, server {known}: "
    kind = _kind(where, entry)
    values = {"name": f"{kind}-{position}"} | plain(entry)
    once = declared(_OfTheEntry, {key: values.pop(key) for key in _OfTheEntry.model_fields if key in values}, where)
    if kind == "emulated":
        values = {"seed": position, "profile": None} | values
        values["profile"] = _profile(where, values, once.profiles, folder)
    elif isinstance(model := values.get("model"), str) and model.strip() and model != EMBEDDED:
        values["model"] = _named(where, lambda: model_folder(model, folder))
    server = declared(_GROUPS[kind], values, where)
    _check_contradictions(where, server)
    if once.count == 1:
        return [server]
    several = [{"name": f"{server.name}-{index}"} for index in range(once.count)]
    if isinstance(server, EmulatedServer):
        return [server.model_copy(update=one | {"seed": server.seed + index}) for index, one in enumerate(several)]
    return [server.model_copy(update=one) for one in several]


def _kind(where: str, entry: Mapping[Any, Any]) -> str:
    """The entry's kind, once every key is known to be of some kind, and then of this one."""
    every = set().union(*_KEYS.values())
    check_keys(where, entry, every)
    kind = entry.get("kind")
    if not isinstance(kind, str) or kind not in _KEYS:
        raise ConfigurationError(f"{where}kind must be one of {', '.join(_KEYS)}, got {shown(kind)}")
    for key in entry:
        if key not in _KEYS[kind]:
            raise ConfigurationError(f"{where}key {key!r} is not of kind {kind}; {suggestion(key, _KEYS[kind])}")
    return kind


def _check_contradictions(where: str, server: AnyServer) -> None:
    if not (server.num_cpus or server.num_gpus or server.resources):
        raise ConfigurationError(f"{where}num_cpus 0 without num_gpus or resources reserves nothing; say num_cpus: 0.1")
    if isinstance(server, EmulatedServer):
        return
    layout = MEMORY_PROFILES[server.memory_profile]
    if layout.needs_cuda and server.device == "cpu":
        raise ConfigurationError(f"{where}memory_profile {layout.name} needs a CUDA device, but device is cpu")
    for key, needs in (("memory_profile", layout.needs_cuda), ("device", server.device.startswith("cuda"))):
        if needs and not server.num_gpus:
            value = getattr(server, key)
            raise ConfigurationError(f"{where}{key} {value} needs a GPU, but num_gpus is 0; say num_gpus: 1")


def _profile(where: str, values: Mapping[str, Any], profiles: str | None, folder: Path) -> object:
    """An entry's device profile: what a name stands for, and what a mapping of its fields leaves out."""
    profile = values["profile"]
    if isinstance(profile, str):
        path = None if profiles is None else folder / os.path.expanduser(profiles)
        return _named(where, lambda: get_profile(profile, path))
    if isinstance(profile, Mapping):
        return {"name": values["name"], "origin": "assumption", "source": "the fleet's own numbers", **profile}
    return profile


def _named(where: str, read: Callable[[], Any]) -> Any:
    """What is read, or its error with the name of the server before it."""
    try:
        return read()
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}{error}") from None
