"""A damaged setting is refused in one line, or builds; nothing else comes of it."""

import pytest

from lad_rllib.simulator import PRESETS, build_setting, load_setting, sizes
from tests.mutations import as_file, check_refused_or_built, mutations

DRAWN = {"capacity_gcycles_per_s": {"range": [10, 80], "seed": 3}, "home_server": [0, 1], "stations": 2, "servers": 2}
SPECS = {preset: build_setting({"preset": preset}).spec for preset in PRESETS} | {
    "drawn": build_setting({"network": DRAWN, "arrivals": {"attributes": {"per_index": 1}}}).spec,
    "poisson": build_setting({"preset": "small", "arrivals": {"source": "poisson", "mean_tasks": [1.0] * 4}}).spec,
}


@pytest.fixture(autouse=True)
def a_small_machine(monkeypatch):
    """What large numbers would take is compared with the same memory everywhere."""
    monkeypatch.setattr(sizes, "machine_bytes", lambda: 2**32)


@pytest.mark.parametrize("name", SPECS)
def test_a_damaged_setting_is_refused_in_one_line_or_builds(name):
    check_refused_or_built(build_setting, SPECS[name])


def test_a_damaged_settings_file_is_refused_in_one_line_or_builds(tmp_path):
    check_refused_or_built(as_file(tmp_path / "setting.yaml", load_setting), SPECS["sample-trace"], cases=60)


def test_damaged_settings_reach_every_field():
    changed = {what.partition(": ")[0] for what, _ in mutations(SPECS["sample-trace"], 10**6)}
    assert {f"arrivals.{field}" for field in SPECS["sample-trace"]["arrivals"]} < changed
