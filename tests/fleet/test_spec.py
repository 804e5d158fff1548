"""A fleet's file: what it means, and one line for everything that can be wrong with it."""

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from lad_rllib.edge.engines.profiles import shipped_profiles_path
from lad_rllib.errors import ConfigurationError
from lad_rllib.fleet import SHIPPED_FLEETS, load_fleet
from lad_rllib.fleet.spec import shipped_fleets_path, with_server, without_server

EMULATED = {"name": "a", "kind": "emulated", "profile": "h100"}
REAL = {"name": "b", "kind": "diffusers"}


def error_of(fleet):
    """The one line of complaint about a fleet."""
    with pytest.raises(ConfigurationError) as caught:
        load_fleet(fleet)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def one(**changes):
    """A fleet of one emulated server with changes."""
    return {"name": "f", "servers": [{**EMULATED, **changes}]}


def real(**changes):
    """A fleet of one real server with changes."""
    return {"name": "f", "servers": [{**REAL, **changes}]}


@pytest.mark.parametrize("name", SHIPPED_FLEETS)
def test_a_shipped_fleet_is_valid_and_survives_the_way_through_json(name):
    spec = load_fleet(name)
    assert spec.name == name and len(spec.servers) == spec.stations == {"unequal-8": 8, "image-servers": 4}.get(name, 5)
    assert load_fleet(json.loads(json.dumps(spec.to_dict()))) == spec


def test_every_fleet_file_of_the_package_is_listed():
    assert {path.stem for path in shipped_fleets_path().glob("*")} == set(SHIPPED_FLEETS)


def test_the_documentation_explains_every_key():
    text = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "hooks" / "reference.py"))["fleet_file"]()
    first_cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    explained = set(re.findall(r"`(\w+)`", " ".join(first_cells)))
    keys = {"count", "profiles", *load_fleet(one()).to_dict()}
    for fleet in (one(), real()):
        keys |= set(load_fleet(fleet).servers[0].to_dict())
    assert keys - explained == set()


def test_servers_that_name_no_order_have_the_fleets():
    servers = [{**EMULATED, "count": 2}, {**EMULATED, "name": "b", "order": {"name": "fair", "weights": {"x": 2}}}]
    spec = load_fleet({"order": "aged:service_weight=9", "servers": servers})
    assert [server.order for server in spec.servers] == ["aged:service_weight=9"] * 2 + [servers[1]["order"]]
    assert spec.order_note == ", order aged:service_weight=9 and fair" and load_fleet(one()).order_note == ""
    assert load_fleet(json.loads(json.dumps(spec.to_dict()))) == spec


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ("sjf", "unknown order of service 'sjf'; choose from fifo, shortest_first, aged, deadline, priority, fair"),
        ("aged:service_weight=fast", "order must be name or name:field=number,..., got 'aged:service_weight=fast'"),
        ({"name": "aged", "weight": 3}, "unknown key 'order.weight'; did you mean 'service_weight'?"),
        (["fifo"], "order must be a text or a group of keys and values, got ['fifo']"),
    ],
)
def test_an_order_that_cannot_be_is_refused_with_fleet_and_server(order, words):
    assert error_of(one(order=order)) == f"fleet f, server a: {words}"
    assert error_of({**one(), "order": order}) == f"fleet f: {words}"


def test_count_makes_servers_with_names_and_seeds_of_their_own():
    spec = load_fleet({"servers": [{**EMULATED, "name": "x"}, {**EMULATED, "name": "y", "count": 3, "seed": 10}]})
    assert [(server.name, server.seed) for server in spec.servers] == [("x", 0), ("y-0", 10), ("y-1", 11), ("y-2", 12)]


def test_servers_stand_at_the_stations_in_order_until_either_ends():
    assert load_fleet(one()).home_server == [0]
    fleet = load_fleet({**one(count=2), "stations": 4})
    assert fleet.home_server == [0, 1, -1, -1]
    assert load_fleet({**one(count=3), "stations": 2}).home_server == [0, 1]
    moved = load_fleet({**one(count=2), "stations": 3, "home_server": [-1, 1, -1]})
    assert (moved.home_station(0), moved.home_station(1)) == (None, 1)


