"""The command line: parsers, and what each command prints of what :mod:`lad_rllib.runs` returns."""

from lad_rllib.cli.main import main

__all__ = ["main"]
