"""What each command may be asked, and what several share.

The command line reads its arguments before it loads what they need: this folder imports argparse and constants only, so
that help, versions and typing errors answer at once.
"""

from lad_rllib.cli.flags import evaluate, fleet, generate, train, tune
from lad_rllib.cli.flags.shared import (
    add_algorithm_argument,
    add_cluster_arguments,
    add_fleet_arguments,
    add_learning_arguments,
    add_scale_arguments,
    add_setting_arguments,
    add_smoke_argument,
    add_storage_argument,
    without_fleet,
)

COMMANDS = {"train": train, "tune": tune, "evaluate": evaluate, "fleet": fleet, "generate": generate}
"""Every command: its summary, its description and its arguments."""

__all__ = [
    "COMMANDS",
    "add_algorithm_argument",
    "add_cluster_arguments",
    "add_fleet_arguments",
    "add_learning_arguments",
    "add_scale_arguments",
    "add_setting_arguments",
    "add_smoke_argument",
    "add_storage_argument",
    "without_fleet",
]