def test_paths_in_a_file_start_from_its_folder(tmp_path):
    profiles = yaml.safe_load(shipped_profiles_path().read_text())
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({"box": {**profiles["h100"], "per_step_s": 7.0}}))
    servers = [{**EMULATED, "profile": "box", "profiles": "own.yaml"}, {**REAL, "model": "./pipeline"}]
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({"servers": servers}))
    (tmp_path / "pipeline").mkdir()
    spec = load_fleet(file)
    assert spec.name == "mine" and spec.servers[0].profile.per_step_s == 7.0
    assert spec.servers[1].model == str(tmp_path / "pipeline")
    assert load_fleet(spec.to_dict()) == spec


def test_a_model_folder_is_looked_for_beside_the_file_and_then_in_the_current_folder(tmp_path, monkeypatch):
    beside, current = tmp_path / "fleets", tmp_path / "current"
    for folder in (beside / "mine/both", current / "mine/both", current / "mine/here"):
        folder.mkdir(parents=True)
    monkeypatch.chdir(current)
    file = beside / "fleet.yaml"

    def model_of(model):
        file.write_text(yaml.safe_dump(real(model=model)))
        return load_fleet(file).servers[0].model

    assert model_of("mine/both") == model_of("./mine/both") == str(beside / "mine/both")
    assert model_of("mine/here") == str(current / "mine/here")
    assert model_of("mine/other") == "mine/other"
    for missing in ("./mine/other", "../other", "a/b/c"):
        file.write_text(yaml.safe_dump(real(model=missing)))
        message = error_of(file)
        places = [str((start / missing).resolve()) for start in (beside, current)]
        assert all(place in message for place in places) and "server b: no model folder" in message


def test_a_hub_name_stays_a_hub_name():
    assert load_fleet(real(model="owner/model")).servers[0].model == "owner/model"


def test_an_own_profile_needs_its_times_only():
    profile = load_fleet(one(profile={"overhead_s": 1.0, "per_step_s": 0.5})).servers[0].profile
    assert (profile.name, profile.origin, profile.width) == ("a", "assumption", 512)


