"""Tasks whose client has gone are cancelled; those of one that waits are not."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from lad_rllib.edge import TaskCancelled, leases
from lad_rllib.edge.leases import Heartbeat
from lad_rllib.edge.remote import EdgeServerActor
from tests.edge.engines import SteppedEngine, task
from tests.service.fleets import until


def test_tasks_of_a_client_that_fell_silent_leave_queue_and_server_and_those_of_another_stay():
    engine, over = SteppedEngine(), threading.Event()
    actor = EdgeServerActor("s1", lambda: engine, {"client_lease_s": 1.5})

    def beat():
        while not over.wait(0.1):
            actor.beat("stays")

    with ThreadPoolExecutor(8) as pool:
        gone = [pool.submit(actor.serve, "gone/0", i, task(f"gone-{i}", steps=5)) for i in range(3)]
        until(lambda: actor.status().tasks_queued == 2)
        pool.submit(beat)
        stays = pool.submit(actor.serve, "stays/0", 0, task("stays", steps=5))
        assert {type(call.exception(20)) for call in gone[1:]} == {TaskCancelled}
        assert not gone[0].done()  # its engine is in the middle of a step
        engine.permit(6)
        assert type(gone[0].exception(20)) is TaskCancelled
        assert stays.result(20).record.task_id == "stays"
        over.set()
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


def test_the_tasks_of_a_process_that_has_ended_are_cancelled_at_once_and_those_of_others_stay():
    engine = SteppedEngine()
    actor = EdgeServerActor("s1", lambda: engine, {})
    with ThreadPoolExecutor(8) as pool:
        lost = [pool.submit(actor.serve, f"lost-{i}/0", 0, task(f"task-{i}", steps=5)) for i in range(2)]
        until(lambda: actor.status().tasks_queued == 1)
        stays = pool.submit(actor.serve, "lives-0/0", 0, task("stays", steps=2))
        until(lambda: actor.status().tasks_queued == 2)
        actor.end_leases("lost")
        late = pool.submit(actor.serve, "lost-2/0", 0, task("late", steps=5))  # it was on its way here
        assert type(late.exception(20)) is TaskCancelled
        engine.permit(4)
        assert {type(call.exception(20)) for call in lost} == {TaskCancelled}
        assert stays.result(20).record.task_id == "stays"
    actor.close()
