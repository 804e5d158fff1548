"""The HTTP API on a loopback port, in front of a dispatcher over servers in this process."""

import contextlib
import threading
import time
from dataclasses import dataclass

import httpx
import uvicorn

from lad_rllib.api import ApiSettings, Gateway, make_app
from lad_rllib.edge import DeviceProfile, EdgeServer, EmulatedEngine
from lad_rllib.scheduling import make_heuristic
from lad_rllib.service import Dispatcher
from tests.service.fleets import WORK, Wrapped, network


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


def edge_server(name, steps_per_s, make_png=True, **settings):
    """An emulated server without overhead that draws pictures."""
    times = {"overhead_s": 0.0, "per_step_s": 1 / steps_per_s}
    profile = DeviceProfile(name=name, origin="assumption", source="made up for a test", **times)
    return EdgeServer(name, EmulatedEngine(profile, make_png=make_png), **settings)


@contextlib.contextmanager
def listening(app):
    """Have an app answer on a loopback port; gives its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)


@contextlib.contextmanager
def service(speeds, scheduler="shortest-expected-delay", *, models=("digits",), control=None, observers=(), **settings):
    """A service over emulated servers with these speeds in denoising steps a second."""
    with contextlib.ExitStack() as stack:
        servers = [Wrapped(stack.enter_context(edge_server(f"s{i}", speed))) for i, speed in enumerate(speeds)]
        chosen = make_heuristic(scheduler) if isinstance(scheduler, str) else scheduler
        dispatcher = stack.enter_context(Dispatcher(servers, network(speeds), WORK, chosen, seed=1))
        gateway = Gateway(dispatcher, ApiSettings(**settings), models=models, observers=observers)
        stack.callback(gateway.close)
        url = stack.enter_context(listening(make_app(gateway, gateway.settings, control=control)))
        yield Running(url, gateway, servers, stack.enter_context(httpx.Client(base_url=url, timeout=30)))
