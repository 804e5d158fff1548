"""The HTTP API on a loopback port, in front of a dispatcher over servers in this process."""

import contextlib
import json
import socket
import threading
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
import uvicorn

from lad_rllib.api import ApiSettings, Gateway, make_app
from lad_rllib.api.wire import Error
from lad_rllib.edge import DeviceProfile, EdgeServer, EmulatedEngine
from lad_rllib.scheduling import make_heuristic
from lad_rllib.scheduling.request_scheduler import RequestScheduler
from lad_rllib.service import Dispatcher, RequestModel
from lad_rllib.simulator.requests import plain_requests
from tests.service.fleets import WORK, Wrapped, network, until


@dataclass
class Running:
    """A service that answers at ``url``."""

    url: str
    gateway: Gateway
    servers: list
    client: httpx.Client

    def draw(self, prompt="a red seven", headers=None, **asked):
        """The answer to an images request."""
        return self.client.post("/v1/images/generations", json={"prompt": prompt, **asked}, headers=headers)


class Slow:
    """A request that is under way.

    Args:
        running: The service.
        steps: Denoising steps.
        headers: Headers of the request.
        comes: Whether it is a request of its own.
        **asked: What else is asked for.
    """

    def __init__(self, running, steps, headers=None, comes=True, **asked):
        address, before = urlsplit(running.url), len(running.gateway.jobs)
        body = json.dumps({"prompt": "x", "num_inference_steps": steps, **asked}).encode()
        sent = {"Host": "x", "Content-Type": "application/json", "Content-Length": len(body), **(headers or {})}
        head = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        self.connection = socket.create_connection((address.hostname, address.port), timeout=30)
        self.connection.sendall(f"POST /v1/images/generations HTTP/1.1\r\n{head}\r\n".encode() + body)
        if comes:
            until(lambda: len(running.gateway.jobs) == before + 1)

    def leave(self):
        """Close the connection."""
        self.connection.close()


def refused(answer, status, code, param=None):
    """Whether an answer is an error in OpenAI's form, and this one; gives its message."""
    error = Error.model_validate(answer.json()).error
    assert (answer.status_code, error.code, error.param) == (status, code, param), error
    assert "\n" not in error.message and error.message
    return error.message


def edge_server(name, steps_per_s, make_png=True, **settings):
    """An emulated server without overhead that draws pictures, and changes its model in no time; it has started."""
    times = {"overhead_s": 0.0, "per_step_s": 1 / steps_per_s, "swap_s": 0.0}
    profile = DeviceProfile(name=name, origin="assumption", source="made up for a test", **times)
    server = EdgeServer(name, EmulatedEngine(profile, make_png=make_png), **settings)
    until(lambda: server.health().healthy)  # else a dispatcher may find it starting, and look again in 0.3 s only
    return server


@contextlib.contextmanager
def listening(app):
    """Have an app answer on a loopback port; gives its address."""
    # log_config None: else uvicorn sets up logging anew, and absl's handler closes what pytest has as stderr
    settings = uvicorn.Config(app, port=0, log_config=None, log_level="warning", lifespan="off")
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)


def with_past(speeds):
    """What is known of requests on such servers, one of 20 steps each second in the past."""
    return RequestModel(RequestModel.of_work(network(speeds), WORK).world, plain_requests(range(60), 20.0))


@contextlib.contextmanager
def service(
    speeds,
    scheduler="shortest-expected-delay",
    *,
    models=("digits",),
    control=None,
    observers=(),
    on_refusal=lambda code: None,
    order="fifo",
    **settings,
):
    """A service over emulated servers with these speeds in denoising steps a second."""
    with contextlib.ExitStack() as stack:
        servers = [
            Wrapped(stack.enter_context(edge_server(f"s{i}", speed, order=order))) for i, speed in enumerate(speeds)
        ]
        for server in servers:
            server.order = order
        chosen = make_heuristic(scheduler) if isinstance(scheduler, str) else scheduler
        known = with_past(speeds) if isinstance(chosen, RequestScheduler) else None
        dispatcher = stack.enter_context(Dispatcher(servers, network(speeds), WORK, chosen, seed=1, requests=known))
        gateway = Gateway(
            dispatcher, ApiSettings(**settings), models=models, observers=observers, on_refusal=on_refusal
        )
        stack.callback(gateway.close)
        url = stack.enter_context(listening(make_app(gateway, gateway.settings, control=control)))
        yield Running(url, gateway, servers, stack.enter_context(httpx.Client(base_url=url, timeout=30)))
