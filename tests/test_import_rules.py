"""Who may import whom, and how large files and classes may be, read from the source of every file of lad_rllib."""

import ast
from pathlib import Path

import pytest

from lad_rllib import _ROOM_OF_NAME

ROOT = Path(__file__).parents[1]

# Room -> other rooms that it may import. Everyone may import names, errors and the package itself; nobody imports cli.
ROOMS = {
    "simulator": set(),
    "scheduling": {"simulator"},
    "envs": {"simulator", "scheduling", "edge", "service", "fleet"},  # live ones run on a fleet
    "diffusion": set(),
    "kernels": {"diffusion"},  # the face, and the reference that it falls back to
    "algorithms": {"diffusion", "kernels", "scheduling", "simulator"},
    "edge": {"simulator"},  # servers serve in the simulator's orders
    "service": {"scheduling", "edge", "simulator"},  # a fleet is described in the simulator's units
    "api": {"service", "edge", "scheduling", "simulator"},  # of a policy it knows the name
    "fleet": {"edge", "service", "simulator", "scheduling"},
    "serving": {"api", "fleet", "service", "edge", "scheduling", "simulator", "algorithms"},  # it loads policies
    "runs": {"api", "serving", "envs", "fleet", "service", "algorithms", "scheduling", "edge", "kernels", "simulator"},
    "registry": {"algorithms", "envs"},  # gives both a name; imports them only when called
    # The public API; a room loads when its first name is used.
    "__init__": {"algorithms", "edge", "envs", "fleet", "registry", "scheduling", "service", "simulator"},
}
LEAVES = {"names", "errors", "declared", "arrays", "compiling", "durable", "late", "plugins", "reference", "text_files"}
COMMAND_LINE = "cli"
# Folder of an algorithm -> others that it may import: siblings know the shared base and nothing of one another.
ALGORITHMS = {
    "common": {"registry"},
    "soft_actor_critic": {"common"},
    "lad_ts": {"common", "soft_actor_critic"},
    "d2sac_ts": {"common", "soft_actor_critic"},
    "sac_ts": {"common", "soft_actor_critic"},
    "lad_pmd": {"common"},
    "lad_dispatch": {"common"},
    "dqn_ts": {"common"},
}

# Room -> packages that it must not import, besides those forbidden to all.
FORBIDDEN = {
    "simulator": {"torch", "ray", "gymnasium"},
    "scheduling": {"torch", "ray", "gymnasium"},
    "diffusion": {"ray"},
    "kernels": {"ray"},
    "api": {"ray", "torch"},  # it runs without a cluster
    "fleet": {"torch"},  # a process of emulated servers must not load it
}
MAX_LINES, MAX_METHODS = 400, 20
FORBIDDEN_TO_ALL = {"experiments", "benchmarks", "tests", "argparse"}
# Package -> starts of the paths that may import it.
COMPILERS = ("compiling", "kernels/")
WEB = ("api/", "serving/")
ONLY_IN = {
    "diffusers": ("edge/",),
    "numba": COMPILERS,
    "llvmlite": COMPILERS,
    "matplotlib": ("runs/plots",),
    "fastapi": WEB,
    "starlette": WEB,
    "uvicorn": WEB,
}


def imported_names(path, source):
    """Dotted names that a file imports, anywhere in it; ``from a import b`` gives ``a`` and ``a.b``."""
    package = path.parent.parts
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *filter(None, [node.module])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def broken_rules(path, source):
    """Imports that a file must not have; ``path`` is relative to the repository."""
    room = path.with_suffix("").parts[1]
    if room == COMMAND_LINE:
        return []
    if room not in ROOMS.keys() | LEAVES:
        return [f"{path}: {room} has no rules; add it to the tables of this test"]
    forbidden = (
        FORBIDDEN_TO_ALL
        | FORBIDDEN.get(room, set())
        | {package for package, only in ONLY_IN.items() if not "/".join(path.parts[1:]).startswith(only)}
    )
    rooms = ROOMS.keys() | {COMMAND_LINE}
    broken = set()
    for name in imported_names(path, source):
        top, _, rest = name.partition(".")
        target = _ROOM_OF_NAME.get(rest, rest).partition(".")[0]
        if top in forbidden:
            broken.add(f"{path}: {room} must not import {top}")
        elif top == "lad_rllib" and target in rooms - {room} - ROOMS.get(room, set()):
            broken.add(f"{path}: {room} must not import {top}.{target}")
        elif room == "algorithms" and len(path.parts) > 3 and rest.startswith("algorithms."):
            own, other = path.parts[2], rest.split(".")[1]
            if other != own and other not in ALGORITHMS[own]:
                broken.add(f"{path}: {own} must not import {other}")
    return sorted(broken)


