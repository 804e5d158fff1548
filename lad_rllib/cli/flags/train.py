"""Arguments of ``lad-rllib train``."""

from __future__ import annotations

import argparse

from lad_rllib.cli.flags import shared

SUMMARY = "train LAD-TS or a learned baseline"
DESCRIPTION = """\
Train LAD-TS (latent action diffusion task scheduling) with RLlib.

  lad-rllib train --episodes 100 --output results/paper           the paper's edge network
  lad-rllib train --algorithm sac-ts --output results/sac         a learned baseline of the paper
  lad-rllib train --arrivals requests.csv --output results/log    a recorded request log, its first 70 %
  lad-rllib train --resume --episodes 200 --output results/paper  go on from the last checkpoint
  lad-rllib train --fleet digits --setting results/calibration/setting.yaml --init-from results/sim/checkpoint
                                                                  fine-tune on real edge servers

The output folder receives progress.csv (one row per iteration), checkpoint/ (and checkpoint.previous/, the one before),
config.yaml (everything resolved) and learning_curve.png. Ctrl-C stops after the present episode and saves; a killed run
loses at most the episodes since the last checkpoint.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the command's arguments."""
    shared.add_setting_arguments(parser)
    parser.add_argument(
        "--part",
        type=float,
        nargs=2,
        metavar=("FROM", "TO"),
        help="request log: part to train on, as fractions (0 0.7); evaluate takes the rest",
    )
    run = parser.add_argument_group("run")
    shared.add_algorithm_argument(run)
    run.add_argument("--episodes", type=int, default=100, help="episodes to train in all (default: 100)")
    run.add_argument("--seed", type=int, default=0, help="seed of weights, arrivals and exploration (default: 0)")
    run.add_argument("--output", default="results/train", metavar="DIR", help="output folder (default: results/train)")
    run.add_argument("--overwrite", action="store_true", help="replace an earlier run in the output folder")
    run.add_argument("--resume", action="store_true", help="go on with the run in the output folder or --storage-path")
    run.add_argument(
        "--checkpoint-every", type=int, default=5, metavar="N", help="iterations between checkpoints (default: 5)"
    )
    run.add_argument("--quiet", action="store_true", help="no progress display")

    shared.add_learning_arguments(parser)

    live = parser.add_argument_group(
        "real edge servers (needs a --setting of that fleet, see experiments/calibrate.py)"
    )
    live.add_argument(
        "--fleet", metavar="NAME|FILE", help="learn from delays measured on this fleet, not simulated ones"
    )
    live.add_argument("--shared-fleet", action="store_true", help="all runners on the fleet of 'lad-rllib fleet up'")
    live.add_argument("--in-process", action="store_true", help="each runner's servers in its own process, not actors")
    live.add_argument("--prompts", metavar="FILE", help="one prompt per line (default: a list in the package)")
    live.add_argument(
        "--init-from", metavar="DIR", help="checkpoint whose weights and latent memory to start from (fine-tuning)"
    )

    shared.add_scale_arguments(parser)
    shared.add_smoke_argument(parser, setting="small", episodes=2, checkpoint_every=1)
