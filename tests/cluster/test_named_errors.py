"""What goes wrong with single tasks has its name at the dispatcher, also over actors on several nodes."""

import time
from functools import partial

import pytest
import ray

from lad_rllib.edge import DiffusersEngine, ImageTask, RemoteEdgeServer, edge_server_actor
from lad_rllib.fleet import Fleet
from lad_rllib.fleet.hosts import CONTROL_TIMEOUT_S
from lad_rllib.service import Dispatcher
from tests.cluster.fleets import Ends, ask, dispatcher_of, emulated_fleet, until
from tests.service.fleets import WORK, network

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.serial]


def task(name, steps, **others):
    return ImageTask(name, "a red seven", steps, **others)


def names(deliveries):
    """Names of the errors, empty for an image."""
    return [d.error.name if d.error else "" for d in deliveries]


@pytest.fixture(scope="module")
def pair(cluster):
    """Two emulated servers on two nodes, with room for one waiting task each; a denoising step takes 50 ms."""
    with Fleet.start(emulated_fleet(("edge-2", "edge-3"), per_step_s=0.05, queue_limit=1)) as fleet:
        yield fleet


def test_full_queues_lose_nothing_and_a_deadline_and_a_cancel_end_by_their_names(pair):
    with dispatcher_of(pair) as dispatcher:
        ends = Ends(dispatcher)
        ends.submit([task(f"crowd-{i}", 30) for i in range(6)], [0] * 6)
        crowd = ends.deliveries()
        assert [(d.attempts, d.error) for d in crowd] == [(1, None)] * 6  # some waited at the dispatcher
        assert {d.server for d in crowd} == {"emulated-0", "emulated-1"}

        ends.submit([task("long", 1000), task("too late", 1, deadline_s=0.2)], [0, 0])
        ends.submit([task("hurried", 1000, deadline_s=0.5), task("waiting", 1)], [1, 1])
        _, too_late, hurried, waiting = ends.futures[-4:]
        until(lambda: pair.servers[1].status().tasks_queued == 1)
        dispatcher.cancel("waiting")
        assert waiting.result(10).error.name == "cancelled" and not hurried.done()
        assert hurried.result(10).error.name == "deadline_exceeded"
        assert "after" in str(hurried.result().error) and not too_late.done()
        begin = time.monotonic()
        dispatcher.cancel("long")
        assert names(ends.deliveries()[-4:]) == ["cancelled", "deadline_exceeded", "deadline_exceeded", "cancelled"]
        assert time.monotonic() - begin < 5
        assert set(ends.counts.values()) == {1} and len(ends.counts) == 10
        assert names(dispatcher.run([task("a", 1), task("b", 1)], 60, servers=[0, 1])) == ["", ""]


def test_a_cancel_right_after_the_hand_over_reaches_the_task(pair):
    with dispatcher_of(pair) as dispatcher:
        for i in range(50):
            future = dispatcher.submit([task(f"t{i}", 100)], [i % 2])[0]
            dispatcher.cancel(f"t{i}")
            assert future.result(10).error.name == "cancelled"


def test_tasks_of_a_pipeline_that_raises_go_elsewhere_and_it_is_built_anew(real_pipelines):
    server = real_pipelines.servers[3]

    def break_it(actor):
        actor._server.engine.pipeline.transformer.forward = lambda **_: 1 / 0

    with dispatcher_of(real_pipelines) as dispatcher:
        ask(server, break_it)
        ends = Ends(dispatcher)
        ends.submit([task(f"t{i}", 3, seed=1) for i in range(10)], [3, 0] * 5)
        deliveries = ends.deliveries()
        assert names(deliveries) == [""] * 10 and set(ends.counts.values()) == {1}
        assert {d.attempts for d in deliveries[1::2]} == {1} and deliveries[0].attempts == 2
        until(lambda: server.status().state == "ready")
        until(lambda: all(dispatcher.servers_up))
        right = dispatcher.run([task("right", 3, seed=1)], 60, servers=[3])[0]
    assert right.server == "real-3" and {d.png for d in deliveries} == {right.png}


def test_tasks_of_a_server_whose_model_folder_cannot_be_read_go_to_another_one(pair, tmp_path):
    (tmp_path / "model_index.json").write_text("{")
    engine = partial(DiffusersEngine, tmp_path, device="cpu")
    actor = edge_server_actor("unreadable", engine, num_cpus=0.1, actor_options={"resources": {"edge-1": 0.01}})
    try:
        until(lambda: ray.get(actor.status.remote(), timeout=60).state == "failed")
        servers = [RemoteEdgeServer("unreadable", actor, CONTROL_TIMEOUT_S), *pair.servers]
        unwatched = {"health_period_s": None}  # so that the tasks find out
        with Dispatcher(servers, network([1] * 3, 3), WORK, None, **unwatched) as dispatcher:
            rescued = dispatcher.run([task(f"t{i}", 1) for i in range(3)], 60, servers=[0] * 3)
            assert dispatcher.servers_up == [False, True, True]
        with Dispatcher(servers[:1], network([1], 3), WORK, None, **unwatched) as dispatcher:
            lost = dispatcher.run([task("alone", 1)], 60, servers=[0])[0]
    finally:
        ray.kill(actor)
    assert names(rescued) == [""] * 3 and {d.server for d in rescued} <= {"emulated-0", "emulated-1"}
    assert lost.error.name == "model_load_failed" and str(tmp_path) in str(lost.error)
