"""Processes that are killed, processes that hang and a node that is lost, in the middle of two hundred tasks."""

import contextlib
import os
import signal
import threading
import time

import pytest

from lad_rllib.edge import ImageTask
from lad_rllib.fleet import Fleet
from tests.cluster.fleets import Ends, dispatcher_of, draw_tasks, emulated_fleet, pid_of, until

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.serial]

NUM_TASKS = 200
NOTICED_S = 2.0
"""A fault is noticed within this time [s]."""


class Watch:
    """Looks every 20 ms which servers are out, and notes when each was so for the first time."""

    def __init__(self, dispatcher):
        self._dispatcher, self._out_at, self._over = dispatcher, {}, threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._over.set()
        self._thread.join()

    def _look(self):
        while not self._over.wait(0.02):
            for server, alive in enumerate(self._dispatcher.servers_up):
                if not alive:
                    self._out_at.setdefault(server, time.monotonic())

    def noticed_s(self, *servers, since):
        """Time from a fault until the last of the servers was out [s]."""
        until(lambda: set(servers) <= set(self._out_at))
        return max(self._out_at[server] for server in servers) - since


@contextlib.contextmanager
def two_hundred_tasks(fleet, steps):
    """Hand them in; yields what counts their ends, and what looks after the servers, once all of these are at work."""
    tasks = draw_tasks(NUM_TASKS, steps, num_stations=len(fleet.servers))
    with dispatcher_of(fleet) as dispatcher, Watch(dispatcher) as watch:
        ends = Ends(dispatcher)
        ends.submit(tasks)
        until(lambda: all(server.status().running_task_id for server in fleet.servers))
        assert len(ends.counts) < NUM_TASKS / 2
        yield ends, watch
        assert ends.counts == {task.task_id: 1 for task in tasks}


def check(deliveries):
    """Each is one image, and some needed a second attempt."""
    assert len({d.task.task_id for d in deliveries}) == NUM_TASKS
    assert any(d.attempts == 2 for d in deliveries)
    assert all(d.error is None and d.png is not None for d in deliveries)


@contextlib.contextmanager
def hanging(pid):
    """A process that does nothing, and goes on afterwards."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield time.monotonic()
    finally:
        os.kill(pid, signal.SIGCONT)


def check_serves_again(dispatcher, server):
    """A server is back up, and answers."""
    until(lambda: dispatcher.servers_up[server])
    delivery = dispatcher.run([ImageTask("again", "a red seven", 1)], 60, servers=[server])[0]
    assert (delivery.server, delivery.attempts, delivery.error) == (dispatcher.loads[server].name, 1, None)


def test_a_killed_process_and_a_lost_node_lose_no_task_and_deliver_none_twice(cluster):
    places = ("edge-1", "edge-1", "edge-2", "edge-3", "edge-4", "edge-4")
    with cluster.another_node("edge-4") as lose_node, Fleet.start(emulated_fleet(places)) as fleet:
        victim = pid_of(fleet.servers[1])
        with two_hundred_tasks(fleet, steps=(10, 20)) as (ends, watch):
            until(lambda: fleet.servers[1].status().running_step)
            killed = time.monotonic()
            os.kill(victim, signal.SIGKILL)
            assert watch.noticed_s(1, since=killed) < NOTICED_S
            assert len(ends.counts) < NUM_TASKS
            lost = time.monotonic()
            lose_node()
            assert watch.noticed_s(4, 5, since=lost) < NOTICED_S
            check(ends.deliveries())
            check_serves_again(ends.dispatcher, 1)
            assert ends.dispatcher.servers_up == [True] * 4 + [False] * 2
            assert pid_of(fleet.servers[1]) != victim


def test_a_hanging_process_is_noticed_its_tasks_go_elsewhere_and_none_is_delivered_twice(cluster):
    with Fleet.start(emulated_fleet()) as fleet, two_hundred_tasks(fleet, steps=(5, 10)) as (ends, watch):
        with hanging(pid_of(fleet.servers[2])) as since:
            assert watch.noticed_s(2, since=since) < NOTICED_S
            deliveries = ends.deliveries()
            check(deliveries)
            owed = [d for d in deliveries if d.attempts == 2]
            assert "emulated-2" not in {d.server for d in owed}
            assert ends.dispatcher.duplicates_dropped == 0
        check_serves_again(ends.dispatcher, 2)
        until(lambda: fleet.servers[2].status().tasks_queued == 0)
        assert ends.dispatcher.duplicates_dropped <= len(owed)  # most are called off


def test_real_pipelines_of_which_one_is_killed_and_one_hangs_answer_every_task_once(real_pipelines):
    killed, hung = (pid_of(real_pipelines.servers[i]) for i in (1, 2))
    try:
        with two_hundred_tasks(real_pipelines, steps=(4, 8)) as (ends, watch):
            until(lambda: real_pipelines.servers[1].status().running_step)
            with hanging(hung) as since:
                os.kill(killed, signal.SIGKILL)
                assert watch.noticed_s(1, 2, since=since) < NOTICED_S
                check(ends.deliveries())
            check_serves_again(ends.dispatcher, 2)
            check_serves_again(ends.dispatcher, 1)
    finally:
        real_pipelines.wait_until_ready()
