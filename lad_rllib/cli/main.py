"""Entry point of the console command; it reads the arguments before it loads what the command needs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lad_rllib import __version__
from lad_rllib.cli.commands import COMMANDS, FLEET, FLEET_ACTIONS, FLEET_SUMMARY, SERVE_ACTIONS, Command
from lad_rllib.cli.parsing import CommandParser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    parsed = parser(words).parse_args(words)
    from lad_rllib.runs.command import run_command

    return run_command(_run, parsed)


def _run(parsed: argparse.Namespace) -> int:
    from lad_rllib.cli.flags import read

    command: Command = parsed.run
    return command(read(command.options_class(), parsed), as_json=getattr(parsed, "json", False))


def parser(words: Iterable[str] | None = None) -> argparse.ArgumentParser:
    """The parser of the command line.

    Args:
        words: The arguments; only the flags of commands among them are loaded. None: those of all commands.
    """
    asked = None if words is None else frozenset(words)
    whole = CommandParser(
        prog="lad-rllib",
        description="Train and compare schedulers of text-to-image requests on edge networks.",
    )
    whole.add_argument("--version", action="version", version=__version__)
    commands = whole.add_subparsers(dest="command", required=True, metavar="command")
    _add(commands, COMMANDS, asked)
    _add(commands.choices["serve"].add_subparsers(dest="action", metavar="action"), SERVE_ACTIONS, asked, "serve ")
    fleet = _parser(commands, "fleet", FLEET_SUMMARY, FLEET)
    _add(fleet.add_subparsers(dest="action", required=True, metavar="action"), FLEET_ACTIONS, asked, "fleet ")
    return whole


def _add(commands: Any, table: Mapping[str, Command], asked: frozenset[str] | None, prefix: str = "") -> None:
    """Add commands, with the flags of those that are asked for."""
    for name, command in table.items():
        added = _parser(commands, name, command.summary, command.description or command.summary)
        added.set_defaults(run=command, command=f"{prefix}{name}")
        if asked is None or name in asked:
            from lad_rllib.cli.flags import add_options

            add_options(added, command.options_class(), **command.smoke)
        if command.prints_table:
            added.add_argument("--json", action="store_true", help="print the rows as JSON instead of a table")


def _parser(commands: Any, name: str, summary: str, description: str) -> argparse.ArgumentParser:
    added: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    return added
