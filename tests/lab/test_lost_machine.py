"""A machine with two edge servers is switched off while a service answers clients: none of them notices."""

import json
import shutil
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.lab.conftest import until
from tests.lab.laboratory import ADDRESSES, ROOT, SHARED

pytestmark = [pytest.mark.lab, pytest.mark.cluster, pytest.mark.slow]

REQUESTS, BEFORE = 400, 100
"""Requests in all, and answers before the machine is switched off."""
CLUSTER = f"{ADDRESSES['head']}:6379"
URL = "http://127.0.0.1:8000"


@pytest.fixture
def laboratory(build_laboratory, step):
    """A Ray cluster on a head and a worker, each with a resource of its name."""
    # No token: nobody else is on their network.
    with build_laboratory({"PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "disabled"}) as laboratory:
        with step("ray start"):
            for machine in (laboratory.head, laboratory.workers[0]):
                where = "--head --port 6379 --include-dashboard false"
                if machine is not laboratory.head:
                    where = f"--address {CLUSTER}"
                resources = json.dumps({machine.name: 1})
                machine.run(
                    f"ray start {where} --node-ip-address {ADDRESSES[machine.name]} --num-cpus 4 "
                    f"--object-store-memory 100000000 --resources '{resources}'"
                )
        shutil.copy(Path(__file__).with_name("load.py"), laboratory.shared)
        yield laboratory


def fleet_over(*machines):
    """Two emulated servers on each machine."""
    profile = {"overhead_s": 0.05, "per_step_s": 0.01}
    common = {"kind": "emulated", "profile": profile, "num_cpus": 0.1, "count": 2}
    servers = [common | {"name": name, "resources": {name: 0.1}} for name in machines]
    return {"name": "lost", "stations": 1, "home_server": [-1], "servers": servers}


@pytest.mark.parametrize("servers", ["actors", "applications"])
def test_no_request_fails_when_a_machine_with_two_servers_is_switched_off(laboratory, step, servers):
    head, shared, victim = laboratory.head, laboratory.shared, "worker-1"
    (shared / "fleet.yaml").write_text(json.dumps(fleet_over("head", victim)))
    service = head.start(
        f"exec lad-rllib serve --address {CLUSTER} --fleet {SHARED}/fleet.yaml --servers {servers} "
        "--scheduler least-work-left"
    )
    try:
        with step(f"{servers}: the service starts"):
            until(lambda: "Ctrl-C" in service.output or not service.is_running, 300)
        assert service.is_running, service.output
        load = head.start(f"exec python {SHARED}/load.py {URL} {REQUESTS} {SHARED}")
        answers = shared / "answers"
        until(lambda: answers.exists() and len(answers.read_text().splitlines()) >= BEFORE)
        off = time.time()
        laboratory.machines[victim].end()
        assert load.wait(180) == 0, load.output
    finally:
        service.kill()
    rows = [line.split() for line in answers.read_text().splitlines()]
    changes = [line.split(" ", 1) for line in (shared / "states").read_text().splitlines()]
    seen = [(float(when) - off, json.loads(states)) for when, states in changes]
    down = {f"{victim}-{i}": min(s for s, states in seen if states[f"{victim}-{i}"] == "down") for i in range(2)}
    print(f"\n{servers}: answers {dict(Counter(status for status, _ in rows))}, slowest", end=" ")
    print(f"{max(float(seconds) for _, seconds in rows):.2f} s, down after {sorted(down.values())} s")
    assert Counter(status for status, _ in rows) == {"200": REQUESTS}
    assert max(down.values()) < 3.0
