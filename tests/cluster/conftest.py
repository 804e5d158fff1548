"""A cluster of three nodes on this machine, and a fleet of real pipelines on it."""

from types import SimpleNamespace

import psutil
import pytest
import ray
from ray.cluster_utils import Cluster

from lad_rllib.fleet import Fleet
from tests.cluster.fleets import NODES, real_fleet

NODE = {"num_cpus": 4, "object_store_memory": 100_000_000}  # CPUs are logical
END_S = 30.0
"""Processes have so long to end after the cluster was shut down."""


@pytest.fixture(scope="package")
def cluster():
    """Three nodes, each with a custom resource of its name; ``add_node`` adds another one of that kind."""
    ray.shutdown()  # a process has one connection; the shared cluster starts again when a test asks for it
    nodes = Cluster(
        initialize_head=True, head_node_args={**NODE, "resources": {NODES[0]: 1}, "include_dashboard": False}
    )
    started = []

    def add_node(name):
        return nodes.add_node(**NODE, resources={name: 1})

    try:
        for name in NODES[1:]:
            add_node(name)
        ray.init(address=nodes.address, log_to_driver=False, configure_logging=False)
        yield SimpleNamespace(add_node=add_node, remove_node=nodes.remove_node)
        started = processes_of(nodes)
    finally:
        ray.shutdown()
        nodes.shutdown()
    _, left = psutil.wait_procs(started, timeout=END_S)
    assert left == []


def processes_of(nodes):
    """Every process of a cluster: its nodes' own, and their workers."""
    own = [
        psutil.Process(info.process.pid)
        for node in nodes.list_all_nodes()
        for infos in node.all_processes.values()
        for info in infos
    ]
    return own + [worker for process in own for worker in process.children(recursive=True)]


@pytest.fixture(scope="package")
def real_pipelines(cluster):
    """Five servers that are real diffusers pipelines, on three nodes; who breaks one waits until it is back."""
    with Fleet.start(real_fleet()) as fleet:
        yield fleet


@pytest.fixture(autouse=True)
def until_all_is_well(request):
    """A test leaves the real pipelines ready for the next one."""
    yield
    if "real_pipelines" in request.fixturenames:
        request.getfixturevalue("real_pipelines").wait_until_ready(120)