@pytest.mark.parametrize(
    ("fleet", "words"),
    [
        (3, ["a fleet must be a name, a file or a mapping, got 3"]),
        ([EMULATED], ["a fleet must be", "mapping", "got [{"]),
        ({"servers": []}, ["servers", "at least one"]),
        ({"servers": None}, ["servers", "None"]),
        ({**one(), "server": 1}, ["unknown key 'server'", "did you mean 'servers'"]),
        (one(count=0), ["server a", "count", "0"]),
        (one(kind="real"), ["server a", "kind", "emulated, diffusers", "'real'"]),
        ({"servers": [{"name": "a"}]}, ["server a", "kind", "None"]),
        ({"servers": ["a"]}, ["server number 0", "'a'"]),
        (one(queue=3), ["server a", "'queue'", "queue_limit"]),
        (one(min_step_s=2), ["server a", "'min_step_s'", "kind emulated", "profile"]),
        (real(profile="h100"), ["server b", "'profile'", "kind diffusers", "memory_profile"]),
        (real(profiles="own.yaml"), ["server b", "'profiles'", "kind diffusers"]),
        (one(profile="h1000"), ["server a", "h1000", "jetson-agx-orin"]),
        (one(profile=None), ["server a", "profile", "None"]),
        (one(profile={"overhead_s": 1.0}), ["server a", "per_step_s"]),
        (one(profile={"overhead_s": 1.0, "per_step_s": -1}), ["server a", "per_step_s", "-1"]),
        (one(profile={"per_step": 1.0}), ["server a", "'profile.per_step'", "per_step_s"]),
        (one(profiles="nowhere.yaml"), ["server a", "nowhere.yaml"]),
        (real(memory_profile="no-t5"), ["server b", "memory_profile", "no_t5", "'no-t5'"]),
        (real(memory_profile="model_offload", device="cpu"), ["server b", "model_offload", "cpu"]),
        (real(memory_profile="model_offload"), ["server b", "model_offload", "num_gpus is 0"]),
        (real(device="cuda"), ["server b", "device cuda", "num_gpus is 0"]),
        (real(dtype="half"), ["server b", "dtype", "float16"]),
        (real(min_step_s=-0.5), ["server b", "min_step_s", "-0.5"]),
        (real(width=30), ["server b", "width", "30"]),
        (real(allowed_sizes=[[512]]), ["server b", "allowed_sizes", "[512]"]),
        (real(allowed_sizes=[]), ["server b", "allowed_sizes"]),
        (one(num_cpus="2"), ["server a", "num_cpus", "'2'"]),
        (one(num_cpus=0), ["server a", "num_cpus 0", "reserves nothing"]),
        (one(num_gpus=-1), ["server a", "num_gpus", "-1"]),
        (one(resources={"CPU": 1}), ["server a", "CPU", "num_cpus"]),
        (one(resources=["edge-a"]), ["server a", "resources"]),
        (one(labels={"zone": 3}), ["server a", "labels.zone", "quotes"]),
        (one(link_rate_mbit_per_s=0), ["server a", "link_rate_mbit_per_s", "0"]),
        (one(queue_limit=0), ["server a", "queue_limit", "0"]),
        (one(queue_limit=True), ["server a", "queue_limit", "True"]),
        (one(make_png="no"), ["server a", "make_png", "true or false"]),
        (one(seed=1.5), ["server a", "seed", "1.5"]),
        (one(name=""), ["name", "''"]),
        (one(name="a/b"), ["slash", "a/b"]),
        ({"servers": [EMULATED, EMULATED]}, ["called a"]),
        ({"servers": [{**EMULATED, "name": "a-0"}, {**EMULATED, "count": 2}]}, ["called a-0"]),
        ({**one(), "stations": 0}, ["stations", "0"]),
        ({**one(), "stations": 10**9}, ["stations", "at most 10000", "1000000000"]),
        (one(count=20_000), ["server a", "count", "at most 1000", "20000"]),
        ({"servers": [{**EMULATED, "name": name, "count": 600} for name in "ab"]}, ["at most 1000 servers"]),
        ({"servers": [{"name": "a", "knd": "emulated"}]}, ["server a", "'knd'", "did you mean 'kind'"]),
        ({"servers": [{**EMULATED, "name": 3}]}, ["server number 0", "name", "a text, got 3", "quotes"]),
        ({**one(), "name": ["f"]}, ["name must be a text", "['f']"]),
        ({**one(), "time_scale": "1"}, ["time_scale", "leave the quotes out"]),
        (one(profiles=3), ["server a", "profiles must be a text", "3"]),
        (one(name="a\nb"), ["server number 0", "line break"]),
        (one(profile={"overhead_s": "1", "per_step_s": 1}), ["server a", "profile.overhead_s", "quotes"]),
        (one(labels={1: "eu"}), ["server a", "labels[1]", "text"]),
        (one(resources={"edge-a": "1"}), ["server a", "resources.edge-a", "quotes"]),
        (real(model=""), ["server b", "model", "non-empty"]),
        (real(model=["a"]), ["server b", "model", "text"]),
        ({**one(), "home_server": [0, 0]}, ["home_server", "1 servers"]),
        ({**one(), "stations": 2, "home_server": [0, 0]}, ["home_server", "server 0", "one station"]),
        ({**one(), "home_server": [1]}, ["home_server", "server 1"]),
        ({**one(), "placement": "random"}, ["placement", "strict_spread", "'random'"]),
        ({**one(), "time_scale": 0}, ["time_scale", "0"]),
        ({**real(), "time_scale": 0.5}, ["time_scale is 0.5", "server b", "real pipeline"]),
    ],
)
def test_a_mistake_is_one_line_that_names_it_and_what_is_valid(fleet, words):
    message = error_of(fleet)
    assert [word for word in words if word not in message] == [], message


