"""Arguments that several commands share, and what they mean as a setting."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from lad_rllib.errors import ConfigurationError
from lad_rllib.simulator import PRESETS, load_spec, override_spec, resolve_paths


def setting_spec(options: argparse.Namespace, part: tuple[float, float] | None = None) -> dict[str, Any]:
    """The settings dictionary that the arguments describe.

    Args:
        options: Parsed arguments.
        part: Part of a request log to use, as fractions of its slots; None leaves it to the setting.
    """
    is_file = options.setting not in PRESETS and Path(options.setting).suffix in (".yaml", ".yml", ".json")
    spec = load_spec(options.setting) if is_file else {"preset": options.setting}
    network: dict[str, Any] = _given(stations=options.stations, servers=options.servers)
    if options.capacity is not None:
        network["capacity_gcycles_per_s"] = options.capacity[0] if len(options.capacity) == 1 else options.capacity
    arrivals: dict[str, Any] = _given(
        max_tasks=options.max_tasks,
        mean_tasks=options.mean_tasks,
        load=options.load,
        time_compression=options.time_compression,
        work_shown=options.work_shown,
    )
    source = {"paper": "uniform", "poisson": "poisson"}.get(options.arrivals or "")
    if source:
        arrivals["source"] = source
    elif options.arrivals:
        arrivals |= {"source": "trace", "path": options.arrivals}
    changes = _given(
        slots=options.slots, slot_s=options.slot_seconds, network=network or None, arrivals=arrivals or None
    )
    spec = resolve_paths(override_spec(spec, changes), Path.cwd())
    if part is not None and spec.get("arrivals", {}).get("source") == "trace":
        spec = override_spec(spec, {"arrivals": {"part": list(part)}})
    return spec


def _given(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def writable_folder(path: str | Path) -> Path:
    """Create a folder for results.

    Raises:
        ConfigurationError: if it cannot be written to.
    """
    folder = Path(os.path.expanduser(path))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigurationError(
            f"cannot write to output folder {folder}: {error.strerror}; choose another with --output"
        ) from None
    return folder


def check_at_least_one(parsed: argparse.Namespace, *options: str) -> None:
    """Refuse numbers below 1.

    Args:
        parsed: The arguments.
        options: Their names in it.

    Raises:
        ConfigurationError: naming the first that is below 1.
    """
    for option in options:
        if getattr(parsed, option) < 1:
            name = option.replace("_", "-")
            raise ConfigurationError(f"--{name} must be at least 1, got {getattr(parsed, option)}")


def check_seed(seed: int) -> None:
    """Refuse a seed that no generator takes.

    Raises:
        ConfigurationError: if it is negative.
    """
    if seed < 0:
        raise ConfigurationError(f"--seed must be at least 0, got {seed}")


def command_line() -> str:
    """The command that runs, as one would type it; ``--resume`` is left out, since it leads to the same results."""
    script = Path(sys.argv[0])
    program = ["python", f"{script.parent.name}/{script.name}"] if script.suffix == ".py" else [script.name]
    return shlex.join([*program, *(argument for argument in sys.argv[1:] if argument != "--resume")])
