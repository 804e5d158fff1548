"""Arguments that several commands share, and what they mean as a setting."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lad_rllib.cli.parsing import GIVEN
from lad_rllib.declared import shown
from lad_rllib.errors import ConfigurationError
from lad_rllib.simulator import ARRIVALS, PRESETS, Setting, TraceArrivals, load_spec, override_spec, resolve_paths

MAX_SEED = 2**32 - 1
MAY_CHANGE = frozenset(
    ("command", "resume", "output", "name", "quiet", "storage_path", "address", "wait_nodes", "wait_timeout")
)
"""Arguments that results do not depend on: where a run or a search is, where it writes, what it prints."""


def setting_spec(options: argparse.Namespace) -> dict[str, Any]:
    """The settings dictionary that the arguments describe."""
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
    if options.arrivals in ARRIVALS:
        arrivals["source"] = options.arrivals
    elif options.arrivals:
        arrivals |= {"source": "trace", "path": options.arrivals}
    changes = _given(
        slots=options.slots, slot_s=options.slot_seconds, network=network or None, arrivals=arrivals or None
    )
    return resolve_paths(override_spec(spec, changes), Path.cwd())


def part_of_log(options: argparse.Namespace, setting: Setting, default: tuple[float, float]) -> Setting:
    """The setting on a part of its request log, if it has one: what ``--part`` says, or the default.

    Raises:
        ConfigurationError: if ``--part`` is given and there is no log.
    """
    if isinstance(setting.arrivals, TraceArrivals):
        return setting.with_part(tuple(options.part) if options.part else default)
    if options.part:
        raise ConfigurationError(
            f"--part has no effect on setting {setting.name}, which has no request log; leave it out"
        )
    return setting


def _given(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def check_at_least(least: int, parsed: argparse.Namespace, *options: str) -> None:
    """Refuse small numbers.

    Args:
        least: The least that is valid.
        parsed: The arguments.
        options: Their names in it; None is valid.

    Raises:
        ConfigurationError: naming the first that is less.
    """
    for option in options:
        value = getattr(parsed, option)
        if value is not None and value < least:
            raise ConfigurationError(f"--{option.replace('_', '-')} must be at least {least}, got {value}")


def check_seed(seed: int) -> None:
    """Refuse a seed that no generator takes.

    Raises:
        ConfigurationError: if it is negative or has more than 32 bits.
    """
    if not 0 <= seed <= MAX_SEED:
        raise ConfigurationError(f"--seed must be at least 0 and at most {MAX_SEED}, got {seed}")


def arguments(parsed: argparse.Namespace) -> dict[str, Any]:
    """Arguments of a command that its results depend on, as plain values."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in vars(parsed).items()
        if name not in MAY_CHANGE and name != GIVEN
    }


def check_resumed(parsed: argparse.Namespace, begun_with: Mapping[str, Any], *may_change: str) -> None:
    """Refuse options that a resumed run would not follow; it may be given again what it was begun with.

    Args:
        parsed: Arguments of the command that resumes.
        begun_with: :func:`arguments` of the one that began.
        may_change: Arguments that it follows.

    Raises:
        ConfigurationError: names the option, its value, and the run's.
    """
    now = arguments(parsed)
    for name in sorted((getattr(parsed, GIVEN) & now.keys()).difference(may_change)):
        if now[name] != begun_with.get(name):
            had = begun_with.get(name)
            raise ConfigurationError(
                f"--{name.replace('_', '-')} {shown(now[name])} contradicts what {parsed.output} was begun with, "
                f"{'nothing' if had is None else shown(had)}; leave it out, or start anew with another --output"
            )
