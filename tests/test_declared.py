"""How a group of declared settings refuses what it is given."""

from typing import Annotated, Literal

import pytest
from pydantic import Field, model_validator

from lad_rllib.declared import Declared, declared
from lad_rllib.errors import ConfigurationError

Positive = Annotated[float, Field(gt=0)]


class Drawn(Declared):
    range: Annotated[list[int], Field(min_length=2, max_length=2)]
    seed: int | None = None


class Group(Declared):
    count: Annotated[int, Field(ge=1)] = 3
    capacity: Literal["published"] | Positive | list[Positive] | Drawn = "published"
    stations: dict[str, int] = {}
    parts: list[Drawn] = []

    @model_validator(mode="after")
    def _count_fits(self) -> "Group":
        if self.count < len(self.parts):
            raise ValueError(f"count {self.count} is less than the parts")
        return self


CAPACITY = "'published' or a number above 0 or a list, each a number above 0 or {range, seed}"


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"count": "3"}, "x.count must be a whole number of at least 1, got '3'; leave the quotes out"),
        ({"capacity": "fast"}, f"x.capacity must be {CAPACITY}, got 'fast'"),
        ({"capacity": [10, -5]}, "x.capacity[1] must be a number above 0, got -5"),
        ({"capacity": {"rnge": [1, 2]}}, "unknown key 'x.capacity.rnge'; did you mean 'range'?"),
        ({"capacity": {1: 2}}, "unknown key 'x.capacity[1]'; valid: range, seed"),
        ({"capacity": {"seed": 3}}, "x.capacity.range is missing"),
        ({"capacity": {"range": [1]}}, "x.capacity.range must be a list of 2, each a whole number, got [1]"),
        ({"capacity": {"range": [1, "a"]}}, "x.capacity.range[1] must be a whole number, got 'a'"),
        ({"stations": {"a": None}}, "x.stations.a must be a whole number, got None"),
        ({"stations": {7: 1}}, "x.stations[7]: a key must be a text, got 7"),
        (
            {"parts": [{"range": [1, 2]}, {"range": [1, 2], "sed": 1}]},
            "unknown key 'x.parts[1].sed'; did you mean 'seed'?",
        ),
        ({"parts": [3]}, "x.parts[0] must be {range, seed}, got 3"),
        ({"count": 1, "parts": [{"range": [1, 2]}] * 2}, "x.count 1 is less than the parts"),
        ({"cuont": 3}, "unknown key 'x.cuont'; did you mean 'count'?"),
    ],
)
def test_what_does_not_fit_is_named_by_its_place_with_what_would(values, told):
    with pytest.raises(ConfigurationError) as error:
        declared(Group, values, "x.")
    assert str(error.value) == told


def test_a_group_built_in_code_refuses_with_the_same_line():
    with pytest.raises(ConfigurationError, match="^count must be a whole number of at least 1, got 0$"):
        Group(count=0)
    with pytest.raises(ConfigurationError, match="^unknown key 'cuont'; did you mean 'count'.$"):
        Group(cuont=3)
    assert Group(capacity={"range": [1, 2]}).capacity == Drawn(range=[1, 2])
