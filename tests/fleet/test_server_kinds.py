"""Server kinds of another package, and the schema of fleet files with every kind that is installed."""

import io
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import yaml
from PIL import Image

from lad_rllib.errors import ConfigurationError
from lad_rllib.fleet import SHIPPED_FLEETS, Fleet, FleetModel, fleet_schema, load_fleet
from lad_rllib.fleet.spec import shipped_fleets_path
from lad_rllib.scheduling import make_heuristic
from lad_rllib.service import Dispatcher, image_tasks

PACKAGE = Path(__file__).with_name("outside_package")
FILE = """
stations: 3
servers:
  - {kind: waves, count: 2, side: 32, num_cpus: 0.1}
  - {kind: emulated, name: slow, profile: {overhead_s: 0.01, per_step_s: 0.005}}
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The package as an installer leaves it: on the path, with its entry point."""
    metadata = tmp_path / "site" / "waves_server-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: waves_server\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[lad_rllib.server_kinds]\nwaves = waves_server:WavesServer\n")
    (metadata.parent / "waves_server.py").write_text((PACKAGE / "waves_server.py").read_text())
    monkeypatch.syspath_prepend(metadata.parent)
    yield
    sys.modules.pop("waves_server", None)


@pytest.fixture
def fleet_file(tmp_path):
    file = tmp_path / "painters.yaml"
    file.write_text(FILE)
    return file


def test_servers_of_another_package_are_described_in_a_file_and_serve_under_the_dispatcher(installed, fleet_file):
    spec = load_fleet(fleet_file)
    assert [server.name for server in spec.servers] == ["waves-0-0", "waves-0-1", "slow"]
    assert load_fleet(spec.to_dict()) == spec
    tasks = image_tasks(["a red seven"], 12, np.random.default_rng(0), num_stations=3, denoising_steps=(2, 6))
    with Fleet.start(spec, in_process=True) as fleet:
        model = FleetModel.from_fits(spec, fleet.profile((1, 4, 16), repeats=1))
        with Dispatcher(fleet.servers, model.network, model.work, make_heuristic("round-robin"), seed=1) as dispatcher:
            deliveries = dispatcher.run(tasks, timeout_s=60)
    assert [delivery.error for delivery in deliveries] == [None] * 12
    painted = [delivery for delivery in deliveries if delivery.record.model == "waves"]
    assert {delivery.server for delivery in painted} == {"waves-0-0", "waves-0-1"}
    assert Image.open(io.BytesIO(painted[0].png)).size == (32, 32) and painted[0].record.denoise_s > 0


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"sides": 32}, "key 'sides' is not of kind waves; did you mean 'side'?"),
        ({"side": 33}, "side must be a whole number of at least 8 and of at most 512 and a multiple of 8, got 33"),
    ],
)
def test_a_mistake_in_another_packages_server_is_one_line(installed, entry, told):
    with pytest.raises(ConfigurationError) as caught:
        load_fleet({"servers": [{"name": "w", "kind": "waves", **entry}]})
    assert str(caught.value) == f"fleet (no name), server w: {told}"


def test_without_the_package_its_kind_is_unknown(fleet_file):
    with pytest.raises(ConfigurationError, match="kind must be one of emulated, diffusers, got 'waves'"):
        load_fleet(fleet_file)


@pytest.mark.parametrize("name", SHIPPED_FLEETS)
def test_shipped_fleets_fit_the_schema_of_fleet_files(name):
    content = yaml.safe_load((shipped_fleets_path() / f"{name}.yaml").read_text())
    jsonschema.Draft202012Validator(fleet_schema()).validate(content)
    jsonschema.Draft202012Validator(fleet_schema()).validate(load_fleet(name).to_dict())


@pytest.mark.parametrize(
    "change", [{"kind": "real"}, {"queue": 3}, {"queue_limit": 0}, {"num_cpus": "2"}, {"profile": {"per_step_s": 1}}]
)
def test_the_schema_refuses_what_reading_the_file_refuses(change):
    fleet = {"servers": [{"kind": "emulated", "profile": "h100", **change}]}
    assert not jsonschema.Draft202012Validator(fleet_schema()).is_valid(fleet)
    with pytest.raises(ConfigurationError):
        load_fleet(fleet)


def test_the_schema_knows_the_kinds_of_other_packages(installed, fleet_file):
    schema = fleet_schema()
    jsonschema.Draft202012Validator(schema).validate(yaml.safe_load(fleet_file.read_text()))
    waves = schema["properties"]["servers"]["items"]["oneOf"][-1]["properties"]
    assert waves["side"]["description"] == "Width and height of images [pixel]."