def test_every_file_keeps_the_import_rules():
    files = sorted((ROOT / "lad_rllib").rglob("*.py"))
    assert files
    assert [rule for f in files for rule in broken_rules(f.relative_to(ROOT), f.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize(
    ("path", "source", "imported"),
    [
        ("simulator/delays.py", "def f():\n    import torch.nn as nn", "torch"),
        ("scheduling/rollout.py", "from ray import tune", "ray"),
        ("diffusion/__init__.py", "from lad_rllib import simulator", "lad_rllib.simulator"),
        ("algorithms/lad_ts/learner.py", "from ...service.dispatcher import Dispatcher", "lad_rllib.service"),
        ("algorithms/__init__.py", "from .. import envs", "lad_rllib.envs"),
        ("service/dispatch.py", "import lad_rllib.algorithms.lad_ts", "lad_rllib.algorithms"),
        ("service/dispatch.py", "from lad_rllib import LADTS", "lad_rllib.algorithms"),
        ("service/dispatch.py", "import diffusers", "diffusers"),
        ("algorithms/lad_ts/learner.py", "from numba import njit", "numba"),
        ("fleet/fleet.py", "from lad_rllib import algorithms", "lad_rllib.algorithms"),
        ("envs/live_env.py", "import diffusers", "diffusers"),
        ("api/app.py", "import ray", "ray"),
        ("service/dispatcher.py", "from fastapi import FastAPI", "fastapi"),
        ("envs/fleet.py", "if True:\n    from matplotlib import pyplot", "matplotlib"),
        ("runs/train.py", "from lad_rllib.cli import flags", "lad_rllib.cli"),
        ("runs/train.py", "def f():\n    from argparse import Namespace", "argparse"),
        ("runs/train.py", "import matplotlib", "matplotlib"),
        ("names.py", "from . import simulator", "lad_rllib.simulator"),
        ("errors.py", "import lad_rllib.cli", "lad_rllib.cli"),
    ],
)
def test_a_planted_violation_is_found(path, source, imported):
    path = Path("lad_rllib", path)
    assert broken_rules(path, source) == [f"{path}: {path.with_suffix('').parts[1]} must not import {imported}"]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("scheduling/heuristics.py", "from lad_rllib.simulator import delays\nfrom ..errors import ConfigurationError"),
        ("algorithms/lad_ts/learner.py", "import ray\nfrom .losses import critic_loss\nfrom lad_rllib import names"),
        ("edge/pipeline.py", "def f():\n    import diffusers"),
        ("cli.py", "import argparse\nfrom lad_rllib.algorithms import lad_ts"),
        ("runs/plots_of_search.py", "def f():\n    from matplotlib import pyplot"),
    ],
)
def test_imports_that_the_rules_allow_are_left_alone(path, source):
    assert broken_rules(Path("lad_rllib", path), source) == []


@pytest.mark.parametrize(
    ("path", "source", "rule"),
    [
        ("common/config.py", "from lad_rllib.algorithms.lad_ts import LADTSConfig", "common must not import lad_ts"),
        ("common/learner.py", "from ..soft_actor_critic import losses", "common must not import soft_actor_critic"),
        ("lad_pmd/learner.py", "import lad_rllib.algorithms.lad_ts.networks", "lad_pmd must not import lad_ts"),
        ("dqn_ts/algorithm.py", "from lad_rllib.algorithms import sac_ts", "dqn_ts must not import sac_ts"),
    ],
)
def test_an_algorithm_that_knows_its_sibling_is_found(path, source, rule):
    path = Path("lad_rllib/algorithms", path)
    assert broken_rules(path, source) == [f"{path}: {rule}"]


def loaded_with(path):
    """Modules of the package that a file imports when it is loaded, not when a function is called or types are read."""
    open_nodes = list(ast.parse(path.read_text(encoding="utf-8")).body)
    while open_nodes:
        node = open_nodes.pop()
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("lad_rllib"):
            yield from (
                name if (name := f"{node.module}.{alias.name}") in MODULES else node.module for alias in node.names
            )
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            open_nodes += node.orelse
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            open_nodes += ast.iter_child_nodes(node)


MODULES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
    for file in sorted((ROOT / "lad_rllib").rglob("*.py"))
}


def circle_in(imports):
    """Modules that import one another in a circle; empty if there are none."""
    left = {module: set(imported) & imports.keys() - {module} for module, imported in imports.items()}
    while free := [module for module, imported in left.items() if not imported & left.keys()]:
        for module in free:
            del left[module]
    return sorted(left)


def test_no_module_is_in_a_circle_of_imports():
    assert circle_in({module: set(loaded_with(file)) for module, file in MODULES.items()}) == []
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": set()}) == ["a", "b", "c", "d"]


def test_a_file_can_be_held_in_mind():
    lines = {module: len(file.read_text(encoding="utf-8").splitlines()) for module, file in MODULES.items()}
    assert {module: number for module, number in lines.items() if number > MAX_LINES} == {}


def large_classes(source):
    """Classes of a file that have too many methods, properties among them, and how many."""
    classes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef)]
    methods = {
        node.name: sum(isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef)) for part in node.body)
        for node in classes
    }
    return {name: number for name, number in methods.items() if number > MAX_METHODS}


def test_a_class_can_be_held_in_mind():
    large = {module: large_classes(file.read_text(encoding="utf-8")) for module, file in MODULES.items()}
    assert {module: found for module, found in large.items() if found} == {}


def test_a_class_of_too_many_methods_is_found():
    methods = "".join(f"    {'async ' * (i % 2)}def f{i}(self): ...\n" for i in range(MAX_METHODS))
    assert large_classes(f"class C:\n    x = 1\n{methods}") == {}
    assert large_classes(f"class C:\n{methods}    @property\n    def g(self): ...\n") == {"C": MAX_METHODS + 1}


def test_a_room_without_rules_is_found():
    assert "has no rules" in broken_rules(Path("lad_rllib/attic/box.py"), "")[0]
