"""A service from its start to its end: the fleet, its keeper, and the ingress on Ray Serve."""

from __future__ import annotations

import contextlib
import logging
import pickle
import socket
import time
import urllib.request
from collections.abc import Callable
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any

import ray
from ray import serve
from ray.serve.schema import ApplicationStatus, TracingConfig

from lad_rllib.api import ApiSettings
from lad_rllib.errors import ConfigurationError
from lad_rllib.fleet import FleetSpec
from lad_rllib.names import ServerHosts
from lad_rllib.scheduling.request_scheduler import RequestScheduler
from lad_rllib.serving.applications import QUIET, delete_left_over, deploy
from lad_rllib.serving.haproxy import INSIDE
from lad_rllib.serving.ingress import Ingress, ServiceFiles
from lad_rllib.serving.keeper import FleetKeeper, FleetState, asked

NAMESPACE, KEEPER, APP = "lad_rllib", "service", "lad_rllib"
"""Ray namespace and name of the keeper, and name of the Serve application; a cluster has one service."""

HEAD_NODE = "node:__internal_head__"
"""Resource that the head's node alone has."""

MAX_ONGOING = 10_000
"""Requests that Serve lets into the ingress at once, streams and questions among them; the API's limits are lower."""

HEALTH_S, HEALTH_TIMEOUT_S, SHUTDOWN_S = 0.25, 10.0, 3.0
"""Time between two health checks of the ingress, the longest one, and the time that it has to end [s]. Serve finds out
at the next check that the ingress is lost."""

END_S = 20.0
"""Longest wait for the servers to end before they are killed [s]."""

READY_TIMEOUT_S = 300.0
"""Longest wait for the first answer over HTTP once the servers are warm [s]."""

LOOK_S = 0.2
"""Time between two looks at servers that start [s]."""

Say = Callable[[str], object]
"""Takes a line about what is done."""


class Service:
    """A service that runs; use it as a context manager, or close it.

    Args:
        spec: The fleet.
        policy: Name of what decides.
        scheduler: What decides.
        settings: Limits and defaults of the API.
        files: What it writes; None: nothing but Ray's logs.
        host: Address that it listens on.
        port: Port that it listens on.
        haproxy: Whether Ray was started within :func:`~lad_rllib.serving.haproxy.haproxy_in_front` of that address.
        shared: Whether the fleet was started by ``lad-rllib fleet up``, and stays.
        servers: What the servers are that it starts: ``actors``, or ``applications`` of Serve.
        timeout_s: Longest wait for the servers to be warm [s].
        say: Takes lines about what is done while it starts.

    Attributes:
        url: Where it listens.
        state: The fleet at the start.

    Raises:
        ConfigurationError: if Ray is not running, a service runs on the cluster already, or the port is in use.
        EdgeError: if a server of the fleet cannot be started.
    """

    def __init__(
        self,
        spec: FleetSpec,
        policy: str,
        scheduler: RequestScheduler,
        settings: ApiSettings,
        *,
        files: ServiceFiles | None = None,
        host: str = "127.0.0.1",
        port: int = 8000,
        haproxy: bool = False,
        shared: bool = False,
        servers: ServerHosts = "actors",
        timeout_s: float = 600.0,
        say: Say = lambda line: None,
    ) -> None:
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        check_port(host, port)
        self._keeper = named_keeper(policy, scheduler)
        try:
            say(f"{'joining' if shared else 'starting'} the servers of fleet {spec.name}, and Ray Serve")
            start = partial(self._keeper.start.remote, spec, shared, timeout_s, servers)
            started = start() if servers == "actors" else None  # while Serve starts, too
            _start_serve(INSIDE if haproxy else host, port)
            started = started or start()
            ingress = ingress_application(self._keeper, settings, files or ServiceFiles(), _node_resource())
            # it loads what it needs while the servers do, and waits for them at the keeper
            deploy([serve.RunTarget(ingress, name=APP)])
            self.state: FleetState = _told(started, self._keeper, len(spec.servers), say)
            say("the servers are there; the HTTP API starts")
            _wait_for_answer(self.url)
        except BaseException:
            self.close()
            raise

    @property
    def metrics_url(self) -> str:
        """Where Prometheus finds the metrics of this node."""
        node = _own_node()
        return f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self, *, ray_ends: bool = False) -> None:
        """End the ingress, then the servers that it started; Serve itself, too, unless it has other applications.

        Args:
            ray_ends: Whether Ray ends right after, so that only the ingress need be told.
        """
        if not ray.is_initialized():
            return
        with contextlib.suppress(ray.exceptions.RayError, serve.exceptions.RayServeException):
            serve.delete(APP)
        if ray_ends:
            return
        with contextlib.suppress(ray.exceptions.RayError):
            ray.get(self._keeper.close.remote(), timeout=END_S)  # it may still be starting servers, which end with it
        ray.kill(self._keeper)
        with contextlib.suppress(ray.exceptions.RayError, serve.exceptions.RayServeException):
            delete_left_over()
            if not serve.status().applications:
                serve.shutdown()


