"""Where a command runs and keeps its results: a Ray cluster or this machine, a local folder or shared storage."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

from lad_rllib.errors import ConfigurationError
from lad_rllib.runs import local_ray
from lad_rllib.runs.options import RayOptions
from lad_rllib.runs.storage import Storage

DASHBOARD_PORT = 8265
CONNECT_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 30.0  # a busy machine needs seconds to import Ray

# Asked in a process of its own: Ray logs each refusal, and tries a port of something else for 40 s.
_QUESTION = """\
import sys
from ray._private.authentication.authentication_token_setup import _enable_token_auth
from ray._raylet import AuthenticationTokenLoader, GcsClient
from ray.exceptions import AuthenticationError
for answer in ("open", "token"):
    try:
        GcsClient(address=sys.argv[1])
    except AuthenticationError:
        if not AuthenticationTokenLoader.instance().has_token(ignore_auth_mode=True):
            answer = "no token"
            break
        _enable_token_auth()
    else:
        break
else:
    answer = "wrong token"
print(answer)
"""


def address_of(options: RayOptions) -> str:
    """Address of the Ray cluster that the options and the environment name; "local" if none is to be joined."""
    return options.address or os.environ.get("RAY_ADDRESS") or ("auto" if options.wait_nodes > 1 else "local")


def start_ray(options: RayOptions, num_cpus: int, num_gpus: int = 0) -> None:
    """Connect to the Ray cluster that the options name, or start one on this machine that is large enough.

    Args:
        options: Which cluster; with a ``storage_path``, every node must reach it.
        num_cpus: Logical CPUs that a Ray of our own needs.
        num_gpus: GPUs that a Ray of our own needs.

    Raises:
        ConfigurationError: if there is no such cluster, its nodes do not come in time, or its workers cannot write to
            the storage.
    """
    connect(address_of(options), num_cpus, num_gpus)
    wait_for_nodes(options.wait_nodes, options.wait_timeout)
    if storage_path := getattr(options, "storage_path", None):
        Storage(storage_path).check_from_nodes()


def largest_node_bytes() -> int | None:
    """Memory of the largest node of the connected cluster [byte]; None if nodes may be added."""
    import ray

    from lad_rllib.algorithms.common.resources import may_grow

    nodes = [node for node in ray.nodes() if node["Alive"]]
    return None if may_grow(nodes) else int(max(node["Resources"].get("memory", 0) for node in nodes))


def connect(address: str, num_cpus: int = 0, num_gpus: int = 0) -> None:
    """Connect to a Ray cluster, if this process is not connected yet, and print its address.

    Args:
        address: Its address, "auto" for the one that runs on this machine, or "local" to start one.
        num_cpus: Logical CPUs of one that is started; at least those of the machine.
        num_gpus: GPUs of one that is started.

    Raises:
        ConfigurationError: if there is none at the address, it asks for a token that this user does not have, or none
            can be started.
    """
    import ray
    from ray._private.services import get_ray_address_from_environment

    if ray.is_initialized():
        return
    quiet: Mapping[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == "local":
        local_ray.start(
            num_cpus=max(num_cpus, os.cpu_count() or 1), num_gpus=num_gpus, object_store_memory=512 * 1024**2, **quiet
        )
        return
    found = "on this machine" if address == "auto" else f"at {address}"
    try:
        if address == "auto":
            address = get_ray_address_from_environment("auto", None)
        _knock(address)
        _settle_token(address)
        with local_ray.on_loopback() if _is_on_loopback(address) else contextlib.nullcontext():
            local_ray.initialise(address=address, **quiet)
    except ConfigurationError:
        raise
    except Exception as error:  # Ray raises plain Exceptions, too
        raise ConfigurationError(
            f"no Ray cluster {found}: {local_ray.first_line(error)}; start one ('ray up', 'ray start --head') or give "
            f"another --address"
        ) from None
    print(f"connected to the Ray cluster at {address}", file=sys.stderr, flush=True)


def _knock(address: str) -> None:
    """Refuse an address where nobody listens, which Ray itself would try for many minutes.

    Raises:
        OSError: if there is nobody.
        ValueError: if it is no address, or that of something else.
    """
    host, mark, port = address.removeprefix("ray://").rpartition(":")
    if not mark or not port.isdigit() or "/" in host:
        raise ValueError("an address is host:port, ray://host:port or auto")
    if int(port) == DASHBOARD_PORT:
        raise ValueError(f"{DASHBOARD_PORT} is the port of the dashboard; the cluster's is 6379 as a rule")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT_S):
        pass


def _is_on_loopback(address: str) -> bool:
    """Whether a cluster listens on this machine's 127.0.0.1 alone, for which ``ray.init`` takes another address."""
    from ray._private.services import canonicalize_bootstrap_address

    if address.rpartition(":")[0] not in ("127.0.0.1", "localhost"):
        return False
    try:
        _knock(canonicalize_bootstrap_address(address))
    except OSError:
        return True
    return False


def _settle_token(address: str) -> None:
    """Have this process send Ray's token if the cluster asks for one; ``ray.init`` does not, given an address.

    Ray Client (``ray://``) gets the token unasked, if there is one and RAY_AUTH_MODE does not say otherwise.

    Raises:
        ConfigurationError: if the cluster asks for a token that this user does not have.
        ValueError: if something else listens there.
    """
    from ray._private.authentication.authentication_token_setup import AuthenticationTokenLoader, _enable_token_auth

    if address.startswith("ray://"):
        if "RAY_AUTH_MODE" not in os.environ and AuthenticationTokenLoader.instance().has_token(ignore_auth_mode=True):
            _enable_token_auth()
        return
    answer = token_answer(address)
    if answer == "token":
        _enable_token_auth()
    elif answer != "open":
        problem = (
            "asks for a token and there is none here" if answer == "no token" else "refuses the token that is here"
        )
        raise ConfigurationError(
            f"the Ray cluster at {address} {problem}: copy ~/.ray/auth_token from its head, or set RAY_AUTH_TOKEN to "
            f"what 'ray get-auth-token' prints there"
        )


def token_answer(address: str) -> str:
    """What a cluster says to this user's Ray token.

    Args:
        address: The cluster's address, host:port.

    Returns:
        "open": it admits this process as it is; "token": it does if the process sends the user's token; "no token": it
        asks for a token and the user has none; "wrong token": it refuses the user's.

    Raises:
        ValueError: if what listens there does not answer as Ray does.
    """
    command = [sys.executable, "-c", _QUESTION, address]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_TIMEOUT_S, check=True)
    except subprocess.SubprocessError:
        raise ValueError("what listens there does not answer as Ray does") from None
    return asked.stdout.strip()


def wait_for_nodes(number: int, timeout_s: float) -> None:
    """Wait until the cluster has a number of living nodes; says so when one joins.

    Args:
        number: Nodes, with the head.
        timeout_s: Longest wait [s].

    Raises:
        ConfigurationError: if it has fewer at the end.
    """
    import ray

    end_s, seen = time.monotonic() + timeout_s, -1
    while number > 0:
        alive = sum(node["Alive"] for node in ray.nodes())
        if alive >= number:
            return
        if time.monotonic() > end_s:
            raise ConfigurationError(
                f"{alive} of {number} nodes have joined the cluster after {timeout_s:g} s; see 'ray status' and the "
                f"logs of the missing ones, or lower --wait-nodes, or raise --wait-timeout"
            )
        if alive != seen:
            print(f"waiting for nodes: {alive} of {number} have joined", file=sys.stderr, flush=True)
            seen = alive
        time.sleep(0.5)
