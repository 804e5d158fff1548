"""Tasks whose client has gone are cancelled; those of one that waits are not."""

import time
from concurrent.futures import ThreadPoolExecutor

from lad_rllib.edge import TaskCancelled, leases
from lad_rllib.edge.actor import EdgeServerActor
from lad_rllib.edge.leases import Heartbeat
from tests.edge.engines import SteppedEngine, task
from tests.service.fleets import until


def test_tasks_of_a_client_that_fell_silent_leave_queue_and_server_and_those_of_another_stay():
    engine = SteppedEngine()
    actor = EdgeServerActor("s1", lambda: engine, {"client_lease_s": 0.4})
    with ThreadPoolExecutor(8) as pool:
        gone = [pool.submit(actor.serve, "gone/0", i, task(f"gone-{i}", steps=5)) for i in range(3)]
        until(lambda: actor.status().tasks_queued == 2)
        stays = pool.submit(actor.serve, "stays/0", 0, task("stays", steps=5))
        until(lambda: actor.status().tasks_queued == 3)
        while actor.status().tasks_queued == 3 or actor.progress("gone-0").state == "running":
            actor.beat("stays")
            engine.permit(1)  # the running one is cancelled at its next step
            time.sleep(0.2)
        assert {type(call.exception(10)) for call in gone[1:]} == {TaskCancelled}
        engine.free = True
        engine.permit(10)
        deadline = time.monotonic() + 10
        while not stays.done() and time.monotonic() < deadline:
            actor.beat("stays")
            time.sleep(0.05)
        assert stays.result(0).record.task_id == "stays"
    actor.close()


def test_a_client_beats_as_long_as_it_waits_for_an_image_and_at_once(monkeypatch):
    monkeypatch.setattr(leases, "BEAT_S", 0.02)
    heart, beats = Heartbeat(), []
    for _ in range(2):
        heart.begin("client", lambda: beats.append(1))
    assert len(beats) == 1
    heart.end("client")
    until(lambda: len(beats) > 3)
    heart.end("client")
    until(lambda: heart._thread is None)
    number = len(beats)
    time.sleep(0.1)
    assert len(beats) == number
    heart.begin("client", lambda: beats.append(1))
    assert len(beats) == number + 1
    heart.end("client")
