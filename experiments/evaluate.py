"""Judge a checkpoint beside oracle and heuristics; the same as ``lad-rllib evaluate``. See ``--help``."""

import sys

from lad_rllib.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
