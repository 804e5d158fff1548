"""``python -m lad_rllib.cli``: the console command where ``lad-rllib`` is not on the PATH."""

import sys

from lad_rllib.cli import main

if __name__ == "__main__":
    sys.exit(main())
