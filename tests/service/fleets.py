"""Small fleets in this process, and servers that misbehave on purpose."""

import contextlib
import time
from concurrent.futures import Future
from dataclasses import replace

import numpy as np

from lad_rllib.edge import DeviceProfile, EdgeServer, EmulatedEngine, ImageTask, ServerHealth, ServerUnavailable
from lad_rllib.scheduling import make_heuristic
from lad_rllib.service import Dispatcher, WorkModel
from lad_rllib.simulator import EdgeNetwork

WORK = WorkModel(density_gcycles_per_step=1.0)
STATIONS = 3


def network(capacities, stations=STATIONS):
    """Servers with these capacities in denoising steps a second."""
    return EdgeNetwork(stations, np.array(capacities, float), np.full(len(capacities), 1e9))


def emulated(name, steps_per_s, **settings):
    """An emulated server without overhead."""
    profile = DeviceProfile(
        name=name, overhead_s=0.0, per_step_s=1 / steps_per_s, origin="assumption", source="made up for a test"
    )
    return EdgeServer(name, EmulatedEngine(profile, make_png=False), **settings)


def tasks(number, steps=2, **attributes):
    """Tasks that arrive at the stations in turn."""
    return [ImageTask(f"task-{i}", "a red seven", steps, station=i % STATIONS, **attributes) for i in range(number)]


class Fixed:
    """A scheduler that always names the same server."""

    def __init__(self, server):
        self.server, self.seen = server, []

    def reset(self, num_episodes):
        """Begin anew."""
        self.seen.clear()

    def decide(self, tasks, rng):
        """Note what was seen."""
        self.seen.append(tasks)
        return np.full(tasks.mask.shape, self.server)


class Wrapped:
    """An edge server that can be told to die, to hang, to start again, or to hold its answers back."""

    def __init__(self, server):
        self.inner, self.name = server, server.name
        self.dead = self.hung = False
        self.held = []  # answers that are kept back: (future, answer)
        self.since, self.asked, self.deaf = 1.0, 0, 0

    def submit(self, task):
        """As the server; while it hangs, no answer comes through."""
        future = Future()
        if self.dead:
            future.set_exception(ServerUnavailable(f"{self.name} has lost its process"))
            return future

        since = self.since

        def forward(answer):
            if since != self.since:
                return  # what it had is lost
            if self.hung:
                self.held.append((future, answer))
            else:
                self.give(future, answer)

        self.inner.submit(task).add_done_callback(forward)
        return future

    def give(self, future, answer):
        """Let an answer through, or what a lost process leaves of it."""
        if self.dead:
            future.set_exception(ServerUnavailable(f"{self.name} has lost its process"))
        elif answer.exception() is not None:
            future.set_exception(answer.exception())
        else:
            future.set_result(answer.result())

    def restart(self):
        """The server starts again so quickly that no health check sees it down, and never answers what it had."""
        self.since += 1

    def release(self):
        """The server goes on, and so do its answers."""
        self.hung = False
        for future, answer in self.held:
            self.give(future, answer)

    def cancel(self, task_id):
        """As the server, but first as if it did not know the task, ``deaf`` times."""
        self.deaf -= 1
        return self.deaf < 0 and self.inner.cancel(task_id)

    def progress(self, task_id):
        """As the server."""
        return self.inner.progress(task_id)

    def health(self):
        """As the server; one that is gone runs into a timeout."""
        self.asked += 1
        if self.dead or self.hung:
            time.sleep(0.2)
            return ServerHealth(False, f"{self.name} does not answer", 0.0)
        return replace(self.inner.health(), since=self.since)


@contextlib.contextmanager
def dispatched(speeds, scheduler="random", **settings):
    """A dispatcher over wrapped emulated servers with these speeds in denoising steps a second."""
    with contextlib.ExitStack() as stack:
        servers = [Wrapped(stack.enter_context(emulated(f"s{i}", speed))) for i, speed in enumerate(speeds)]
        chosen = make_heuristic(scheduler) if isinstance(scheduler, str) else scheduler
        dispatcher = stack.enter_context(Dispatcher(servers, network(speeds), WORK, chosen, seed=1, **settings))
        yield dispatcher, servers


def running_at(server):
    """The task that runs at an edge server, as its client named it; None if none does."""
    name = server.status().running_task_id
    return None if name is None else name.partition("@")[0]


def until(condition, timeout_s=20.0):
    """Wall seconds until something holds."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < timeout_s, "it never came true"
        time.sleep(0.01)
    return time.monotonic() - start
