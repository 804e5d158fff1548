"""Command lines that answer mistakes in one line, with what was probably meant."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from typing import Any, NoReturn

GIVEN = "given"
"""Attribute of parsed arguments: names of those that the command line gives, unlike those that have their defaults."""
_ABSENT = object()


class CommandParser(argparse.ArgumentParser):
    """A parser whose errors are one line, and which refuses unknown options itself rather than its parent."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """As in argparse, but nothing may be left over; a command's arguments come with the names :data:`GIVEN`."""
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(self._complaint(unknown))
        if self._subparsers is None:
            names = {action.dest for action in self._actions}
            again, _ = super().parse_known_args(args, argparse.Namespace(**dict.fromkeys(names, _ABSENT)))
            setattr(parsed, GIVEN, frozenset(name for name in names if getattr(again, name) is not _ABSENT))
        return parsed, unknown

    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one line, and exit with status 2."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")

    def _complaint(self, unknown: Sequence[str]) -> str:
        options = [word.partition("=")[0] for word in unknown if word.startswith("-")]
        if not options:
            return f"unexpected argument {unknown[0]!r}"
        near = difflib.get_close_matches(options[0], self._option_string_actions, n=1)
        return f"unknown option {options[0]}" + (f"; did you mean {near[0]}?" if near else "")
