"""A damaged setting of requests is refused in one line, or builds; nothing else comes of it."""

import json

import jsonschema
import pytest

from lad_rllib.reference import fields_of
from lad_rllib.simulator import sizes
from lad_rllib.simulator.requests import (
    REQUEST_PRESETS,
    build_request_setting,
    request_setting_groups,
    request_setting_schema,
)
from tests.mutations import check_refused_or_built

SMALL = {"requests": 100}
SPECS = {
    "own": build_request_setting(
        {
            "servers": [1.0, {"speed": 0.5, "service": {"per_step_s": 2.0}, "swap_s": {"a": 3.0}, "stations": [0]}],
            "service_of_model": {"a": {"overhead_s": 1.0}},
            "models_in_memory": 1,
            "order": {"name": "aged", "service_weight": 5.0},
            "traffic": {
                "kind": "bursty",
                "rate_per_s": 0.01,
                "mix": {"images": [{"steps": [2, 5]}], "models": {"a": 1.0, "b": 2.0}, "tenants": {"t": 1.0}},
            },
            **SMALL,
        }
    ).spec,
    "daily": build_request_setting({"preset": "daily"}).spec,
    "log": build_request_setting({"preset": "gentd26", "traffic": {"path": "sample"}, **SMALL}).spec,
}


@pytest.fixture(autouse=True)
def a_small_machine(monkeypatch):
    """What large numbers would take is compared with the same memory everywhere."""
    monkeypatch.setattr(sizes, "machine_bytes", lambda: 2**32)


@pytest.mark.parametrize("name", SPECS)
def test_a_damaged_setting_is_refused_in_one_line_or_builds(name):
    check_refused_or_built(build_request_setting, SPECS[name])


@pytest.mark.parametrize("spec", [*REQUEST_PRESETS.values(), *SPECS.values()], ids=[*REQUEST_PRESETS, *SPECS])
def test_the_schema_takes_what_builds(spec):
    schema = request_setting_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(json.dumps(spec)), schema)


@pytest.mark.parametrize(
    "spec", [{"preset": "unequal"}, {"request": 3}, {"servers": [0.0]}, {"traffic": {"kind": "daily", "depth": 2.0}}]
)
def test_the_schema_refuses_what_building_refuses(spec):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(spec, request_setting_schema())


def test_every_field_says_what_it_means():
    groups = request_setting_groups().values()
    assert [(group.__name__, field.name) for group in groups for field in fields_of(group) if not field.help] == []
