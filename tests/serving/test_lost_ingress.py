"""An ingress that is killed under load: what its clients asked for ends, jobs do not, and what it learned is known."""

import contextlib
import os
import signal
import threading
import time
from collections import Counter

import httpx
import pytest
import ray

from lad_rllib.api import ApiSettings
from lad_rllib.fleet import load_fleet
from lad_rllib.service.past import FIRST
from lad_rllib.serving import Service, named_policy
from lad_rllib.serving.service import KEEPER, NAMESPACE
from tests.service.fleets import until
from tests.serving.running import Load, entry, free_port, replicas_of

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.serial]

POLICY = "least-work-left"
DROPPED_S = 2.0
"""Longest time until work of clients that were lost has ended [s]."""


def test_vanished_clients_work_ends_jobs_do_not_and_the_past_is_kept(ray_cluster, tmp_path):
    profile = {"overhead_s": 0.0, "per_step_s": 0.03}
    fleet = load_fleet({"name": "two", "servers": [entry(name, profile=profile) for name in "ab"]})
    settings = ApiSettings(jobs_file=str(tmp_path / "jobs"))
    with Service(fleet, POLICY, named_policy(POLICY), settings, port=free_port(), standby=True) as service:
        servers = [server.client for server in service.state.servers]
        keeper = ray.get_actor(KEEPER, namespace=NAMESPACE)

        def ingresses():
            return ray.get(keeper.ingresses.remote())

        until(lambda: None not in ingresses(), 60)
        with Load(service.url) as load:
            until(lambda: len(load.answers) > FIRST + 8, 60)
        assert Counter(load.answers).keys() == {200}

        def ask(path, steps):
            asked = {"prompt": "x", "num_inference_steps": steps}
            return httpx.post(f"{service.url}/v1/images/{path}", json=asked, timeout=60).json()

        def wait_in_vain():
            with contextlib.suppress(httpx.HTTPError, ValueError):  # the connection breaks, or an answer without JSON
                ask("generations", 200)  # six seconds

        clients = [threading.Thread(target=wait_in_vain) for _ in range(4)]
        for client in clients:
            client.start()
        until(lambda: sum(server.status().tasks_queued for server in servers) == 2)
        jobs = [ask("jobs", 5)["id"] for _ in range(2)]
        lost = {server.status().running_task_id for server in servers}
        serving, standby = ingresses()
        assert {serving.pid, standby.pid} == replicas_of("lad_rllib")
        began = time.monotonic()
        os.kill(serving.pid, signal.SIGKILL)
        until(lambda: lost.isdisjoint(server.status().running_task_id for server in servers), 30)
        assert time.monotonic() - began < DROPPED_S
        until(lambda: ingresses()[0] == standby, 60)

        def is_done(job):
            answer = httpx.get(f"{service.url}/v1/images/jobs/{job}", timeout=60)
            return answer.status_code == 200 and answer.json()["status"] == "completed"

        until(lambda: all(map(is_done, jobs)), 60)
        for client in clients:
            client.join(60)
        assert len(ray.cloudpickle.loads(ray.get(keeper.state.remote()).past)) == FIRST
