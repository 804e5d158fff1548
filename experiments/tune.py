"""Search hyperparameters of LAD-TS with Ray Tune; the same as ``lad-rllib tune``. See ``--help``."""

import sys

from lad_rllib.cli import main

if __name__ == "__main__":
    sys.exit(main(["tune", *sys.argv[1:]]))
