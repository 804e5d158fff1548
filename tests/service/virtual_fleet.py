"""A dispatcher's loop over servers without a wall clock: the next event happens at once."""

import heapq
import itertools

import numpy as np

from lad_rllib.edge import TaskRecord, TaskResult
from lad_rllib.edge.queue import QueuedTask, TaskQueue
from lad_rllib.service.deciders import decider_of
from lad_rllib.service.dispatch_loop import DispatchLoop
from lad_rllib.service.fleet_load import FleetLoad
from lad_rllib.service.in_flight import InFlightTask, TaskHandle
from lad_rllib.service.work_model import WorkModel
from lad_rllib.simulator import EdgeNetwork


class VirtualClock:
    """Time that passes from event to event."""

    def __init__(self):
        self.now_s, self._events, self._number = 0.0, [], itertools.count()

    def at(self, moment_s, what):
        """Have something done at a moment."""
        heapq.heappush(self._events, (moment_s, next(self._number), what))

    def run_until(self, moment_s):
        """Let happen what is due before a moment."""
        while self._events and self._events[0][0] < moment_s:
            self.now_s, _, what = heapq.heappop(self._events)
            what()
        self.now_s = moment_s


class VirtualServer:
    """Serves by the queue of an edge server; each task takes what the world predicts, times its factor."""

    def __init__(self, index, clock, requests, factor):
        spec = requests.world.servers[index]
        self.name, self.order = spec.name, requests.world.order
        self._clock, self._spec, self._factor = clock, spec, factor
        self._service_s = lambda task: float(requests.service_s(task)[index])
        self._queue = TaskQueue(self.order, lambda task, _: self._service_s(task))
        self._is_busy, self._numbers = False, itertools.count()
        self._held, self._loras, self.finished = [], "", {}

    def submit(self, task):
        """As an edge server."""
        entry = QueuedTask(task, self._clock.now_s, self._clock.now_s, next(self._numbers))
        self._queue.put(entry, self._clock.now_s)
        if not self._is_busy:
            self._begin()
        return entry.future

    def _begin(self):
        entry = self._queue.pop(self._clock.now_s)
        self._is_busy = entry is not None
        if entry is not None:
            busy_s = self._swap_s(entry.task) + self._service_s(entry.task) * self._factor[entry.task.seed]
            self._clock.at(self._clock.now_s + busy_s, lambda: self._end(entry))

    def _swap_s(self, task):
        spec, seconds, loras = self._spec, 0.0, " ".join(task.loras)
        if spec.models_in_memory:
            if task.model in self._held:
                self._held.remove(task.model)
            else:
                seconds, self._loras = spec.load_s(task.model), ""
            self._held = [*self._held, task.model][-spec.models_in_memory :]
        if loras and loras != self._loras:
            self._loras, seconds = loras, seconds + spec.lora_swap_s
        return seconds

    def _end(self, entry):
        values = dict.fromkeys(TaskRecord.__dataclass_fields__, 0) | {
            "cold_start": True
        }  # of which no speed is learned
        self.finished[entry.task.seed] = self._clock.now_s
        entry.future.set_result(TaskResult(TaskRecord(**values), None))
        self._begin()


class VirtualFleet:
    """Tasks, decided one by one by a scheduler, on servers as a world has them."""

    def __init__(self, requests, scheduler, factor, seed=0):
        world, clock = requests.world, VirtualClock()
        self.clock = clock
        self.servers = [VirtualServer(index, clock, requests, factor) for index in range(world.num_servers)]
        network = EdgeNetwork(8, np.ones(world.num_servers), np.full(world.num_servers, 1e9))

        class Load(FleetLoad):
            def now_s(self):
                return clock.now_s

        names, orders = [server.name for server in self.servers], [world.order] * world.num_servers
        fleet = Load(names, network, WorkModel(), 1.0, orders, requests)
        self._requests, self._in_flight, self._numbers = requests, {}, itertools.count()
        self._loop = DispatchLoop(
            dict(enumerate(self.servers)),
            fleet,
            decider_of(scheduler, fleet, np.random.default_rng(seed)),
            self._in_flight,
            patience_s=1.0,
            post=lambda function, *arguments: function(*arguments),
            canceller=None,
        )

    def serve(self, tasks, arrival_s):
        """Hand in each task when it arrives; returns when each ended, and its server."""
        futures = []
        for task, moment_s in zip(tasks, arrival_s, strict=True):
            self.clock.run_until(moment_s)
            cost = self._requests.declared_cost(task)
            entry = InFlightTask(task, moment_s, next(self._numbers), None, TaskHandle(lambda: None), cost)
            self._in_flight[task.task_id] = entry
            self._loop.dispatch([entry])
            futures.append(entry.future)
        self.clock.run_until(np.inf)
        names = [server.name for server in self.servers]
        servers = [names.index(future.result(0).server) for future in futures]
        ended_s = [self.servers[server].finished[task.seed] for server, task in zip(servers, tasks, strict=True)]
        return np.array(servers), np.array(ended_s)