def _start_serve(host: str, port: int) -> None:
    """Start Serve with a proxy on the head's node, or join the one that runs."""
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    start = partial(
        serve.start,
        proxy_location="HeadOnly",
        http_options={"host": host, "port": port},
        logging_config={"log_level": "WARNING", "enable_access_log": False},
        tracing_config=TracingConfig(),  # as the environment of this process says
    )
    try:
        start()
    except (ray.exceptions.ActorDiedError, TimeoutError):
        start()  # Serve runs, and puts another proxy in the place of one that a busy machine was slow to start


def named_keeper(policy: str, scheduler: RequestScheduler, *, lasts: bool = False) -> Any:
    """The keeper of the cluster's service.

    Args:
        policy: Name of what decides at first.
        scheduler: What decides at first.
        lasts: Whether it lives as long as the cluster, and the one that is there is taken; else it is a new one, which
            ends with this process.

    Raises:
        ConfigurationError: if there is one, and it is not to be taken.
    """
    options: dict[str, Any] = {"name": KEEPER, "namespace": NAMESPACE, "num_cpus": 0, "max_concurrency": 4}
    if lasts:
        options |= {"lifetime": "detached", "get_if_exists": True}
    try:
        return ray.remote(FleetKeeper).options(**options).remote(policy, pickle.dumps(scheduler))
    except ValueError:  # the name is taken
        raise ConfigurationError(
            "a service runs on this Ray cluster already; see 'lad-rllib serve status', or end it first"
        ) from None


def ingress_application(keeper: Any, settings: ApiSettings, files: ServiceFiles, node: str) -> serve.Application:
    """The ingress on the node that has a resource, where its files are."""
    deployment = serve.deployment(
        name="ingress",
        max_ongoing_requests=MAX_ONGOING,
        health_check_period_s=HEALTH_S,
        health_check_timeout_s=HEALTH_TIMEOUT_S,
        graceful_shutdown_wait_loop_s=HEALTH_S,
        graceful_shutdown_timeout_s=SHUTDOWN_S,
        logging_config=QUIET,  # it logs each answer itself
        ray_actor_options={"num_cpus": 0, "resources": {node: 0.001}},
    )(Ingress)
    return deployment.bind(keeper, settings, files)


def _told(started: Any, keeper: Any, servers: int, say: Say) -> FleetState:
    """The fleet once it has started; says meanwhile how its servers are."""
    told = ready = 0
    is_over = False
    while not is_over:
        is_over = bool(ray.wait([started], timeout=LOOK_S)[0])
        news = asked(keeper.news.remote(told))
        told += len(news)
        for what, same in groupby(news, itemgetter(1)):
            names = [name for name, _ in same]
            ready += len(names) * (what == "ready")
            say(f"{', '.join(names)}: {what}" + (f" ({ready} of {servers})" if what == "ready" else ""))
    state: FleetState = asked(started)
    return state


def _own_node() -> dict[str, Any]:
    """What Ray knows of this process's node."""
    here = ray.get_runtime_context().get_node_id()
    found: dict[str, Any] = next(node for node in ray.nodes() if node["NodeID"] == here)
    return found


def _node_resource() -> str:
    """The resource that this process's node alone has."""
    return f"node:{_own_node()['NodeManagerAddress']}"


def check_port(host: str, port: int) -> None:
    """Refuse an address where nothing can listen.

    Raises:
        ConfigurationError: naming the port.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigurationError(f"cannot listen on {host}, port {port}: {reason}; give another --port") from None


def _wait_for_answer(url: str) -> None:
    """Return when the service answers over HTTP.

    Raises:
        ConfigurationError: if it does not, or cannot be started.
    """
    limit, reason = time.monotonic() + READY_TIMEOUT_S, ""
    while time.monotonic() < limit:
        app = serve.status().applications.get(APP)
        if app is not None and app.status == ApplicationStatus.DEPLOY_FAILED:
            raise ConfigurationError(f"the HTTP API cannot be started: {' '.join(app.message.split())[-300:]}")
        try:
            with urllib.request.urlopen(f"{url}/healthz", timeout=5.0):
                return
        except OSError as error:
            reason = str(error)
        time.sleep(0.1)
    raise ConfigurationError(f"the service at {url} does not answer after {READY_TIMEOUT_S:g} s: {reason}")
