"""An edge server as a Ray actor: errors by name, answers during an image, order, and a lost process."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import ray
from ray import cloudpickle

from lad_rllib.edge import (
    DeviceBroken,
    DeviceProfile,
    DiffusersEngine,
    EmulatedEngine,
    GenerationFailed,
    ModelLoadFailed,
    QueueFull,
    RemoteEdgeServer,
    ServerUnavailable,
    TaskCancelled,
    edge_error,
    edge_server_actor,
)
from lad_rllib.edge.hosted import TURN_WAIT_S
from lad_rllib.edge.remote import EdgeServerActor
from lad_rllib.simulator.order import order_spec
from tests.edge.engines import SteppedEngine, task
from tests.edge.test_order import CLOCK, TIME_SCALE, ask, expected

pytestmark = pytest.mark.cluster

BOX = DeviceProfile(
    name="box", overhead_s=0.5, per_step_s=0.5, origin="assumption", source="for tests", width=64, height=64
)
IMAGE_STEPS = 60  # 30 s: far longer than anything that a test waits for
ANSWER_S = 5.0
"""Answers come in milliseconds; an answer within this time did not wait for the image of 30 s."""


@pytest.fixture
def start(ray_cluster):
    """Start servers that are closed at the end of the test."""
    servers = []

    def start_one(make_engine, **settings):
        server = RemoteEdgeServer("s1", edge_server_actor("s1", make_engine, num_cpus=0.1, **settings), 60.0)
        servers.append(server)
        return server

    yield start_one
    for server in servers:
        ray.kill(server.actor)


def wait_for(condition, limit_s=60):
    limit = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.01)


def test_tasks_run_in_order_and_a_full_queue_is_told_by_name(start):
    server = start(partial(EmulatedEngine, BOX, time_scale=0.05), queue_limit=20)
    server.status()
    futures = [server.submit(task(f"t{i:02}")) for i in range(30)]
    errors = [future.exception(60) for future in futures]
    served = [future.result().record for future, error in zip(futures, errors, strict=True) if error is None]
    refused = [error for error in errors if error is not None]
    assert len(served) >= 21 and refused and all(type(error) is QueueFull for error in refused)
    assert refused[0].retryable and refused[0].server == "s1" and refused[0].task_id.startswith("t")
    assert [r.task_id for r in sorted(served, key=lambda r: r.started)] == [r.task_id for r in served]


def test_an_actor_honours_its_order_of_service(start):
    engine = partial(EmulatedEngine, CLOCK, time_scale=TIME_SCALE, make_png=False)
    servers = {spec: start(engine, order=spec) for spec in ("aged:service_weight=3", "deadline", "fair")}
    for spec, server in servers.items():
        served, records = ask(server)
        assert served == expected(spec, records)
    assert servers["deadline"].order == cloudpickle.loads(cloudpickle.dumps(servers["deadline"])).order
    assert order_spec(servers["deadline"].order) == "deadline"


def test_ray_keeps_no_records_of_calls_which_a_service_makes_without_end(start):
    server = start(partial(EmulatedEngine, BOX, time_scale=0.001))
    assert not server.actor.serve._enable_task_events and not server.actor.health._enable_task_events


def test_status_is_told_and_tasks_are_cancelled_while_an_image_is_generated(start):
    server = start(partial(EmulatedEngine, BOX), queue_limit=100)
    running = server.submit(task("running", steps=IMAGE_STEPS))
    waiting = [server.submit(task(f"w{i}", steps=IMAGE_STEPS)) for i in range(50)]
    wait_for(lambda: server.progress("running").step >= 1 and server.status().tasks_queued == 50)
    begin = time.monotonic()
    assert server.status().running_task_id == "running"
    assert server.health().healthy and server.describe().model == "box"
    assert server.progress("w7").tasks_ahead == 8
    assert server.cancel("w7") and isinstance(waiting[7].exception(ANSWER_S), TaskCancelled)
    assert server.cancel("running") and isinstance(running.exception(ANSWER_S), TaskCancelled)
    assert time.monotonic() - begin < ANSWER_S
    assert server.predict_computing_s(task(steps=3)) == 2.0 and server.fit().origin == "profile"


def test_a_killed_process_makes_its_pending_call_unavailable(start):
    server = start(partial(EmulatedEngine, BOX))
    pending = server.submit(task("pending", steps=IMAGE_STEPS))
    wait_for(lambda: server.progress("pending").state == "running")
    pid = ray.get(server.actor.__ray_call__.remote(lambda actor: os.getpid()))
    os.kill(pid, signal.SIGKILL)
    error = pending.exception(60)
    assert type(error) is ServerUnavailable and error.retryable and "\n" not in str(error)
    assert type(server.submit(task("late")).exception(60)) is ServerUnavailable
    assert not server.health().healthy


def test_an_engine_that_cannot_be_built_tells_every_task_why(start):
    server = start(partial(EmulatedEngine, "no-such-device"))
    error = server.submit(task()).exception(60)
    assert type(error) is ModelLoadFailed and "no profile 'no-such-device'" in str(error)
    assert server.status().state == "failed"


def test_a_real_pipeline_runs_in_an_actor_and_makes_the_image_that_it_makes_here(start, tiny_folder):
    server = start(partial(DiffusersEngine, tiny_folder, device="cpu"))
    here = DiffusersEngine(tiny_folder, device="cpu")
    here.load()
    image = server.submit(task(steps=2, seed=4)).result(120)
    assert image.png == here.generate(task(steps=2, seed=4), lambda step: None).png
    assert server.profile([1, 20, 60]).per_step_s > 0
    assert server.drain(30) and type(server.submit(task("late")).exception(30)) is ServerUnavailable


def test_the_plain_handle_raises_the_named_error_too(start):
    server = start(partial(EmulatedEngine, BOX), allowed_sizes=[(64, 64)])
    with pytest.raises(ray.exceptions.RayTaskError) as caught:
        ray.get(server.actor.generate.remote(task(width=8)))
    assert edge_error(caught.value).name == "invalid_request"


def test_calls_that_overtook_others_wait_for_their_turn_but_not_for_lost_ones(monkeypatch):
    engine = SteppedEngine(free=True)
    engine.loading.clear()
    actor = EdgeServerActor("s1", lambda: engine, {})
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(actor.serve, "client", number, task(f"t{number}")) for number in (3, 1, 2)]
        other = pool.submit(actor.serve, "other", 0, task("other"))  # has an order of its own
        wait_for(lambda: actor.status().tasks_queued == 1)
        calls.append(pool.submit(actor.serve, "client", 0, task("t0")))
        wait_for(lambda: actor.status().tasks_queued == 5)
        engine.loading.set()
        assert all(call.result(30).png for call in [*calls, other])
        assert engine.order == ["other", "t0", "t1", "t2", "t3"]
        monkeypatch.setattr("lad_rllib.edge.remote.TURN_WAIT_S", 0.01)
        assert actor.serve("client", 9, task("after lost ones")).record.task_id == "after lost ones"
        assert actor.serve("client", 5, task("late")).record.task_id == "late"
    assert actor._turns == {"client": 10, "other": 1}
    actor.close()


def test_a_copy_of_a_client_on_another_process_has_an_order_of_its_own(start):
    server = start(partial(EmulatedEngine, BOX, time_scale=0.001))
    assert server.generate(task("here")).record.task_id == "here"
    elsewhere = ray.remote(num_cpus=0.1)(lambda client: client.generate(task("there")).record.task_id)
    begin = time.monotonic()
    copy = cloudpickle.loads(cloudpickle.dumps(server))
    assert copy.generate(task("copy")).record.task_id == "copy" and time.monotonic() - begin < TURN_WAIT_S
    assert ray.get(elsewhere.remote(server)) == "there"
    assert len(ray.get(server.actor.__ray_call__.remote(lambda actor: actor._turns))) == 3


def test_a_restarted_server_does_not_wait_for_tasks_of_its_former_life(start):
    server = start(partial(EmulatedEngine, BOX, time_scale=0.001), actor_options={"max_restarts": 1})
    for number in range(3):
        assert server.generate(task(f"t{number}")).record.task_id == f"t{number}"
    pid = ray.get(server.actor.__ray_call__.remote(lambda actor: os.getpid()))
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not server.health().healthy)
    wait_for(lambda: server.health().healthy)
    server.control_timeout_s = 60.0
    assert server._number == 0
    assert [server.submit(task(f"again{number}")).result(60).record.attempt for number in range(3)] == [1] * 3
    turns = ray.get(server.actor.__ray_call__.remote(lambda actor: actor._turns))
    assert turns == {server._client: 3}


class LosesItsDevice(SteppedEngine):
    """An engine whose device context is gone for as long as the process lives."""

    def generate(self, task, on_step):
        if not ray.get_runtime_context().was_current_actor_reconstructed:
            raise DeviceBroken("CUDA error: an illegal memory access was encountered")
        return super().generate(task, on_step)


def test_an_error_that_cannot_heal_ends_the_process_and_a_probe_brings_the_server_back(start):
    server = start(partial(LosesItsDevice, free=True), actor_options={"max_restarts": 1})
    pid = ray.get(server.actor.__ray_call__.remote(lambda actor: os.getpid()))
    errors = [future.exception(60) for future in [server.submit(task(f"t{i}")) for i in range(4)]]
    assert "illegal memory access" in str(errors[0])
    assert {type(error) for error in errors[1:]} <= {ServerUnavailable, type(errors[0])}
    server.control_timeout_s = 1.0
    wait_for(lambda: server.health().healthy)
    again = ray.get(server.actor.__ray_call__.remote(lambda actor: (os.getpid(), actor._server.engine.order)))
    assert again[0] != pid and again[1] == ["probe"]
    assert server.generate(task("well")).png


LONELY_DRIVER = """
import ray, sys, time
from lad_rllib.edge import ImageTask, RemoteEdgeServer
ray.init(address=sys.argv[1], namespace="leases", log_to_driver=False)
server = RemoteEdgeServer("s1", ray.get_actor("leased"))
futures = [server.submit(ImageTask(f"lonely-{i}", "a cat", 600)) for i in range(5)]
while server.status().tasks_queued < 4:
    time.sleep(0.05)
print("all there", flush=True)
time.sleep(600)
"""


def test_tasks_of_a_driver_that_was_killed_leave_the_server(start):
    options = {"name": "leased", "namespace": "leases"}
    server = start(partial(EmulatedEngine, BOX), actor_options=options, client_lease_s=4.0)
    address = ray.get_runtime_context().gcs_address
    driver = subprocess.Popen([sys.executable, "-c", LONELY_DRIVER, address], stdout=subprocess.PIPE, text=True)
    try:
        assert driver.stdout.readline().strip() == "all there"
        time.sleep(5)
        assert server.status().tasks_queued == 4  # it waits for them
    finally:
        driver.kill()
        driver.wait()
    wait_for(lambda: server.status().work_queued_steps == 0)
    assert server.generate(task("mine")).record.waiting_s < 5


def test_a_call_that_takes_too_long_is_a_server_that_does_not_answer(ray_cluster):
    assert type(edge_error(ray.exceptions.GetTimeoutError("late"), "s1")) is ServerUnavailable
    assert type(edge_error(ray.exceptions.ActorUnavailableError("gone", None), "s1")) is ServerUnavailable
    assert type(edge_error(ValueError("odd"), "s1")) is GenerationFailed
