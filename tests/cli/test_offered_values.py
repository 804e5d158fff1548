"""Whatever a help text offers works."""

import argparse
import re
import shlex

import pytest

from lad_rllib.algorithms import CONFIGS
from lad_rllib.algorithms.declarations import FLAGS
from lad_rllib.cli.commands import COMMANDS, FLEET, FLEET_ACTIONS, SERVE_ACTIONS
from lad_rllib.cli.flags import read
from lad_rllib.cli.main import parser
from lad_rllib.errors import ConfigurationError
from lad_rllib.fleet import load_fleet
from lad_rllib.names import HEURISTICS, SETTING_PRESETS, SHIPPED_FLEETS
from lad_rllib.runs.configuration import resolve, setting_spec
from lad_rllib.runs.options import TrainOptions
from lad_rllib.runs.worlds import world_of
from lad_rllib.scheduling import make_heuristic
from lad_rllib.simulator import build_setting

COMMAND_PARSERS = next(action.choices for action in parser()._actions if isinstance(action, argparse._SubParsersAction))


def options(*words: str) -> TrainOptions:
    return read(TrainOptions, parser().parse_args(["train", *words]))


def option(command: str, name: str) -> argparse.Action:
    return next(action for action in COMMAND_PARSERS[command]._actions if name in action.option_strings)


def offered(action: argparse.Action) -> list[str]:
    """Choices, or the words that a metavar such as ``uniform|poisson|FILE`` has beside its placeholders."""
    words = action.choices or [word for word in str(action.metavar).split("|") if word.islower()]
    return list(words)


@pytest.mark.parametrize("preset", SETTING_PRESETS)
def test_every_kind_of_arrivals_that_help_offers_plays_on_every_preset(preset):
    assert preset in option("train", "--setting").help
    kinds = offered(option("train", "--arrivals"))
    assert kinds
    for kind in kinds:
        assert build_setting(setting_spec(options("--setting", preset, "--arrivals", kind))).load > 0


def test_training_sees_the_first_part_of_a_log_alone_also_of_a_presets_log():
    for words, part in (((), [0.0, 0.7]), (("--part", "0.2", "0.6"), [0.2, 0.6])):
        assert resolve(options("--setting", "sample-trace", *words))["setting"]["arrivals"]["part"] == part
    with pytest.raises(ConfigurationError, match="--part has no effect on setting small, which has no request log"):
        resolve(options("--setting", "small", "--part", "0", "0.6"))


@pytest.mark.parametrize("name", SHIPPED_FLEETS)
def test_every_fleet_that_help_offers_loads(name):
    assert name in option("generate", "--fleet").help
    assert load_fleet(name).servers


@pytest.mark.parametrize("name", HEURISTICS)
def test_every_scheduler_that_help_offers_is_there(name):
    assert name in option("evaluate", "--schedulers").help
    assert name in offered(option("generate", "--scheduler"))
    assert make_heuristic(name)


def test_every_algorithm_that_help_offers_is_there():
    assert set(offered(option("train", "--algorithm"))) == set(CONFIGS)


def test_every_choice_of_a_hyperparameter_and_queue_unit_is_accepted():
    setting = build_setting({"preset": "small"})
    for action in COMMAND_PARSERS["train"]._actions:
        for value in action.choices or () if action.dest in FLAGS else ():
            for algorithm in FLAGS[action.dest].defaults:
                CONFIGS[algorithm]().training(**{action.dest: value})
    units = {world_of("lad-ts").queue_unit(wish, setting, None) for wish in offered(option("train", "--queue-unit"))}
    assert units == {"gcycles", "seconds", "slots"}


EXAMPLES = [
    re.split(r"\s{2,}", line.strip())[0]
    for text in (FLEET, *(command.description for command in (*COMMANDS.values(), *FLEET_ACTIONS.values())))
    for line in text.splitlines()
    if line.startswith("  lad-rllib")
]


@pytest.mark.parametrize("line", EXAMPLES)
def test_every_command_that_a_help_text_shows_is_one(line):
    program, *arguments = shlex.split(line)
    has_action = arguments[0] == "fleet" or (
        arguments[0] == "serve" and arguments[1:2] and arguments[1] in SERVE_ACTIONS
    )
    command = " ".join(arguments[: 2 if has_action else 1])
    assert program == "lad-rllib" and parser().parse_args(arguments).command == command
