"""Dispatch over servers that are Ray actors, one of which loses its process while it works."""

import os
import signal
from functools import partial

import pytest
import ray

from lad_rllib.edge import (
    DeviceProfile,
    DiffusersEngine,
    EmulatedEngine,
    ImageTask,
    RemoteEdgeServer,
    edge_server_actor,
    embedded_model_path,
)
from lad_rllib.scheduling import make_heuristic
from lad_rllib.service import Dispatcher
from tests.service.fleets import WORK, network

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.serial]


@pytest.fixture
def start(ray_cluster):
    """Start a server as an actor, and kill it afterwards."""
    servers = []

    def make(name, engine, **options):
        actor = edge_server_actor(name, engine, num_cpus=0.5, actor_options=options)
        servers.append(RemoteEdgeServer(name, actor, control_timeout_s=0.7))
        return servers[-1]

    yield make
    for server in servers:
        ray.kill(server.actor)


def wait_until_ready(servers):
    for server in servers:
        ray.get(server.actor.warm_up.remote(), timeout=120)


def test_a_killed_actor_loses_no_task_and_a_restarted_one_is_taken_back(start):
    profile = DeviceProfile(
        name="device", overhead_s=0.0, per_step_s=0.01, origin="assumption", source="made up for a test"
    )
    engine = partial(EmulatedEngine, profile, make_png=False)
    servers = [start(f"s{i}", engine, max_restarts=1) for i in range(3)]
    wait_until_ready(servers)
    victim = ray.get(servers[1].actor.__ray_call__.remote(lambda self: os.getpid()))
    with Dispatcher(servers, network([100] * 3), WORK, make_heuristic("round-robin")) as dispatcher:
        futures = dispatcher.submit([ImageTask(f"t{i}", "x", 10, station=i % 3) for i in range(60)])
        futures[1].result(60)
        os.kill(victim, signal.SIGKILL)
        deliveries = [future.result(120) for future in futures]
        assert [d.error for d in deliveries] == [None] * 60
        assert {d.server for d in deliveries if d.attempts == 2} <= {"s0", "s2"}
        assert any(d.attempts == 2 for d in deliveries)
        for attempt in range(600):
            again = dispatcher.run([ImageTask(f"again-{attempt}", "x", 1, station=1)], timeout_s=60)[0]
            if again.server == "s1":
                break
        assert (again.server, again.error) == ("s1", None)


def test_real_pipelines_in_actors_draw_the_same_image_whichever_serves_it(start):
    servers = [start(f"p{i}", partial(DiffusersEngine, embedded_model_path(), device="cpu")) for i in range(2)]
    wait_until_ready(servers)
    with Dispatcher(servers, network([100] * 2), WORK, make_heuristic("round-robin")) as dispatcher:
        tasks = [ImageTask(f"t{i}", "a red seven", 4, seed=7, station=i % 2) for i in range(8)]
        deliveries = dispatcher.run(tasks, timeout_s=120)
    assert [d.error for d in deliveries] == [None] * 8
    assert {d.server for d in deliveries} == {"p0", "p1"}
    assert len({d.png for d in deliveries}) == 1
    for d in deliveries:
        parts = d.record.upload_s + d.record.waiting_s + d.record.computing_s + d.record.download_s
        assert parts == pytest.approx(d.record.total_s, rel=0.02)
