"""A damaged fleet or profile file is refused in one line, or builds; nothing else comes of it."""

import json

import pytest

from lad_rllib.edge.engines.profiles import load_profiles
from lad_rllib.fleet import load_fleet
from tests.mutations import as_file, check_refused_or_built

OWN = {"overhead_s": 1.0, "per_step_s": 0.5, "jitter": 0.1, "source": "mine"}
FLEETS = {
    "digits": load_fleet("digits").to_dict()
    | {"stations": 1, "home_server": [0], "servers": [load_fleet("digits").servers[0].to_dict()]},
    "gpu-cluster": {"name": "f", "servers": load_fleet("gpu-cluster").to_dict()["servers"][:1]},
    "own": {
        "stations": 3,
        "home_server": [0, 1, -1],
        "order": "aged:service_weight=3",
        "servers": [
            {"kind": "emulated", "name": "a", "count": 2, "profile": "h100", "profiles": None, "seed": 3},
            {
                "kind": "emulated",
                "profile": OWN,
                "labels": {"region": "eu"},
                "order": {"name": "fair", "weights": {"a": 2.0}},
            },
            {"kind": "emulated", "profile": OWN, "resources": {"edge": 0.5}},
        ],
    },
}


@pytest.mark.parametrize("name", FLEETS)
def test_a_damaged_fleet_is_refused_in_one_line_or_builds(name):
    def build(document):
        if isinstance(document, dict):
            spec = load_fleet(document)
            assert load_fleet(json.loads(json.dumps(spec.to_dict()))) == spec

    check_refused_or_built(build, FLEETS[name])


def test_a_damaged_fleet_file_is_refused_in_one_line_or_builds(tmp_path):
    check_refused_or_built(as_file(tmp_path / "fleet.yaml", load_fleet), FLEETS["own"], cases=60)


def test_a_damaged_file_of_profiles_is_refused_in_one_line_or_builds(tmp_path):
    build = as_file(tmp_path / "profiles.yaml", load_profiles)
    check_refused_or_built(build, {"box": {**OWN, "origin": "measured"}}, cases=60)
