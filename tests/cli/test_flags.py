"""Flags are what the declared options say, and nothing is declared a second time."""

from typing import Annotated, ClassVar, Literal

import pytest
from pydantic import Field

from lad_rllib.cli.flags import parse
from lad_rllib.errors import ConfigurationError
from lad_rllib.runs.command import run_command
from lad_rllib.runs.options import Options, option


class BakeOptions(Options):
    """How a cake is baked."""

    command: ClassVar[str] = "bake"
    title = "cake"

    minutes: Annotated[int, Field(ge=1, le=90)] = option(40, "time in the oven", "MIN")
    heat: Literal["top", "bottom"] | None = option(None, "where the heat comes from")
    layers_cm: list[float] = option([2.0, 1.5], "height of each layer", "CM")
    oven_c: float | None = option(None, "temperature, 100 % by default")
    fan: bool = option(False, "use the fan")
    output: str = option("results/cake", "output folder", "DIR")


def baked(*words):
    return parse(BakeOptions, words, "Bake.", minutes=1, layers_cm=[0.5])


def test_values_have_the_declared_types_and_defaults():
    assert baked() == BakeOptions()
    options = baked("--minutes", "7", "--heat", "top", "--layers-cm", "1", "2.5", "--oven-c", "180", "--fan")
    assert options == BakeOptions(minutes=7, heat="top", layers_cm=[1.0, 2.5], oven_c=180.0, fan=True)


def test_a_list_whose_flag_stands_twice_has_the_values_of_both_in_place_of_the_default():
    both = baked("--layers-cm", "1", "2.5", "--fan", "--layers-cm", "3")
    assert both.layers_cm == [1.0, 2.5, 3.0] and both.model_fields_set == {"layers_cm", "fan"}
    assert baked().layers_cm == [2.0, 1.5]


def test_what_was_given_is_known_even_with_its_default_value_and_smoke_gives_nothing():
    assert baked("--minutes", "40").model_fields_set == {"minutes"}
    smoke = baked("--smoke", "--layers-cm", "3")
    assert (smoke.minutes, smoke.layers_cm, smoke.model_fields_set) == (1, [3.0], {"layers_cm"})


@pytest.mark.parametrize(
    ("words", "minutes"),
    [
        ([], 40),
        (["--smoke"], 1),
        (["--smoke", "--minutes", "7"], 7),
        (["--minutes", "7", "--smoke"], 7),
        (["--minutes", "40", "--smoke"], 40),
    ],
)
def test_smoke_is_small_where_the_user_says_nothing_else(words, minutes):
    assert baked(*words).minutes == minutes


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--minutes", "91"], "^--minutes must be a whole number of at least 1 and of at most 90, got 91$"),
        (["--layers-cm", "1", "nan"], r"^--layers-cm\[1\] must be a number, got nan$"),
    ],
)
def test_a_value_out_of_bounds_is_named_by_its_flag(words, message):
    with pytest.raises(ConfigurationError, match=message):
        baked(*words)


def test_help_has_every_meaning_default_and_choice(capsys):
    with pytest.raises(SystemExit, match="0"):
        baked("--help")
    text = " ".join(capsys.readouterr().out.split())
    for part in (
        "cake:",
        "--minutes MIN time in the oven (default: 40)",
        "--heat {top,bottom} where the heat comes from --layers-cm",
        "--layers-cm CM [CM ...] height of each layer (default: 2.0 1.5)",
        "temperature, 100 % by default",
        "--fan use the fan --output DIR",
        "The same as --minutes 1, --layers-cm 0.5",
    ):
        assert part in text, part


def test_a_program_of_its_own_is_named_in_its_errors(capsys):
    def bake(options):
        raise ConfigurationError("the oven is cold")

    assert run_command(bake, baked()) == 2
    assert capsys.readouterr().err == "lad-rllib bake: the oven is cold\n"
