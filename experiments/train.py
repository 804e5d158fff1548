"""Train LAD-TS; the same as ``lad-rllib train``. See ``--help``."""

import sys

from lad_rllib.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
