"""Pages of reference that are made of the code."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import cast

import numpy as np

from lad_rllib import Dispatcher, EdgeNetwork, EdgeServer, EmulatedEngine
from lad_rllib.algorithms.registry import CONFIGS
from lad_rllib.api import ApiSettings, Control, Gateway, make_app
from lad_rllib.api.keys import KeyFields
from lad_rllib.api.wire import ImageRequest
from lad_rllib.cli.main import parser
from lad_rllib.declared import Declared
from lad_rllib.fleet.server_spec import SERVER_KINDS, ServerSpec
from lad_rllib.fleet.spec import FleetSpec
from lad_rllib.reference import fields_of, fields_table
from lad_rllib.service import WorkModel
from lad_rllib.service.decision_log import COLUMNS, DecisionLogSettings
from lad_rllib.serving.metrics import METRICS
from lad_rllib.simulator.penalties import PENALTIES
from lad_rllib.simulator.requests import random_fleet_groups, request_setting_groups
from lad_rllib.simulator.settings import setting_groups


def command_line() -> str:
    """Every command with its options."""
    return "\n".join(_commands(parser(), "lad-rllib"))


def _commands(of: argparse.ArgumentParser, name: str, level: int = 2) -> Iterator[str]:
    for action in of._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command, subparser in action.choices.items():
                yield from (
                    f"{'#' * level} {name} {command}",
                    "",
                    "```text",
                    (subparser.description or "").strip(),
                    "```",
                    "",
                )
                yield from _options(subparser)
                yield from _commands(subparser, f"{name} {command}", level + 1)


def _options(of: argparse.ArgumentParser) -> Iterator[str]:
    for group in of._action_groups:
        actions = [action for action in group._group_actions if not isinstance(action, _NOT_SHOWN)]
        if not actions:
            continue
        yield from (f"**{group.title}**", "", "| option | meaning |", "|---|---|")
        yield from (f"| {_shown(of, action)} | {_cell(_meaning(of, action))} |" for action in actions)
        yield ""


_NOT_SHOWN = (argparse._HelpAction, argparse._SubParsersAction)


def _shown(of: argparse.ArgumentParser, action: argparse.Action) -> str:
    """An option with what follows it."""
    values = "" if action.nargs == 0 else of._get_formatter()._format_args(action, _metavar(action))
    return f"`{' '.join([*action.option_strings[:1], values]).strip()}`"  # within code a bar needs no escape


def _metavar(action: argparse.Action) -> str:
    return "{" + ",".join(map(str, action.choices)) + "}" if action.choices else action.dest.upper()


def _meaning(of: argparse.ArgumentParser, action: argparse.Action) -> str:
    return of._get_formatter()._expand_help(action) if action.help else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def settings() -> str:
    """Every group of a settings file."""
    return _groups(setting_groups(), "##")


def request_settings() -> str:
    """Every group of a settings file of requests that come one by one."""
    return _groups(request_setting_groups(), "###")


def random_fleets() -> str:
    """Every group of a settings file of random fleets."""
    return _groups(random_fleet_groups(), "###")


def _groups(groups: Mapping[str, type[Declared]], heading: str) -> str:
    return "\n".join(f"{heading} {_title(name)}\n\n{fields_table(group)}" for name, group in groups.items())


def hyperparameters(algorithm: str) -> str:
    """What ``training()`` of an algorithm takes."""
    return _table(CONFIGS[algorithm].hyperparameters)


def penalties() -> str:
    """Every loss of a task's delay with its fields."""
    losses = [(name, PENALTIES[name]) for name in PENALTIES]
    return "\n".join(f"### `{name}`\n\n{_first_line(loss)}\n\n{_table(loss)}" for name, loss in losses)


def fleet_file() -> str:
    """The keys of a fleet file and of each kind of server."""
    parts = [f"## The fleet\n\n{_table(FleetSpec)}", f"## Every server\n\n{_table(ServerSpec)}"]
    for kind in SERVER_KINDS:
        spec = SERVER_KINDS[kind]
        keys = "".join(_rows(spec.file_keys)) + "".join(_rows(spec, ServerSpec))
        parts.append(f"## `kind: {kind}`\n\n{_first_line(spec)}\n\n{_HEADER}{keys}")
    return "\n".join(parts)


def decision_log() -> str:
    """The columns of a decision log."""
    rows = (f"| `{name}` | {column.kind} | {column.meaning} |" for name, column in COLUMNS.items())
    return "\n".join(("| column | type | meaning |", "|---|---|---|", *rows))


def service_metrics() -> str:
    """The metrics of a running service."""
    head = ("| metric | kind | labels | meaning |", "|---|---|---|---|")
    rows = (
        f"| `ray_{name}` | {metric.kind} | {', '.join(metric.labels)} | {metric.meaning} |"
        for name, metric in METRICS.items()
    )
    return "\n".join((*head, *rows))


_HEADER = "| key | valid | default | meaning |\n|---|---|---|---|\n"


def _table(group: type[Declared]) -> str:
    return _HEADER + "".join(_rows(group)) if list(fields_of(group)) else ""


def _rows(group: type[Declared], base: type[Declared] = Declared) -> Iterator[str]:
    """Rows of the fields that a base does not have; the meaning of some says what a default is made of."""
    for row in fields_table(group).splitlines(keepends=True)[2:]:
        name = row.split("`")[1]
        if name not in base.model_fields:
            yield row.replace("| required |", "| |") if "default:" in row or name == "name" else row


def _title(group: str) -> str:
    return group[0].upper() + group[1:]


def _first_line(thing: type) -> str:
    return (thing.__doc__ or "").partition("\n")[0]


def http_routes() -> str:
    """Every route of the HTTP API."""
    engine = EmulatedEngine("a100")
    network = EdgeNetwork(1, np.ones(1), np.ones(1))
    with EdgeServer("a100", engine) as server, Dispatcher([server], network, WorkModel(), None) as dispatcher:
        gateway = Gateway(dispatcher, ApiSettings())
        document = make_app(
            gateway, ApiSettings(), control=cast(Control, SimpleNamespace(oversight=object()))
        ).openapi()
        gateway.close()
    rows = [
        f"| `{method.upper()} {path}` | {_cell(operation['summary'])} |\n"
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    return "| route | what it does |\n|---|---|\n" + "".join(rows)


PARTS: dict[str, Callable[[], str]] = {
    "command-line": command_line,
    "decision-log": decision_log,
    "decision-log-settings": functools.partial(_table, DecisionLogSettings),
    "fleet-file": fleet_file,
    "http-image-request": functools.partial(_table, ImageRequest),
    "http-keys": functools.partial(_table, KeyFields),
    "http-routes": http_routes,
    "http-settings": functools.partial(_table, ApiSettings),
    "penalties": penalties,
    "random-fleets": random_fleets,
    "request-settings": request_settings,
    "service-metrics": service_metrics,
    "settings": settings,
    **{f"settings-{name}": functools.partial(hyperparameters, name) for name in CONFIGS},
}
"""What a page can ask for."""
