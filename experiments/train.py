"""Train LAD-TS; the same as ``lad-rllib train``. See ``--help``."""

import sys

from lad_rllib.cli.main import script_main

if __name__ == "__main__":
    sys.exit(script_main("train"))
