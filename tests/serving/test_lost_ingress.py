"""An ingress that is killed under load: what its clients asked for ends, jobs do not, and what it learned is known."""

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
    fleet, settings = (
        {"name": "two", "servers": [entry("a"), entry("b")]},
        ApiSettings(jobs_file=str(tmp_path / "jobs")),
    )
    with Service(load_fleet(fleet), POLICY, named_policy(POLICY), settings, port=free_port()) as service:
        servers = [server.client for server in service.state.servers]
        with Load(service.url) as load:
            until(lambda: len(load.answers) > FIRST + 8, 60)
        assert Counter(load.answers).keys() == {200}

        def ask(path, steps):
            asked = {"prompt": "x", "num_inference_steps": steps}
            return httpx.post(f"{service.url}/v1/images/{path}", json=asked, timeout=60).json()

        def wait_in_vain():
            with pytest.raises((httpx.HTTPError, ValueError)):
                ask("generations", 200)

        clients = [threading.Thread(target=wait_in_vain) for _ in range(4)]
        for client in clients:
            client.start()
        until(lambda: sum(server.status().tasks_queued for server in servers) == 2)
        jobs = [ask("jobs", 5)["id"] for _ in range(2)]
        lost = {server.status().running_task_id for server in servers}
        [killed] = replicas_of("lad_rllib")
        began = time.monotonic()
        os.kill(killed, signal.SIGKILL)
        until(lambda: lost.isdisjoint(server.status().running_task_id for server in servers), 30)
        assert time.monotonic() - began < DROPPED_S
        until(lambda: replicas_of("lad_rllib") - {killed}, 60)

        def is_done(job):
            answer = httpx.get(f"{service.url}/v1/images/jobs/{job}", timeout=60)
            return answer.status_code == 200 and answer.json()["status"] == "completed"

        until(lambda: all(map(is_done, jobs)), 60)
        for client in clients:
            client.join(60)
        state = ray.get(ray.get_actor(KEEPER, namespace=NAMESPACE).state.remote())
        assert len(ray.cloudpickle.loads(state.past)) == FIRST
