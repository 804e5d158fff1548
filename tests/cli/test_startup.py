"""Help, the version and typing errors answer before anything heavy is loaded."""

import subprocess
import sys

import pytest

from lad_rllib import names
from lad_rllib.cli import main
from lad_rllib.cli.commands import COMMANDS, FLEET_ACTIONS, SERVE_ACTIONS
from lad_rllib.scheduling import HEURISTICS
from lad_rllib.scheduling.request_scheduler import REQUEST_SCHEDULERS
from lad_rllib.simulator import ORDERS, PRESETS
from lad_rllib.simulator.requests import RANDOM_FLEETS, REQUEST_PRESETS

HEAVY = {
    *("torch", "ray", "numpy", "pandas", "pyarrow", "matplotlib", "rich", "numba", "gymnasium", "yaml", "pydantic"),
    *("diffusers", "transformers", "PIL", "scipy"),
}


DECLARATIONS = {"numpy", "pydantic"}


def loaded_by(statement: str) -> tuple[set[str], str, int]:
    """Heavy packages that a fresh process has loaded when a statement ends, its standard error, its exit status."""
    script = f"""
import sys
try:
    {statement}
    status = 0
except SystemExit as end:
    status = end.code
print("LOADED", status, *sorted({HEAVY!r} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    status, *loaded = done.stdout.splitlines()[-1].removeprefix("LOADED ").split()
    return set(loaded), done.stderr, int(status)


def command_line(*arguments: str) -> str:
    return f"from lad_rllib.cli import main; main({list(arguments)!r})"


@pytest.mark.parametrize("arguments", [("--version",), ("--help",), ("fleet", "--help")], ids=" ".join)
def test_help_and_version_load_nothing_heavy(arguments):
    loaded, _, status = loaded_by(command_line(*arguments))
    assert (loaded, status) == (set(), 0)


@pytest.mark.parametrize(
    "arguments",
    [
        *((name, "--help") for name in COMMANDS),
        *(("fleet", name, "--help") for name in FLEET_ACTIONS),
        *(("serve", name, "--help") for name in SERVE_ACTIONS),
    ],
    ids=" ".join,
)
def test_help_of_a_command_loads_only_what_declares_its_options(arguments):
    loaded, _, status = loaded_by(command_line(*arguments))
    assert (loaded, status) == (DECLARATIONS, 0)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("trian",), "'trian'"),
        (("train", "--gama", "0.9"), "lad-rllib train: unknown option --gama; did you mean --gamma?"),
        (("train", "--gama=0.9"), "did you mean --gamma?"),
        (("train", "--episodes", "ten"), "lad-rllib train: argument --episodes: invalid int value: 'ten'"),
        (("evaluate", "--epsodes", "3"), "lad-rllib evaluate: unknown option --epsodes; did you mean --episodes?"),
        (("tune", "--search", "optun"), "'optun'"),
        (("generate", "a cat"), "lad-rllib generate: unexpected argument 'a cat'"),
        (("fleet", "upp"), "'upp'"),
        ((), "required: command"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_typing_error_is_one_line_of_the_right_command_and_loads_nothing_else(arguments, told):
    loaded, errors, status = loaded_by(command_line(*arguments))
    assert status == 2 and loaded <= DECLARATIONS
    assert told in errors and len(errors.splitlines()) == 1


def test_importing_the_package_loads_nothing_heavy():
    assert loaded_by("import lad_rllib")[0] == set()


def test_options_offer_what_the_rooms_have():
    assert tuple(PRESETS) == names.SETTING_PRESETS
    assert tuple(REQUEST_PRESETS) == names.REQUEST_PRESETS
    assert tuple(RANDOM_FLEETS) == names.RANDOM_FLEETS
    assert tuple(HEURISTICS) == names.HEURISTICS
    assert tuple(REQUEST_SCHEDULERS) == names.REQUEST_SCHEDULERS
    assert tuple(ORDERS) == names.ORDERS


def test_the_default_of_every_choice_is_one_of_its_choices(capsys):
    from lad_rllib.cli.main import parser

    commands = parser()._subparsers._group_actions[0].choices
    for command in commands.values():
        for action in command._actions:
            if action.choices and action.default is not None:
                chosen = action.default if isinstance(action.default, list) else [action.default]
                assert set(chosen) <= set(action.choices), action.option_strings


def test_the_version_is_the_packages(capsys):
    import lad_rllib

    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.strip() == lad_rllib.__version__
