"""Keeps a port of Serve's to the node's own address."""

from __future__ import annotations

from typing import Any

from ray.serve._private import replica
from ray.util import get_node_ip_address

EVERYWHERE = "[::]"


def listen_on_own_address() -> None:
    """Have the replica in this process open its port for other deployments on the node's own address alone.

    Ray 2.60 opens it on all interfaces, without asking who calls, and takes pickled arguments there; nothing of a
    service uses it. A Ray that listens on 127.0.0.1 then has nothing open beyond. To be called in the constructor of a
    deployment: Serve opens the port right after it.
    """
    add, own = replica.add_port_to_grpc_server, get_node_ip_address()
    own = f"[{own}]" if ":" in own else own

    def add_on_own_address(server: Any, address: str) -> int:
        port: int = add(server, address.replace(EVERYWHERE, own))
        return port

    replica.add_port_to_grpc_server = add_on_own_address
