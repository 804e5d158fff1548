"""What tests of a running service share."""

import contextlib
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil

from tests.service.fleets import until

PROFILE = {"overhead_s": 0.05, "per_step_s": 0.01}


def entry(name, **more):
    """A quick emulated server, as in a fleet file."""
    return {"name": name, "kind": "emulated", "profile": PROFILE, "num_cpus": 0.1, "queue_limit": 500, **more}


def free_port():
    """A port where nobody listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Load:
    """Clients that ask for one image after the other until the end of the ``with``."""

    def __init__(self, url, clients=8):
        self.answers, self._url, self._clients = [], url, clients
        self._stop, self._numbers = threading.Event(), iter(range(10**6))

    def __enter__(self):
        self._pool = ThreadPoolExecutor(self._clients)
        self._tasks = [self._pool.submit(self._ask) for _ in range(self._clients)]
        until(lambda: len(self.answers) > self._clients)
        return self

    def __exit__(self, *error):
        self._stop.set()
        for task in self._tasks:
            task.result(60)
        self._pool.shutdown()

    def _ask(self):
        with httpx.Client(timeout=60) as client:
            while not self._stop.is_set():
                asked = {"prompt": f"number {next(self._numbers)}", "num_inference_steps": 5}
                answer = client.post(f"{self._url}/v1/images/generations", json=asked)
                self.answers.append(answer.status_code)


def servers_of(client):
    """State of each server."""
    return {server["name"]: server["state"] for server in client.fleet()["servers"]}


def replicas_of(application):
    """Processes of an application's replicas on this test's cluster."""
    found = set()
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has ended
            found |= {process.pid for word in process.cmdline() if word.startswith(f"ray::ServeReplica:{application}:")}
    return found
