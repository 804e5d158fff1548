"""Arguments of ``lad-rllib fleet``."""

from __future__ import annotations

import argparse

from lad_rllib import names

SUMMARY = "start, watch and end edge servers on a cluster"
DESCRIPTION = """\
Edge servers described in a file, on the nodes of a Ray cluster; they stay until they are told to go.

  lad-rllib fleet list                  the shipped fleets, and those that run
  lad-rllib fleet check my-fleet.yaml   read the file and show what it means, without starting anything
  ray start --head                      a cluster of this machine, if there is none
  lad-rllib fleet up my-fleet.yaml      start it, and return when every server is warm
  lad-rllib fleet status my-fleet.yaml  queue, running task, health; exit status 1 unless all are healthy
  lad-rllib fleet down my-fleet.yaml    end it

FILE is a YAML or JSON file or the name of a shipped fleet. docs/fleets.md explains every key.
"""
ACTIONS = ("up", "status", "down", "list", "check")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the command's arguments."""
    parser.add_argument("action", choices=ACTIONS, metavar="{" + ",".join(ACTIONS) + "}", help="what to do")
    parser.add_argument(
        "file", nargs="?", metavar="FILE", help=f"fleet file, or one of {', '.join(names.SHIPPED_FLEETS)}"
    )
    parser.add_argument("--address", help="Ray cluster (default: RAY_ADDRESS, else the one that runs on this machine)")
    parser.add_argument(
        "--timeout", type=float, default=600.0, metavar="S", help="up: longest wait for models to load [s] (600)"
    )
    parser.add_argument("--json", action="store_true", help="check, list, status: a list of objects instead of a table")
