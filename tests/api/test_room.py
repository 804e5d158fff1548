"""The room as others load it: without a cluster, and without FastAPI in one line."""

import subprocess
import sys


def printed(script):
    """What a process of its own prints."""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_room_loads_neither_ray_nor_torch():
    assert printed("import sys, lad_rllib.api; print({'ray', 'torch', 'diffusers'} & sys.modules.keys())") == "set()"


def test_without_fastapi_the_room_says_in_one_line_what_to_install():
    script = """
import sys
sys.modules["fastapi"] = None
from lad_rllib.errors import ConfigurationError
try:
    import lad_rllib.api
except ConfigurationError as error:
    print(error)
"""
    assert printed(script) == "the HTTP API needs FastAPI; install it by: pip install 'lad-rllib[serve]'"
