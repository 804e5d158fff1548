"""Arguments of ``lad-rllib generate``."""

from __future__ import annotations

import argparse

from lad_rllib import names
from lad_rllib.cli.flags import shared
from lad_rllib.plugins import installed

SUMMARY = "send prompts to a fleet of edge servers and keep the images"
DESCRIPTION = """\
Send prompts through a scheduler to a fleet of edge servers; all are there at once.

  lad-rllib generate --tasks 10 --output results/digits                        the embedded pipelines, greedy oracle
  lad-rllib generate --checkpoint results/live/checkpoint --output results/learned  a trained policy
  lad-rllib generate --fleet own.yaml --prompts captions.txt --steps 20 30 --output results/captions

The output folder receives images/ (one PNG each), deliveries.csv (one row per task: server, every part of the delay,
error) and contact_sheet.png. Ctrl-C keeps what is there.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the command's arguments."""
    shared.add_fleet_arguments(parser)
    who = parser.add_argument_group("scheduler")
    who.add_argument("--checkpoint", metavar="DIR", help="trained policy; trained for this fleet's calibrated setting")
    who.add_argument(
        "--scheduler",
        choices=(names.LEARNED, *names.HEURISTICS, *installed("lad_rllib.heuristics")),
        help=f"who decides (default: {names.LEARNED} with a checkpoint, else greedy-oracle)",
    )
    who.add_argument("--greedy-actions", action="store_true", help="trained policy: its most probable servers")
    what = parser.add_argument_group("tasks")
    what.add_argument("--prompts", metavar="FILE", help="one prompt per line (default: a small list in the package)")
    what.add_argument("--tasks", type=int, metavar="N", help="images (default: one for each prompt)")
    what.add_argument(
        "--steps", type=int, nargs=2, default=(10, 19), metavar=("LOW", "HIGH"), help="denoising steps (10 19)"
    )
    what.add_argument("--size", type=int, nargs=2, metavar=("W", "H"), help="size [pixel] (default: the servers')")
    what.add_argument("--deadline", type=float, metavar="S", help="give a task up after so many seconds")
    what.add_argument("--seed", type=int, default=0, help="seed of stations, steps and decisions (default: 0)")
    parser.add_argument("--output", default="results/images", metavar="DIR", help="output folder (results/images)")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the images, the table and the contact sheet of an earlier run"
    )
