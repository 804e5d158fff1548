"""Flags, schemas and tables that are derived from the declarations of settings."""

import json
from typing import Annotated, Literal

import jsonschema
import pytest
from pydantic import Field

from lad_rllib.declared import Declared
from lad_rllib.reference import fields_of, fields_table, json_schema
from lad_rllib.simulator import ARRIVALS, PENALTIES, PRESETS, build_setting, setting_groups, setting_schema


class Oven(Declared):
    """What bakes.

    A second paragraph is not for editors.
    """

    heat: Literal["top", "bottom"]
    """Where the heat is, see :class:`~kitchen.Heat`."""
    degrees: Annotated[float, Field(gt=0)] | None = None
    """Temperature [°C]; null: ``180 | 200``."""
    trays: list[int] = [1, 2]
    """Heights
    of the trays."""


def test_a_flag_has_the_name_type_default_choices_and_meaning_of_its_field():
    heat, degrees, trays = fields_of(Oven)
    assert (heat.name, heat.choices, heat.is_required) == ("heat", ("top", "bottom"), True)
    assert heat.help == "Where the heat is, see Heat."
    assert (degrees.type, degrees.default, degrees.choices, degrees.is_list) == (float, None, (), False)
    assert degrees.valid == "a number above 0 or null"
    assert (trays.type, trays.default, trays.is_list, trays.help) == (int, [1, 2], True, "Heights of the trays.")


def test_a_table_has_a_row_for_every_field_and_keeps_its_columns():
    assert fields_table(Oven).splitlines() == [
        "| field | valid | default | meaning |",
        "|---|---|---|---|",
        "| `heat` | one of top, bottom | required | Where the heat is, see `Heat`. |",
        r"| `degrees` | a number above 0 or null | `null` | Temperature [°C]; null: `180 \| 200`. |",
        "| `trays` | a list, each a whole number | `[1, 2]` | Heights of the trays. |",
    ]


def test_a_schema_tells_an_editor_what_each_key_means():
    schema = json_schema(Oven)
    assert schema["description"] == "What bakes."
    assert schema["properties"]["degrees"]["description"] == "Temperature [°C]; null: 180 | 200."
    jsonschema.validate({"heat": "top"}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"heat": "left"}, schema)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_schema_of_settings_files_takes_every_preset_and_what_it_stands_for(preset):
    schema = setting_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(PRESETS[preset], schema)
    jsonschema.validate(json.loads(json.dumps(build_setting({"preset": preset}).spec)), schema)


@pytest.mark.parametrize(
    "spec",
    [
        {"preset": "papper"},
        {"slot": 3},
        {"network": {"stations": 0}},
        {"arrivals": {"source": "poisson", "min_tasks": 3}},
        {"arrivals": {"source": "trace", "path": 3}},
    ],
)
def test_the_schema_refuses_what_building_refuses(spec):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(spec, setting_schema())


def test_every_setting_and_penalty_says_what_it_means():
    groups = [*setting_groups().values(), *(PENALTIES[name] for name in PENALTIES)]
    silent = [(group.__name__, field.name) for group in groups for field in fields_of(group) if not field.help]
    assert silent == [] and len(groups) == 2 + len(ARRIVALS) + len(PENALTIES)
