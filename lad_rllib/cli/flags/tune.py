"""Arguments of ``lad-rllib tune``."""

from __future__ import annotations

import argparse

from lad_rllib import names
from lad_rllib.cli.flags import shared

SUMMARY = "search hyperparameters"
DESCRIPTION = """\
Search hyperparameters of LAD-TS, or of a learned baseline, with Ray Tune; what counts is the mean delay over the
greedy oracle's on the same arrivals, over the last ten episodes.

  lad-rllib tune --trials 24 --episodes 60 --output results/tune          random search, bad trials stopped early
  lad-rllib tune --search optuna --scheduler median --seeds 0 1 --output results/tune   two seeds in each trial
  lad-rllib tune --scheduler pbt --trials 8 --episodes 100 --output results/pbt         population based training
  lad-rllib tune --algorithm lad-pmd --output results/system            the delay of all: other hyperparameters
  lad-rllib tune --resume --output results/tune                           go on after a kill
  lad-rllib train --config results/tune/best.yaml                         train with what was found

The output folder receives trials.csv (one row per trial, the best first), episodes.csv, best.yaml, summary.md and
pictures; Ray Tune's own files and checkpoints are in --storage-path, or in the folder experiment/ of it.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the command's arguments."""
    shared.add_setting_arguments(parser)
    parser.add_argument("--part", type=float, nargs=2, metavar=("FROM", "TO"), help="request log: part to use (0 0.7)")
    search = parser.add_argument_group("search")
    shared.add_algorithm_argument(search)
    search.add_argument(
        "--space",
        metavar="FILE",
        help="search space (default: lad_rllib/data/search_space.yaml, or search_space_lad-pmd.yaml beside it)",
    )
    search.add_argument("--parameters", nargs="+", metavar="NAME", help="search these of the space only")
    search.add_argument("--trials", type=int, default=24, help="configurations to try; a grid ignores it (24)")
    search.add_argument("--search", choices=names.SEARCHES, default="random", help="how they are chosen (random)")
    search.add_argument("--grid-points", type=int, default=3, metavar="N", help="grid: points of each range (3)")
    search.add_argument(
        "--scheduler",
        choices=names.TRIAL_SCHEDULERS,
        default="asha",
        help="which trials are stopped early: asha (successive halving), median (those behind the others' median), "
        "none; pbt lets bad ones go on from good ones' checkpoints (asha)",
    )
    search.add_argument(
        "--seeds", type=int, nargs="+", default=[0], metavar="N", help="seeds of each configuration (0)"
    )
    search.add_argument(
        "--seeds-as-grid", action="store_true", help="one trial for each seed; default: all seeds in one trial"
    )
    search.add_argument("--max-concurrent", type=int, metavar="N", help="trials at a time (as many as there is room)")
    search.add_argument("--time-budget", type=float, metavar="S", help="wall time after which trials stop [s]")
    search.add_argument(
        "--confirm-seeds",
        type=int,
        default=0,
        metavar="N",
        help="afterwards, train the best configuration and the defaults with so many fresh seeds (0)",
    )
    run = parser.add_argument_group("run")
    run.add_argument("--episodes", type=int, default=60, help="most episodes of a trial (60)")
    run.add_argument("--seed", type=int, default=0, help="seed of the search (0)")
    run.add_argument("--checkpoint-every", type=int, default=10, metavar="N", help="iterations (10)")
    run.add_argument("--output", default="results/tune", metavar="DIR", help="output folder (results/tune)")
    run.add_argument("--name", help="name of the experiment in --storage-path (default: that of the output folder)")
    run.add_argument("--resume", action="store_true", help="go on with the search in the output folder or storage")
    run.add_argument("--quiet", action="store_true", help="no progress")
    shared.add_learning_arguments(parser)
    shared.add_scale_arguments(parser)
    shared.add_smoke_argument(
        parser, setting="small", trials=3, episodes=4, checkpoint_every=1, parameters=["actor_lr", "gamma"]
    )
    shared.without_fleet(parser)
