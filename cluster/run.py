"""The console command as a file, which ``ray submit`` needs: ``ray submit CLUSTER cluster/run.py train --smoke``."""

import sys

from lad_rllib.cli import main

if __name__ == "__main__":
    sys.exit(main())