def test_numbers_of_numpy_and_paths_are_taken_for_what_they_are(tmp_path):
    changes = {"queue_limit": np.int64(3), "num_cpus": np.float32(0.5), "allowed_sizes": np.array([[8, 16]])}
    server = load_fleet(real(model=tmp_path, **changes)).servers[0]
    assert (server.queue_limit, server.num_cpus, server.allowed_sizes) == (3, 0.5, [[8, 16]])
    assert server.model == str(tmp_path)


def test_a_mistake_in_a_file_names_the_file(tmp_path):
    file = tmp_path / "mine.yaml"
    assert "mine.yaml" in error_of(file) and "No such file" in error_of(file)
    file.write_text("servers: [")
    assert "mine.yaml" in error_of(file)
    file.write_text("just text")
    assert "mine.yaml" in error_of(file) and "'just text'" in error_of(file)
    file.write_text(yaml.safe_dump(one(queue=3)))
    assert "mine.yaml, server a: " in error_of(file)
    file.with_suffix(".json").write_text("{")
    assert "mine.json" in error_of(file.with_suffix(".json"))


def test_an_unknown_name_lists_the_shipped_fleets():
    message = error_of("digit")
    assert "'digit'" in message and all(name in message for name in SHIPPED_FLEETS)


def test_describing_and_emulating_a_fleet_loads_neither_torch_nor_diffusers():
    code = (
        "import sys\nfrom lad_rllib.fleet import load_fleet\nload_fleet('digits')\nassert 'ray' not in sys.modules\n"
        "from lad_rllib.fleet import Fleet\nFleet.start('emulated', in_process=True).close()\n"
        "print(sorted({'torch', 'diffusers', 'transformers', 'gymnasium'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_a_server_with_several_models_finds_their_folders_beside_the_file(tmp_path):
    (tmp_path / "negative").mkdir()
    (tmp_path / "ink.safetensors").write_bytes(b"")
    file = tmp_path / "two.yaml"
    file.write_text(
        "servers:\n- {kind: diffusers, models: {digits: embedded, negative: ./negative}, models_in_memory: 2,"
        " loras: {ink: ./ink.safetensors}}\n- {kind: emulated, profile: h100, models: [flux, sdxl]}\n"
    )
    spec = load_fleet(file)
    two, emulated = spec.servers
    assert (two.model, two.models) == ("digits", {"digits": "embedded", "negative": str(tmp_path / "negative")})
    assert two.make_engine(1.0).describe().models == ("digits", "negative")
    assert two.loras == {"ink": str(tmp_path / "ink.safetensors")} and emulated.models == ["flux", "sdxl"]
    assert load_fleet(spec.to_dict()) == spec
    file.write_text(file.read_text().replace("./negative", "./negativ"))
    with pytest.raises(ConfigurationError, match="no model folder .*negativ; name an existing one"):
        load_fleet(file)


def server(**changes):
    """The entry of an emulated server with changes."""
    return {**EMULATED, **changes}


def test_a_server_joins_a_fleet_and_another_leaves_it():
    fleet = load_fleet({"name": "one", "stations": 3, "servers": [server(name="a"), server(name="b")]})
    larger = with_server(fleet, server(name="c"))
    assert [one.name for one in larger.servers] == ["a", "b", "c"] and larger.home_server == [0, 1, -1]
    smaller = without_server(larger, "a")
    assert [one.name for one in smaller.servers] == ["b", "c"] and smaller.home_server == [-1, 0, -1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda fleet: with_server(fleet, server(name="a")), "has a server called a"),
        (lambda fleet: with_server(fleet, server(name="c", count=2)), "leave count out"),
        (lambda fleet: with_server(fleet, {"kind": "magic"}), "kind must be one of"),
        (lambda fleet: without_server(fleet, "z"), "has no server 'z'; it has a"),
        (lambda fleet: without_server(fleet, "a"), "a is the only server"),
    ],
)
def test_changes_of_a_fleet_that_cannot_be_are_named(change, message):
    with pytest.raises(ConfigurationError, match=message):
        change(load_fleet({"name": "one", "servers": [server(name="a")]}))
