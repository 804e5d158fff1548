"""Arguments of ``lad-rllib evaluate``."""

from __future__ import annotations

import argparse

from lad_rllib import names
from lad_rllib.cli.flags import shared
from lad_rllib.plugins import installed

SUMMARY = "judge a checkpoint"
DESCRIPTION = """\
Play a trained policy, the greedy oracle and simple heuristics on the same fresh arrivals.

  lad-rllib evaluate --checkpoint results/paper/checkpoint
  lad-rllib evaluate --checkpoint results/log/checkpoint       a policy trained on a request log: its unseen rest
  lad-rllib evaluate --checkpoint results/paper/checkpoint results/system/checkpoint        two policies, side by side
  lad-rllib evaluate --setting paper                           the heuristics alone

Without setting arguments the first checkpoint's own setting is used. Leaves evaluation.csv (one row per scheduler),
evaluation_servers.csv (utilisation) and evaluation.png. Fairness is Jain's index of the slowdowns; --bounds adds the
lower bound of any schedule (docs/bounds.md).
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the command's arguments."""
    parser.add_argument(
        "--checkpoint",
        nargs="+",
        metavar="DIR",
        help="checkpoints of training runs to compare; without it, heuristics alone",
    )
    shared.add_setting_arguments(parser)
    parser.set_defaults(setting=None)
    parser.add_argument(
        "--part",
        type=float,
        nargs=2,
        metavar=("FROM", "TO"),
        help="request log: part to evaluate on, as fractions (0.7 1: what training does not see)",
    )
    heuristics = (*names.HEURISTICS, *installed("lad_rllib.heuristics"))
    run = parser.add_argument_group("run")
    run.add_argument("--episodes", type=int, default=20, help="episodes to play (20; a request log: its first ones)")
    run.add_argument("--seed", type=int, default=1_000_000, help="seed of arrivals and choices (default: 1000000)")
    run.add_argument(
        "--schedulers",
        nargs="*",
        metavar="NAME",
        help=f"heuristics (default: all that differ of {', '.join(heuristics)})",
    )
    run.add_argument(
        "--greedy-actions", action="store_true", help="take the most probable server instead of drawing one"
    )
    run.add_argument(
        "--bounds", action="store_true", help="add the lower bound of the mean delay, which no schedule is below"
    )
    run.add_argument(
        "--deadline", type=float, metavar="S", help="add the share of tasks whose service delay is longer than this [s]"
    )
    run.add_argument(
        "--output", metavar="DIR", help="output folder (default: beside the first checkpoint, or results/evaluate)"
    )
    run.add_argument(
        "--resume", action="store_true", help="do nothing if the output folder has the results of this command already"
    )
    group = parser.add_argument_group("cluster (one task for each scheduler; without --address all in this process)")
    shared.add_cluster_arguments(group)
    shared.add_storage_argument(group)
    shared.add_smoke_argument(parser, episodes=2)
