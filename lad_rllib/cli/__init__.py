"""The command line: ``lad-rllib train`` and ``lad-rllib evaluate``; the scripts in ``experiments/`` call the same."""

from lad_rllib.cli.main import main

__all__ = ["main"]
