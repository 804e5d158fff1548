"""Tasks beyond the room of the servers' queues, and tasks whose client has gone."""

import contextlib
from unittest.mock import patch

import pytest

from lad_rllib.edge import EdgeServer, ImageTask
from lad_rllib.edge.remote import edge_server_actor
from lad_rllib.edge.settings import MAX_QUEUE_LIMIT, ServerSettings
from lad_rllib.errors import ConfigurationError
from lad_rllib.scheduling import make_heuristic
from lad_rllib.service import Dispatcher, serve
from tests.edge.engines import SteppedEngine
from tests.service.fleets import WORK, Fixed, dispatched, emulated, network, running_at, tasks, until


@pytest.mark.parametrize("scheduler", ["greedy-oracle", "random"])
def test_three_thousand_prompts_over_two_small_queues_are_three_thousand_images(scheduler):
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(emulated(f"s{i}", 8000, queue_limit=64)) for i in range(2)]
        dispatcher = stack.enter_context(Dispatcher(servers, network([8000] * 2), WORK, make_heuristic(scheduler)))
        run = serve(dispatcher, [tasks(3000, steps=1)])
        assert dispatcher.queue_s.tolist() == [0.0, 0.0]
    assert [d.error for d in run.deliveries] == [None] * 3000
    assert len({d.record.task_id for d in run.deliveries}) == 3000
    assert {d.attempts for d in run.deliveries} == {1}


def test_tasks_of_one_server_are_served_in_order_although_some_wait_for_room():
    engine = SteppedEngine(free=False)
    sent = []
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(EdgeServer("s0", engine, queue_limit=3))
        stack.enter_context(
            patch.object(server, "submit", lambda task: sent.append(task) or EdgeServer.submit(server, task))
        )
        dispatcher = stack.enter_context(Dispatcher([server], network([2000]), WORK, Fixed(0)))
        futures = dispatcher.submit(tasks(40, steps=1))
        until(lambda: len(sent) > 42)  # some were sent again, in case there is room, and refused again
        engine.free = True
        engine.permit(1)
        assert [future.result(60).error for future in futures] == [None] * 40
    assert [name.partition("@")[0] for name in engine.order] == [f"task-{i}" for i in range(40)]


def test_tasks_that_wait_for_room_count_in_the_predicted_queue_and_can_be_called_off():
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(emulated("s0", 10, queue_limit=1))
        dispatcher = stack.enter_context(Dispatcher([server], network([10]), WORK, Fixed(0)))
        futures = dispatcher.submit(tasks(5, steps=10))  # a second each
        until(lambda: dispatcher.loads[0].backlog.tasks_held == 3)
        assert dispatcher.queue_s[0] == pytest.approx(5.0, abs=1.0)
        for future in futures[2:]:
            assert future.cancel()
        assert [future.result(10).error.name for future in futures[2:]] == ["cancelled"] * 3
        assert dispatcher.queue_s[0] <= 2.0
        assert [future.result(10).error for future in futures[:2]] == [None] * 2


def test_room_that_another_client_leaves_is_found_without_any_answer():
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(emulated("s0", 100, queue_limit=1))
        others = [server.submit(ImageTask(f"other-{i}", "x", 40)) for i in range(2)]
        dispatcher = stack.enter_context(Dispatcher([server], network([100]), WORK, Fixed(0)))
        deliveries = dispatcher.run(tasks(3, steps=1), timeout_s=20)
        assert [future.exception(10) for future in others] == [None] * 2
    assert [d.error for d in deliveries] == [None] * 3


def test_tasks_that_wait_for_a_server_that_dies_go_to_another_one():
    with dispatched([5, 500], Fixed(0)) as (dispatcher, (victim, _)):
        victim.inner.settings = ServerSettings(queue_limit=1)
        dispatcher.submit([ImageTask("first", "x", 1000)], [0])
        until(lambda: running_at(victim.inner) == "first")
        futures = dispatcher.submit(tasks(6), [0] * 6)
        victim.dead = True
        assert {future.result(20).server for future in futures} == {"s1"}


@pytest.mark.parametrize("limit", [0, MAX_QUEUE_LIMIT + 1, 10**12])
def test_a_queue_limit_that_no_process_has_threads_for_is_refused(limit):
    told = f"queue_limit must be a whole number of at least 1 and of at most {MAX_QUEUE_LIMIT}, got {limit}"
    with pytest.raises(ConfigurationError, match=told):
        emulated("s0", 1, queue_limit=limit)
    with pytest.raises(ConfigurationError, match=told):
        edge_server_actor("s0", lambda: None, queue_limit=limit)


def test_cancelling_the_future_of_a_task_takes_it_off_its_server():
    with dispatched([10], Fixed(0)) as (dispatcher, (server,)):
        running, waiting = dispatcher.submit([ImageTask(name, "x", 1000) for name in ("running", "waiting")])
        until(lambda: server.inner.status().tasks_queued == 1)
        assert waiting.cancel() and running.cancel()
        assert {future.result(10).error.name for future in (running, waiting)} == {"cancelled"}
        until(lambda: server.inner.status().work_queued_steps == 0)
        assert not running.cancel()  # it has ended
        assert dispatcher.queue_s.tolist() == [0.0]


def test_closing_the_dispatcher_takes_its_tasks_off_the_servers():
    with emulated("s0", 10) as server:
        with Dispatcher([server], network([10]), WORK, Fixed(0)) as dispatcher:
            futures = dispatcher.submit(tasks(5, steps=1000))
            until(lambda: server.status().tasks_queued == 4)
        assert {future.result(0).error.name for future in futures} == {"server_unavailable"}
        until(lambda: server.status().work_queued_steps == 0)


def test_a_caller_who_waits_no_longer_takes_the_tasks_along():
    with dispatched([10], Fixed(0)) as (dispatcher, (server,)):
        with pytest.raises(TimeoutError):
            dispatcher.run(tasks(3, steps=1000), timeout_s=0.2)
        until(lambda: server.inner.status().work_queued_steps == 0)


def test_a_future_of_a_server_that_is_cancelled_in_the_queue_leaves_queue_and_prediction():
    with emulated("s0", 10, queue_limit=2) as server:
        server.submit(ImageTask("running", "x", 1000))
        until(lambda: server.status().running_task_id == "running")
        waiting = [server.submit(ImageTask(f"w{i}", "x", 500)) for i in range(2)]
        before_s = server.status().work_queued_s
        assert all(future.cancel() for future in waiting)
        status = server.status()
        assert status.tasks_queued == 0 and before_s - status.work_queued_s == pytest.approx(100, abs=5)
        assert server.submit(ImageTask("new", "x", 1)).cancel()
        assert server.cancel("running")
