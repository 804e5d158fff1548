"""Fleets on the nodes of a cluster, and what tests ask about them."""

import os
import time
from collections import Counter

import numpy as np
import ray

from lad_rllib.edge import DelayFit
from lad_rllib.fleet import FleetModel
from lad_rllib.scheduling import make_heuristic
from lad_rllib.service import Dispatcher, image_tasks, read_prompts

NODES = ("edge-1", "edge-2", "edge-3")
"""Custom resources, one of each node."""

PLACES = ("edge-1", "edge-1", "edge-2", "edge-2", "edge-3")
"""Node of each server."""

FIT = DelayFit(0.02, 0.01)
"""What dispatchers expect of every server: nothing here depends on how good a guess that is."""


def real_fleet():
    """Five real pipelines of the embedded model, with emulated links, over three nodes."""
    common = {"kind": "diffusers", "model": "embedded", "device": "cpu", "num_cpus": 0.5, "max_restarts": -1}
    servers = [
        {"name": f"real-{i}", "resources": {node: 0.01}, "link_rate_mbit_per_s": 450, **common}
        for i, node in enumerate(PLACES)
    ]
    return {"name": "real", "servers": servers}


def emulated_fleet(places=PLACES, per_step_s=0.01, **settings):
    """An emulated server on each of these nodes."""
    profile = {"overhead_s": 0.02, "per_step_s": per_step_s, "jitter": 0.1, "width": 64, "height": 64}
    servers = [
        {"name": f"emulated-{i}", "kind": "emulated", "profile": profile, "resources": {node: 0.01}, **settings}
        for i, node in enumerate(places)
    ]
    return {"name": "emulated", "servers": servers}


def dispatcher_of(fleet, scheduler="round-robin"):
    """A dispatcher over a running fleet."""
    model = FleetModel.from_fits(fleet.spec, [FIT] * len(fleet.servers))
    return Dispatcher(fleet.servers, model.network, model.work, make_heuristic(scheduler))


def draw_tasks(number, steps, name="task", num_stations=5):
    """Tasks with the package's prompts, as the prototype draws them."""
    rng = np.random.default_rng(1)
    return image_tasks(read_prompts(), number, rng, num_stations=num_stations, denoising_steps=steps, name=name)


def ask(server, question):
    """What a function says in a server's process, given its actor."""
    return ray.get(server.actor.__ray_call__.remote(question), timeout=60)


def pid_of(server):
    """Process of a server."""
    return ask(server, lambda actor: os.getpid())


def node_of(server):
    """Id of the node that a server runs on."""
    return ask(server, lambda actor: ray.get_runtime_context().get_node_id())


def node_ids():
    """Id of the living node of each name."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
    return {name: node["NodeID"] for node in nodes for name in node["Resources"] if name.startswith("edge-")}


def until(condition, limit_s=120.0):
    """Wall seconds until something holds."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < limit_s, "it never came true"
        time.sleep(0.02)
    return time.monotonic() - begin


class Ends:
    """Hands in tasks and counts how often each of them ends."""

    def __init__(self, dispatcher):
        self.dispatcher = dispatcher
        self.counts = Counter()
        self.futures = []

    def submit(self, tasks, servers=None):
        """Hand in the tasks of a slot."""
        futures = self.dispatcher.submit(tasks, servers)
        for future in futures:
            future.add_done_callback(lambda ended: self.counts.update([ended.result().task.task_id]))
        self.futures += futures

    def deliveries(self, limit_s=60.0):
        """Wait for all of them."""
        return [future.result(limit_s) for future in self.futures]
