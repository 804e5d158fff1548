"""A Ray cluster of several nodes on this machine, to try what runs on several machines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lad_rllib.runs.local_ray import SYSTEM_CONFIG, on_loopback

_OBJECT_STORE_BYTES = 150_000_000


@contextmanager
def local_nodes(number: int, num_cpus: int, resource: str) -> Iterator[None]:
    """A head that runs nothing, and nodes; all end with the block.

    Args:
        number: Nodes besides the head.
        num_cpus: Logical CPUs of each.
        resource: Custom resource of which each node has one, so that actors can be spread over them.
    """
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    try:
        with on_loopback():
            cluster.add_node(
                num_cpus=0,
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                _system_config=SYSTEM_CONFIG,
            )
            for _ in range(number):
                cluster.add_node(num_cpus=num_cpus, resources={resource: 1}, object_store_memory=_OBJECT_STORE_BYTES)
            ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        yield
    finally:
        ray.shutdown()
        cluster.shutdown()
