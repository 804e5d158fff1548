"""Mistakes in configs of Ray Serve and in a RayService, planted into copies of the shipped files."""

import pytest

from tests.cluster_files.planting import mistakes, planted

ARGS, TEXT = "applications.0.args", "spec.serveConfigV2"


@pytest.mark.parametrize("name", ["serve/service.yaml", "serve/rayservice-gpu.yaml"])
@pytest.mark.parametrize(
    ("old", "new", "place", "told"),
    [
        ("application:application", "application:app", "applications.0.import_path", "is not lad_rllib.serving"),
        ("policy: any-fleet", "policy: any-flet", ARGS, "no policy 'any-flet'"),
        ("policy: any-fleet", "polcy: any-fleet", ARGS, "unknown key 'polcy'; did you mean 'policy'?"),
        ("keys_file: /etc/lad-rllib/keys.yaml", "max_images: 4", ARGS, "api.keys_file is missing"),
        ("max_wait_s: 120", "max_wait: 120", ARGS, "unknown key 'api.max_wait'"),
        ("memory_profile: no_t5", "memory_profile: no_t6", ARGS, "memory_profile"),
        ("route_prefix: /", "route_prefx: /", "applications.0.route_prefx", "did you mean 'route_prefix'?"),
        ("log_level: WARNING", "log_level: LOUD", "logging_config.log_level", "Ray Serve refuses it"),
    ],
)
def test_a_mistake_is_found(tmp_path, name, old, new, place, told):
    found = mistakes(planted(tmp_path, name, (old, new)))
    before = "" if name == "serve/service.yaml" else f"{TEXT}."
    assert any(where == before + place and told in text for where, text in found), found


def test_servers_are_actors_or_applications(tmp_path):
    found = mistakes(planted(tmp_path, "serve/service.yaml", ("servers: applications", "servers: apps")))
    assert (ARGS, "servers must be one of actors, applications, got 'apps'") in found


def test_a_server_without_a_group_of_workers_is_found(tmp_path):
    path = planted(
        tmp_path, "serve/rayservice-gpu.yaml", ("labels: {group: gpu-small}, width", "labels: {group: gpu-tiny}, width")
    )
    found = mistakes(path)
    assert (
        f"{TEXT}.{ARGS}.fleet.servers.small-0",
        "no group of workers has 2 CPU, 1 GPU, label group: gpu-tiny",
    ) in found


@pytest.mark.parametrize(
    ("new", "told"), [("serveConfigV2: |\n    a: [\n", "no YAML"), ("serveConfigV3: |\n", "is missing")]
)
def test_a_config_that_cannot_be_read_is_found(tmp_path, new, told):
    path = planted(tmp_path, "serve/rayservice-gpu.yaml", ("serveConfigV2: |\n", new))
    assert any(place == TEXT and told in text for place, text in mistakes(path))
