"""What the room offers, and that importing it stays cheap."""

import subprocess
import sys

import pytest

import lad_rllib.edge


def test_importing_the_room_imports_no_heavy_library():
    code = "import sys, lad_rllib.edge; print({'torch', 'ray', 'diffusers', 'transformers'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"


def test_every_name_that_the_room_lists_is_there():
    assert [name for name in lad_rllib.edge.__all__ if getattr(lad_rllib.edge, name, None) is None] == []
    with pytest.raises(AttributeError):
        _ = lad_rllib.edge.nothing
