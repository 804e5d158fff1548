"""A cluster of three nodes on this machine, and a fleet of real pipelines on it."""

import contextlib
from types import SimpleNamespace

import psutil
import pytest
import ray
from ray.cluster_utils import Cluster

from lad_rllib.fleet import Fleet
from tests.cluster.fleets import NODES, real_fleet
from tests.lean_ray import LEAN_CONFIG, without_idle_processes

NODE = {"num_cpus": 4, "object_store_memory": 100_000_000}  # CPUs are logical
HEAD = NODE | {"_system_config": LEAN_CONFIG}
END_S = 30.0
"""Longest time that processes take to end after the cluster was shut down [s]."""


@pytest.fixture(scope="package")
def cluster():
    """Three nodes, each with a custom resource of its name; ``another_node`` adds one that can be lost."""
    ray.shutdown()  # a process has one connection; the shared cluster starts again when a test asks for it
    with without_idle_processes():
        nodes = Cluster(initialize_head=True, head_node_args=HEAD | {"resources": {NODES[0]: 1}})
    processes = []
    try:
        for name in NODES[1:]:
            nodes.add_node(**NODE, resources={name: 1})
        ray.init(address=nodes.address, log_to_driver=False, configure_logging=False)
        yield SimpleNamespace(another_node=lambda name: another_node(nodes, name))
        processes = [process for node in nodes.list_all_nodes() for process in processes_of(node)]
    finally:
        ray.shutdown()
        nodes.shutdown()
    _, left = psutil.wait_procs(processes, timeout=END_S)
    assert left == []


@contextlib.contextmanager
def another_node(nodes, name):
    """One more node, and a function that ends it at once with everything that runs on it."""
    node = nodes.add_node(**NODE, resources={name: 1})

    def lose():
        processes = processes_of(node)
        for process in processes:
            process.kill()
        nodes.remove_node(node, allow_graceful=False)
        psutil.wait_procs(processes, timeout=END_S)

    try:
        yield lose
    finally:
        if node in nodes.worker_nodes:
            lose()


def processes_of(node):
    """Every process of a node: its own and its workers."""
    own = [psutil.Process(info.process.pid) for infos in node.all_processes.values() for info in infos]
    return own + [worker for process in own for worker in process.children(recursive=True)]


@pytest.fixture(scope="package")
def real_pipelines(cluster):
    """Five servers that are real diffusers pipelines, on three nodes. Who breaks one waits until it is back."""
    with Fleet.start(real_fleet()) as fleet:
        yield fleet
