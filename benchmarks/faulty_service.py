"""A service whose processes can be killed: emulated servers, requests, and what is seen of it from outside."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil  # Ray brings it
import ray

from benchmarks.running_service import free_port
from benchmarks.service_clients import Answer, send_at
from lad_rllib.api import ApiSettings
from lad_rllib.errors import ConfigurationError
from lad_rllib.fleet import load_fleet
from lad_rllib.runs.progress import bars
from lad_rllib.serving import KnownServer, Service, named_policy

POLICY, STEPS = "any-fleet", (10, 30)
"""What decides, and the denoising steps of a request."""

LOOK_S, PATIENCE_S = 0.1, 60.0
"""Time between two looks at the service, and longest wait for anything [s]."""

ROLES = {
    "ingress": ("ray::ServeReplica",),
    "proxy": ("ray::ProxyActor",),
    "controller": ("ray::ServeController",),
    "servers": ("ray::EdgeServerActor",),
    "Ray itself": ("raylet", "gcs_server"),
}
"""Kinds of processes of a service, by what their command lines begin with, or their programs are called."""

Row = dict[str, Any]


def entry(name: str, per_step_s: float) -> Row:
    """An emulated server, as in a fleet file."""
    profile = {"overhead_s": 0.0, "per_step_s": per_step_s}
    return {"name": name, "kind": "emulated", "profile": profile, "num_cpus": 0.1}


@contextlib.contextmanager
def service(per_step_s: Mapping[str, float]) -> Iterator[Service]:
    """What ``lad-rllib serve`` runs, on the Ray of this process, in front of servers that take so long for a step."""
    spec = load_fleet({"name": "faults", "servers": [entry(*one) for one in per_step_s.items()]})
    with tempfile.TemporaryDirectory(prefix="lad_rllib_") as scratch:
        settings = ApiSettings(jobs_file=str(Path(scratch) / "jobs"))
        with Service(spec, POLICY, named_policy(POLICY), settings, port=free_port()) as running:
            yield running


# Requests.


def rate_per_s(per_step_s: Mapping[str, float], load: float) -> float:
    """Requests a second that make a load."""
    return load * sum(1.0 / seconds for seconds in per_step_s.values()) / float(np.mean(STEPS))


def poisson(
    number: int, per_step_s: Mapping[str, float], load: float, rng: np.random.Generator
) -> tuple[list[Row], list[float]]:
    """So many requests, and when each is due [s]."""
    steps = rng.integers(*STEPS, size=number, endpoint=True).tolist()
    due_s = np.cumsum(rng.exponential(1 / rate_per_s(per_step_s, load), number)).tolist()
    return [{"prompt": "a red seven", "num_inference_steps": n, "seed": k} for k, n in enumerate(steps)], due_s


def sent(url: str, asked: Sequence[Row], due_s: Sequence[float], what: str) -> list[Answer]:
    """Send requests when they are due, and show how far that is."""
    with bars() as progress:
        bar = progress.add_task(f"{what}: requests", total=len(asked))
        return asyncio.run(send_at(url, asked, due_s, lambda _: progress.advance(bar)))


def outcomes(answers: Sequence[Answer]) -> Row:
    """How requests ended."""
    served = [one.served for one in answers if one.served]
    delays_s = [one.delay_s for one in answers]
    return {
        "requests": len(answers),
        "failed": sum(one.status != 200 for one in answers),
        "different ids": len({one["id"] for one in served}),
        "sent to more than one server": sum(one["attempts"] > 1 for one in served),
        "mean delay, s": float(np.mean(delays_s)),
        "longest delay, s": max(delays_s),
    }


def failures(answers: Sequence[Answer]) -> list[Row]:
    """Why requests failed, and how many."""
    counts = Counter((one.status, one.reason) for one in answers if one.status != 200)
    return [{"status": status, "reason": why, "requests": n} for (status, why), n in counts.most_common()]


# What is seen from outside.


class Watch(contextlib.AbstractContextManager["Watch"]):
    """Looks at the states of the servers again and again, from a thread of its own.

    Args:
        url: Where the service listens.

    Attributes:
        states: State of each server when it was last seen.
        seen: When the state of a server was seen to have changed, which server, and its state then.
    """

    def __init__(self, url: str) -> None:
        self.states: dict[str, str] = {}
        self.seen: list[tuple[float, str, str]] = []
        self._http = httpx.Client(base_url=url, timeout=5.0)
        self._looking = repeating(LOOK_S, self._look)

    def __enter__(self) -> Watch:
        self._look()
        self._looking.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._looking.__exit__(None, None, None)
        self._http.close()

    def out_and_back(self, when: float, name: str) -> tuple[float | None, float | None]:
        """Time from a moment until a server was out, and until it was up again; None: that was not seen [s]."""
        later = [(seen, state) for seen, server, state in self.seen if server == name and seen > when]
        out = next((seen for seen, state in later if state != "up"), None)
        back = next((seen for seen, state in later if out is not None and seen > out and state == "up"), None)
        return None if out is None else out - when, None if back is None else back - when

    def _look(self) -> None:
        with contextlib.suppress(httpx.HTTPError, KeyError):
            for server in self._http.get("/v1/fleet").json()["servers"]:
                if self.states.get(server["name"]) != server["state"]:
                    self.states[server["name"]] = server["state"]
                    self.seen.append((time.monotonic(), server["name"], server["state"]))


@contextlib.contextmanager
def repeating(period_s: float, act: Callable[[], object]) -> Iterator[None]:
    """Do something again and again, in another thread, until the end of the ``with``; what it raises is raised there.

    Args:
        period_s: Time from one beginning to the next [s]; the first begins after it.
        act: What is done.
    """
    end, failures = threading.Event(), list[BaseException]()

    def work() -> None:
        due = time.monotonic() + period_s
        while not end.wait(max(0.0, due - time.monotonic())):
            try:
                act()
            except BaseException as error:
                failures.append(error)
                return
            due += period_s

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join(PATIENCE_S)
    for error in failures:
        raise error


def until(is_so: Callable[[], bool], what: str) -> None:
    """Return when something is so.

    Raises:
        ConfigurationError: if it takes longer than :data:`PATIENCE_S`.
    """
    limit = time.monotonic() + PATIENCE_S
    while not is_so():
        if time.monotonic() > limit:
            raise ConfigurationError(f"waited for {PATIENCE_S:g} s in vain until {what}")
        time.sleep(LOOK_S / 2)


def process_of(server: KnownServer) -> int | None:
    """Id of a server's process; None if it does not answer."""
    try:
        pid: int = ray.get(server.client.actor.__ray_call__.remote(lambda _: os.getpid()), timeout=LOOK_S * 10)
    except ray.exceptions.RayError:
        return None
    return pid


def processes(role: str) -> list[psutil.Process]:
    """Processes of this process's Ray that have a role, see :data:`ROLES`."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has ended
            called = (process.cmdline() or [""])[0]
            if any(called.startswith(word) or process.name() == word for word in ROLES[role]):
                found.append(process)
    return found


def usage(done: int) -> list[Row]:
    """Memory and open files of each kind of process after so many requests."""
    rows: dict[str, Row] = defaultdict(dict)
    for role in ROLES:
        for process in processes(role):
            before = rows[role] or {
                "after requests": done,
                "process": role,
                "processes": 0,
                "MiB": 0.0,
                "open files": 0,
            }
            rows[role] = before | {
                "processes": before["processes"] + 1,
                "MiB": before["MiB"] + process.memory_info().rss / 2**20,
                "open files": before["open files"] + process.num_fds(),
            }
    return list(rows.values())
