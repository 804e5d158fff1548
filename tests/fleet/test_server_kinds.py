"""Server kinds of another package, and the schema of fleet files with every kind that is installed."""

import json
import sys

import jsonschema
import pytest
import yaml

from lad_rllib.edge import DelayFit, ImageTask
from lad_rllib.errors import ConfigurationError
from lad_rllib.fleet import SHIPPED_FLEETS, Fleet, FleetModel, fleet_schema, load_fleet
from lad_rllib.fleet.spec import shipped_fleets_path
from lad_rllib.service import Dispatcher
from tests.edge.stand_ins import ComfyUIStandIn, OpenAIStandIn

SOURCE = """
from typing import Annotated, Literal

from pydantic import Field

from lad_rllib.edge import EmulatedEngine
from lad_rllib.fleet import ServerSpec


class WavesServer(ServerSpec):
    kind: Literal["waves"] = "waves"
    side: Annotated[int, Field(ge=8, le=512, multiple_of=8)] = 64
    \"\"\"Width and height of images [pixel].\"\"\"

    def make_engine(self, time_scale):
        return EmulatedEngine("h100", time_scale=0.01)
"""
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
    (metadata.parent / "waves_server.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(metadata.parent)
    yield
    sys.modules.pop("waves_server", None)


@pytest.fixture
def fleet_file(tmp_path):
    file = tmp_path / "painters.yaml"
    file.write_text(FILE)
    return file


def test_servers_of_another_package_are_described_in_a_file_beside_others(installed, fleet_file):
    spec = load_fleet(fleet_file)
    assert [(server.name, server.kind) for server in spec.servers] == [
        ("waves-0-0", "waves"),
        ("waves-0-1", "waves"),
        ("slow", "emulated"),
    ]
    assert load_fleet(spec.to_dict()) == spec
    with Fleet.start(spec, in_process=True) as fleet:
        assert fleet.servers[0].generate(ImageTask("a", "waves", 3)).record.model == "h100"


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
    with pytest.raises(ConfigurationError, match="kind must be one of emulated, diffusers, http, got 'waves'"):
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


def test_a_workflow_file_travels_with_the_fleet(tmp_path):
    graph = {"3": {"class_type": "KSampler", "inputs": {"steps": "{{steps}}", "text": "{{prompt}}"}}}
    (tmp_path / "workflow.json").write_text(json.dumps(graph))
    entry = {"kind": "http", "flavour": "comfyui", "base_url": "http://gpu-1:8188", "workflow": "workflow.json"}
    (tmp_path / "fleet.yaml").write_text(yaml.safe_dump({"servers": [entry]}))
    spec = load_fleet(tmp_path / "fleet.yaml")
    assert spec.servers[0].workflow == graph and load_fleet(spec.to_dict()) == spec
    (tmp_path / "workflow.json").unlink()
    with pytest.raises(ConfigurationError, match="server number 0: cannot read workflow .*workflow.json"):
        load_fleet(tmp_path / "fleet.yaml")


def test_image_servers_over_http_serve_a_dispatchers_tasks_and_one_that_fails_costs_none():
    with OpenAIStandIn() as first, ComfyUIStandIn() as second:
        graph = {"3": {"class_type": "KSampler", "inputs": {"steps": "{{steps}}", "text": "{{prompt}}"}}}
        entries = [
            {"kind": "http", "base_url": first.url},
            {"kind": "http", "flavour": "comfyui", "base_url": second.url, "workflow": graph},
        ]
        tasks = [ImageTask(f"task-{index}", "a cat", 4 + index % 3) for index in range(12)]
        with Fleet.start({"name": "peers", "servers": entries}, in_process=True) as fleet:
            model = FleetModel.from_fits(fleet.spec, [DelayFit(0.01, 0.001)] * 2)
            # Without health checks, which would bring the one that refuses up again.
            with Dispatcher(fleet.servers, model.network, model.work, None, health_period_s=None) as dispatcher:
                first.refusal = (503, b"restarting")
                deliveries = dispatcher.run(tasks, 60, servers=[0, 1] * 6)
    assert [delivery.error for delivery in deliveries] == [None] * 12
    assert {delivery.server for delivery in deliveries} == {"http-1"} and max(one.attempts for one in deliveries) == 2
