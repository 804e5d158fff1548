"""Judge a checkpoint beside oracle and heuristics; the same as ``lad-rllib evaluate``. See ``--help``."""

import sys

from lad_rllib.cli.main import script_main

if __name__ == "__main__":
    sys.exit(script_main("evaluate"))
