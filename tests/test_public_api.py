"""The public API: one list, loaded when it is used."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lad_rllib

SOURCE = Path(lad_rllib.__file__)


def test_the_names_for_type_checkers_are_the_public_ones_and_each_loads_from_the_room_that_they_say():
    tree = ast.parse(SOURCE.read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    declared = {alias.name: node.module for node in block.body for alias in node.names}
    assert sorted(declared.items()) == sorted(
        (name, f"lad_rllib.{room}") for name, room in lad_rllib._ROOM_OF_NAME.items()
    )
    assert sorted(lad_rllib.__all__) == sorted([*declared, "__version__", "register"])


@pytest.mark.parametrize("name", [name for name in lad_rllib.__all__ if name != "__version__"])
def test_every_public_name_loads_and_says_what_it_is(name):
    thing = getattr(lad_rllib, name)
    assert name in dir(lad_rllib)
    if callable(thing):
        assert thing.__name__ == name and thing.__doc__


def test_an_unknown_name_is_refused_as_in_any_module():
    with pytest.raises(AttributeError, match="module 'lad_rllib' has no attribute 'LADST'"):
        lad_rllib.LADST  # noqa: B018
    with pytest.raises(AttributeError, match="'LADTSPolicy'; it is now FleetPolicy .* DispatchPolicy for requests"):
        lad_rllib.LADTSPolicy  # noqa: B018


def test_a_public_name_loads_its_own_room_alone():
    script = "import sys, lad_rllib; lad_rllib.build_setting; print({'torch', 'ray'} & sys.modules.keys())"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "set()"
