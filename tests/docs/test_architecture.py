"""The page of the architecture names rooms and calls that exist."""

import re
from functools import reduce
from importlib import import_module

import pytest

from tests.docs.pages import ROOT
from tests.test_import_rules import ROOMS

PAGE = (ROOT / "docs" / "explanation" / "architecture.md").read_text()
CALLS = sorted(set(re.findall(r"`([\w.]+:[\w.]+)`", PAGE)))


@pytest.mark.parametrize("call", CALLS)
def test_a_call_of_a_walk_exists(call):
    module, _, name = call.partition(":")
    assert callable(reduce(getattr, name.split("."), import_module(f"lad_rllib.{module}")))


def test_the_table_has_every_room():
    rooms = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    folders = {path.name for path in (ROOT / "lad_rllib").iterdir() if (path / "__init__.py").is_file()}
    assert rooms == folders and rooms <= {*ROOMS, "cli"}
