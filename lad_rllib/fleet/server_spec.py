"""One edge server of a fleet: what it is, where it runs and what it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

from lad_rllib.edge import MEMORY_PROFILES, DeviceProfile, get_profile
from lad_rllib.edge.diffusers_engine import DTYPES
from lad_rllib.edge.memory import memory_profile
from lad_rllib.edge.pipeline_loading import looks_like_folder
from lad_rllib.errors import ConfigurationError
from lad_rllib.fleet import checks

KINDS = ("emulated", "diffusers")
EMBEDDED = "embedded"
"""Name that stands for the image model which comes with the package."""

DEFAULT_NUM_CPUS = {"emulated": 0.1, "diffusers": 1.0}
"""CPUs to reserve: an emulated server sleeps nearly all the time, a real one computes on a core (or feeds a GPU)."""


@dataclass(frozen=True)
class ServerSpec:
    """One edge server; ``docs/fleets.md`` has the same as a table.

    Attributes:
        name: Name, unique in the fleet.
        kind: ``emulated`` (a service-time model) or ``diffusers`` (a real pipeline).
        num_cpus: CPUs that Ray reserves; fractions are honoured.
        num_gpus: GPUs that Ray reserves; a fraction limits no memory.
        resources: Custom resources of the node that it needs, which pin it to a node that has them.
        labels: Node labels that it needs, likewise.
        link_rate_mbit_per_s: Rate of its emulated link [Mbit/s]; None: no link is emulated.
        queue_limit: Tasks that may wait beside the running one.
        max_restarts: How often Ray starts its process again after it was lost; -1: always.
        stall_s: Unhealthy if the running task did no step for so long [s].
        allowed_sizes: Sizes (width, height) that are served [pixel]; None: all that the engine can.
        warm_up_sizes: Sizes that run once before it is ready [pixel]; None: the engine's default size.
        profile: Emulated: service times.
        seed: Emulated: seed of the jitter.
        cold_start: Emulated: whether loading takes the profile's ``cold_start_s``.
        make_png: Emulated: whether to draw a picture.
        model: Diffusers: ``embedded``, the folder of a pipeline, or a name of the Hugging Face hub.
        dtype: Diffusers: number format, see :class:`~lad_rllib.edge.DiffusersEngine`.
        device: Diffusers: torch device.
        memory_profile: Diffusers: one of :data:`~lad_rllib.edge.MEMORY_PROFILES`.
        guidance: Diffusers: guidance scale; None: the pipeline's.
        negative_prompt: Diffusers: what images should not show.
        width: Diffusers: default width [pixel]; None: the model's.
        height: Diffusers: default height [pixel]; None: the model's.
        max_sequence_length: Diffusers: tokens of T5; None: see the engine.
        least_step_s: Diffusers: least time of a denoising step [s], to emulate a slower device; 0: none.
    """

    name: str
    kind: str
    num_cpus: float
    num_gpus: float = 0.0
    resources: dict[str, float] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    link_rate_mbit_per_s: float | None = None
    queue_limit: int = 64
    max_restarts: int = 1
    stall_s: float = 300.0
    allowed_sizes: tuple[tuple[int, int], ...] | None = None
    warm_up_sizes: tuple[tuple[int, int], ...] | None = None
    profile: DeviceProfile | None = None
    seed: int = 0
    cold_start: bool = False
    make_png: bool = True
    model: str = EMBEDDED
    dtype: str = "auto"
    device: str = "auto"
    memory_profile: str = "full"
    guidance: float | None = None
    negative_prompt: str = ""
    width: int | None = None
    height: int | None = None
    max_sequence_length: int | None = None
    least_step_s: float = 0.0

    @property
    def is_pinned(self) -> bool:
        """Whether resources or labels of its own decide where it runs."""
        return bool(self.resources or self.labels)

    def to_dict(self) -> dict[str, Any]:
        """The server as an entry of a fleet file, every key of its kind filled in."""
        entry: dict[str, Any] = {"name": self.name, "kind": self.kind}
        entry |= {key: getattr(self, key) for key in _KEYS[self.kind]}
        for key in ("allowed_sizes", "warm_up_sizes"):
            entry[key] = None if entry[key] is None else [list(size) for size in entry[key]]
        entry |= {key: dict(entry[key]) for key in ("resources", "labels")}
        if self.profile is not None:
            entry["profile"] = asdict(self.profile)
        return entry


_Check = Callable[[str, object], Any]

_COMMON: dict[str, _Check] = {
    "num_cpus": checks.number,
    "num_gpus": checks.number,
    "resources": checks.amounts,
    "labels": checks.labels,
    "link_rate_mbit_per_s": partial(checks.number, above=0),
    "queue_limit": partial(checks.whole, least=1),
    "max_restarts": partial(checks.whole, least=-1),
    "stall_s": partial(checks.number, above=0),
    "allowed_sizes": partial(checks.sizes, least=1),
    "warm_up_sizes": partial(checks.sizes, least=0),
}
_KEYS: dict[str, dict[str, _Check]] = {
    "emulated": {
        **_COMMON,
        "profile": lambda where, value: value,  # read below: it may name a file
        "seed": checks.whole,
        "cold_start": checks.flag,
        "make_png": checks.flag,
    },
    "diffusers": {
        **_COMMON,
        "model": checks.text,
        "dtype": partial(checks.choice, valid=DTYPES),
        "device": checks.text,
        "memory_profile": partial(checks.choice, valid=tuple(MEMORY_PROFILES)),
        "guidance": checks.number,
        "negative_prompt": lambda where, value: value if value == "" else checks.text(where, value),
        "width": checks.side,
        "height": checks.side,
        "max_sequence_length": checks.whole,
        "least_step_s": partial(checks.number, least=0),
    },
}
"""Keys of each kind of server, and what each value must be."""

_NULLABLE = {spec.name for spec in fields(ServerSpec) if spec.default is None}


def server_specs(where: str, entry: object, position: int, folder: Path) -> list[ServerSpec]:
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
        raise ConfigurationError(f"{where}, server number {position} must map keys to values, got {entry!r}")
    where = f"{where}, server {entry.get('name', f'number {position}')}"
    kind = checks.choice(f"{where}: kind", entry.get("kind"), KINDS)
    valid = _KEYS[kind]
    extra = ("name", "kind", "count", *(("profiles",) if kind == "emulated" else ()))
    values = checks.check_keys(where, entry, (*extra, *valid), f"key of kind {kind}")
    given = {key: values.pop(key) for key in extra if key in values}
    values = {
        key: None if value is None and key in _NULLABLE else valid[key](f"{where}: {key}", value)
        for key, value in values.items()
    }
    name = _name(where, given.get("name", f"{kind}-{position}"))
    _finish(where, kind, values, given.get("profiles"), folder, name)
    count = checks.whole(f"{where}: count", given.get("count", 1), 1)
    seed = values.pop("seed", position)
    names = [name] if count == 1 else [f"{name}-{index}" for index in range(count)]
    seeds = [seed + index if kind == "emulated" else 0 for index in range(count)]
    return [ServerSpec(name=n, kind=kind, seed=s, **values) for n, s in zip(names, seeds, strict=True)]


def _name(where: str, value: object) -> str:
    name = checks.text(f"{where}: name", value)
    if "/" in name:
        raise ConfigurationError(f"{where}: name must not have a slash, got {name!r}")
    return name


def _finish(where: str, kind: str, values: dict[str, Any], profiles: object, folder: Path, name: str) -> None:
    """Fill in CPUs, read the profile, make paths absolute, and refuse what contradicts itself."""
    values.setdefault("num_cpus", DEFAULT_NUM_CPUS[kind])
    if not (values["num_cpus"] or values.get("num_gpus") or values.get("resources")):
        raise ConfigurationError(
            f"{where}: num_cpus 0 without num_gpus or resources reserves nothing; say num_cpus: 0.1"
        )
    if kind == "emulated":
        path = None if profiles is None else folder / Path(checks.text(f"{where}: profiles", profiles)).expanduser()
        values["profile"] = _profile(where, values.get("profile"), path, name)
        return
    model = values.get("model", EMBEDDED)
    if model != EMBEDDED and looks_like_folder(model):
        values["model"] = str((folder / Path(model).expanduser()).absolute())
    layout = memory_profile(values.get("memory_profile", "full"))
    if layout.needs_cuda and values.get("device") == "cpu":
        raise ConfigurationError(f"{where}: memory_profile {layout.name} needs a CUDA device, but device is cpu")
    for key in ("memory_profile", "device"):
        needs = layout.needs_cuda if key == "memory_profile" else str(values.get("device")).startswith("cuda")
        if needs and not values.get("num_gpus"):
            raise ConfigurationError(f"{where}: {key} {values[key]} needs a GPU, but num_gpus is 0; say num_gpus: 1")


def _profile(where: str, profile: object, path: Path | None, name: str) -> DeviceProfile:
    """A device profile by name or as a mapping of its fields."""
    if isinstance(profile, DeviceProfile):
        return profile
    try:
        if isinstance(profile, str):
            return get_profile(profile, path)
        keys = [spec.name for spec in fields(DeviceProfile)]
        given = checks.check_keys("profile", profile, keys)
        missing = [key for key in ("overhead_s", "per_step_s") if key not in given]
        if missing:
            raise ConfigurationError(f"profile lacks {missing[0]}")
        made_up = {"name": name, "origin": "assumption", "source": "the fleet's own numbers"}
        return DeviceProfile(**{**made_up, **given})
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error}") from None
