"""A service over a fleet that was started before, and goes on after it."""

import httpx
import pytest

from lad_rllib.api import ApiSettings
from lad_rllib.fleet import Fleet, load_fleet
from lad_rllib.fleet.fleet import end_shared
from lad_rllib.serving import Service, named_policy
from tests.serving.running import entry, free_port

pytestmark = pytest.mark.cluster


def test_servers_of_a_shared_fleet_stay_when_the_service_ends(ray_cluster):
    spec, policy = load_fleet({"name": "shared", "servers": [entry("a"), entry("b")]}), "any-fleet"
    try:
        Fleet.start(spec, shared=True)
        with Service(spec, policy, named_policy(policy), ApiSettings(), port=free_port(), shared=True) as service:
            answer = httpx.post(f"{service.url}/v1/images/generations", json={"prompt": "a red seven"}, timeout=60)
            assert answer.status_code == 200
            assert httpx.get(f"{service.url}/v1/fleet", timeout=60).json()["policy"] == policy
        assert [server.status().state for server in Fleet.attach(spec).servers] == ["ready", "ready"]
    finally:
        end_shared(spec)
