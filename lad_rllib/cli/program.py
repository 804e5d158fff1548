"""Programs of their own that run as the commands do: experiments, and scripts of users."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lad_rllib.cli import flags
from lad_rllib.runs.command import run_command
from lad_rllib.runs.options import Options


@dataclass(frozen=True)
class Program:
    """A program with declared options; calling it runs it and returns the exit status.

    Attributes:
        run: Runs it with its options; returns the exit status.
        options: Its options; their ``command`` is its name in messages.
        description: What it does and leaves, for ``--help``.
        smoke: What ``--smoke`` sets.
    """

    run: Callable[[Any], int]
    options: type[Options]
    description: str | None = None
    smoke: Mapping[str, Any] = field(default_factory=dict)

    def parse(self, arguments: Sequence[str] | None = None) -> Any:
        """The options of a command line, this process's by default.

        Raises:
            ConfigurationError: names the first flag that does not fit, its value, and what is valid.
        """
        return flags.parse(self.options, arguments, self.description, **self.smoke)

    def __call__(self, arguments: Sequence[str] | None = None) -> int:
        """Run it with the words of a command line, this process's by default."""
        return run_command(lambda _: self.run(self.parse(arguments)), self.options)
