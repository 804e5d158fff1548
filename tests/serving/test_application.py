"""The service as an application that a config file of Ray Serve describes: deployed, and deployed again."""

import httpx
import pytest
import ray
import yaml
from ray import serve

from lad_rllib.errors import ConfigurationError
from lad_rllib.serving.application import application
from lad_rllib.serving.service import KEEPER, NAMESPACE
from tests.serving.test_service import entry, free_port


@pytest.fixture
def port(ray_cluster):
    """Where Serve listens; Serve, the keeper and its servers end with the test."""
    port = free_port()
    serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
    yield port
    serve.shutdown()
    ray.kill(ray.get_actor(KEEPER, namespace=NAMESPACE))


@pytest.mark.cluster
@pytest.mark.parametrize("servers", [pytest.param("actors", marks=pytest.mark.extended), "applications"])
def test_it_serves_its_fleet_and_keeps_it_when_it_is_deployed_again(port, tmp_path, servers):
    key = "0123456789-of-ann-abcdef"
    (tmp_path / "keys.yaml").write_text(yaml.safe_dump({"keys": [{"name": "ann", "key": key}]}))
    args = {
        "fleet": {"name": "quick", "stations": 1, "home_server": [-1], "servers": [entry("a"), entry("b")]},
        "servers": servers,
        "policy": "least-work-left",
        "api": {"keys_file": str(tmp_path / "keys.yaml")},
        "decisions": str(tmp_path / "decisions"),
    }
    url, body = f"http://127.0.0.1:{port}", {"prompt": "a red seven", "num_inference_steps": 2}
    headers = {"authorization": f"Bearer {key}"}
    for most in (2, 1):
        serve.run(application(args | {"api": args["api"] | {"max_images": most}}), name="lad_rllib")
        answers = [
            httpx.post(f"{url}/v1/images/generations", json=body | {"n": n}, headers=headers, timeout=60)
            for n in (1, 2)
        ]
        assert [answer.status_code for answer in answers] == ([200, 200] if most == 2 else [200, 422])
        assert httpx.post(f"{url}/v1/images/generations", json=body).status_code == 401
    state = ray.get(ray.get_actor(KEEPER, namespace=NAMESPACE).state.remote())
    assert [server.name for server in state.servers] == ["a", "b"]


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ({}, "api.keys_file is missing"),
        ({"api": {"keys_fil": "k"}}, "did you mean 'keys_file'?"),
        ({"flet": "digits"}, "did you mean 'fleet'?"),
        ({"api": {"keys_file": "k"}, "fleet": "digts"}, "no fleet 'digts'"),
        ({"api": {"keys_file": "k"}, "policy": "best"}, "no policy 'best'"),
    ],
)
def test_args_that_cannot_be_served_are_one_line(args, told):
    with pytest.raises(ConfigurationError, match=told.replace("?", r"\?")):
        application(args)
