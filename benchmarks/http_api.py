"""What HTTP costs, how overload is refused, and what long service leaves behind.

Emulated edge servers, dispatcher and HTTP API are in one process, the clients in the same one; so every figure has the
clients' own time in it. Cost: servers that take no time; a request by HTTP and one handed to the dispatcher take turns.
Overload: five unequal servers get requests at three times the rate that they can serve; an accepted request's delay is
compared with what the feed of events predicted for its server when it came. Endurance: requests one after the other
from 16 clients; memory and file descriptors before and after. Events: 20 watchers of 20 events a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import statistics
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, ClassVar

import httpx
import numpy as np
import psutil  # Ray brings it
import uvicorn

from benchmarks.report import RESULTS, provenance, show, write_page
from lad_rllib.api import ApiSettings, Gateway, make_app
from lad_rllib.cli.program import Program
from lad_rllib.edge import DeviceProfile, EdgeServer, EmulatedEngine, ImageTask
from lad_rllib.runs.options import Count, Options, option
from lad_rllib.scheduling import make_heuristic
from lad_rllib.service import Dispatcher, WorkModel
from lad_rllib.simulator import EdgeNetwork

PATH = "/v1/images/generations"
UNEQUAL = (40.0, 40.0, 20.0, 10.0, 10.0)
"""Denoising steps a second of the servers that are overloaded."""
STEPS, OVERLOAD, MAX_WAIT_S = (5, 15), 3.0, 4.0
KEEP_ALIVE_S = 60
"""How long the server keeps idle connections [s]: longer than its clients, which else send into one that it closes."""

WATCHERS, EVENTS_PER_S = 20, 20
GOAL_REFUSAL_MS, GOAL_OVER_PREDICTED, GOAL_EVENT_MS = 100.0, 1.2, 50.0


class HttpOptions(Options):
    """What is measured."""

    command: ClassVar[str] = "http_api"
    title = "measurements"

    pairs: Count = option(500, "requests by HTTP, and as many without", "N")
    overload_s: Count = option(20, "seconds of overload", "S")
    requests: Count = option(10_000, "requests of the endurance run", "N")
    events_s: Count = option(10, "seconds of events", "S")


@contextlib.contextmanager
def service(speeds: tuple[float, ...], **settings: Any) -> Iterator[tuple[str, Gateway]]:
    """A service over emulated servers with these speeds [steps/s]: its address and gateway."""
    with contextlib.ExitStack() as stack:
        servers = []
        for number, speed in enumerate(speeds):
            times = {"overhead_s": 0.0, "per_step_s": 1.0 / speed}
            profile = DeviceProfile(name=f"s{number}", origin="assumption", source="made up", **times)
            servers.append(stack.enter_context(EdgeServer(f"s{number}", EmulatedEngine(profile, make_png=False))))
        network = EdgeNetwork(1, np.array(speeds), np.full(len(speeds), 1e9))
        work = WorkModel(density_gcycles_per_step=1.0)
        chosen = make_heuristic("shortest-expected-delay")
        gateway = Gateway(stack.enter_context(Dispatcher(servers, network, work, chosen)), ApiSettings(**settings))
        stack.callback(gateway.close)
        app = make_app(gateway, gateway.settings)
        config = uvicorn.Config(app, port=0, log_level="warning", lifespan="off", timeout_keep_alive=KEEP_ALIVE_S)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        stack.callback(thread.join, 10)
        stack.callback(setattr, server, "should_exit", True)
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", gateway


def percentile(values: list[float], q: float) -> float:
    """A percentile; not a number without values."""
    return float(np.percentile(values, q)) if values else float("nan")


def cost(pairs: int) -> list[dict[str, Any]]:
    """Latency of a request by HTTP and of a task handed to the dispatcher, in turns [ms]."""
    waits: dict[str, list[float]] = {"dispatcher": [], "HTTP, dispatcher": []}
    with service((1e6,) * 5) as (url, gateway), httpx.Client(base_url=url) as client:
        for number in range(-10, pairs):  # the first few warm up
            began = time.perf_counter()
            gateway.dispatcher.run([ImageTask(f"direct-{number}", "a cat", 1)])
            middle = time.perf_counter()
            client.post(PATH, json={"prompt": "a cat", "num_inference_steps": 1}).raise_for_status()
            if number >= 0:
                for path, wait_s in zip(waits, (middle - began, time.perf_counter() - middle), strict=True):
                    waits[path].append(1e3 * wait_s)
    base = statistics.median(waits["dispatcher"])
    return [
        {
            "path": path,
            "ms, median": statistics.median(own),
            "ms, p99": percentile(own, 99),
            "over the dispatcher": statistics.median(own) / base,
        }
        for path, own in waits.items()
    ]


async def events_of(client: httpx.AsyncClient) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """Events of the feed."""
    async with client.stream("GET", "/events", timeout=None) as answer:
        kind = ""
        async for line in answer.aiter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield kind, json.loads(line.removeprefix("data: "))


async def overloaded(url: str, seconds: float) -> dict[str, Any]:
    """Poisson requests at three times the rate that the servers can serve."""
    rng = np.random.default_rng(0)
    rate = OVERLOAD * sum(UNEQUAL) / statistics.mean(STEPS)
    answers: list[tuple[httpx.Response, float]] = []
    predicted, delay = {}, {}

    async def watch(client: httpx.AsyncClient) -> None:
        async for kind, data in events_of(client):
            if kind == "request":
                predicted[data["id"]] = data["predicted_s"].get(data["server"])
            elif kind == "done":
                delay[data["id"]] = data["delay_s"]

    async def ask(client: httpx.AsyncClient, steps: int) -> None:
        began = time.perf_counter()
        answer = await client.post(PATH, json={"prompt": "a cat", "num_inference_steps": steps})
        answers.append((answer, 1e3 * (time.perf_counter() - began)))

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=200)
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client:
        watching = asyncio.create_task(watch(client))
        await asyncio.sleep(0.5)
        asking, due = [], time.perf_counter()
        for _ in range(int(rate * seconds)):
            due += rng.exponential(1 / rate)
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            asking.append(asyncio.create_task(ask(client, int(rng.integers(*STEPS, endpoint=True)))))
        await asyncio.gather(*asking)
        await asyncio.sleep(0.5)
        watching.cancel()
    refused = [wait_ms for answer, wait_ms in answers if answer.status_code == 429]
    ratios = [delay[name] / one for name, one in predicted.items() if one and name in delay]
    return {
        "requests": len(answers),
        "accepted": sum(answer.status_code == 200 for answer, _ in answers),
        "refused": len(refused),
        "without Retry-After": sum(a.status_code == 429 and "retry-after" not in a.headers for a, _ in answers),
        "other answers": sum(answer.status_code not in (200, 429) for answer, _ in answers),
        "refusal ms, p99": percentile(refused, 99),
        "refusal ms, most": max(refused, default=float("nan")),
        "delay over predicted, median": percentile(ratios, 50),
        "delay over predicted, p95": percentile(ratios, 95),
    }


def endured(requests: int, clients: int = 16) -> dict[str, Any]:
    """Memory and file descriptors before and after many requests, and how many got an answer of their own."""
    process, names = psutil.Process(), []

    def ask(url: str, number: int) -> None:
        with httpx.Client(base_url=url) as client:
            for seed in range(number):
                asked = {"prompt": f"a cat {seed}", "num_inference_steps": 1, "seed": seed, "user": f"user {seed}"}
                names.append(client.post(PATH, json=asked).json()["served"]["id"])

    def all_ask(url: str, number: int) -> float:
        began = time.perf_counter()
        threads = [threading.Thread(target=ask, args=(url, number // clients)) for _ in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return number / (time.perf_counter() - began)

    with service((1e6,) * 5) as (url, _):
        all_ask(url, max(clients, requests // 5))  # what is cached and bounded fills up
        before, files = process.memory_info().rss, process.num_fds()
        names.clear()
        rate = all_ask(url, requests)
        after = process.memory_info().rss
        return {
            "requests": len(names),
            "different ids": len(set(names)),
            "requests/s": rate,
            "MiB before": before / 2**20,
            "MiB after": after / 2**20,
            "files before": files,
            "files after": process.num_fds(),
        }


async def watched(url: str, gateway: Gateway, seconds: float) -> dict[str, Any]:
    """How long events take to those who watch [ms]."""
    late: list[float] = []

    async def watch() -> None:
        async with httpx.AsyncClient(base_url=url) as client:
            async for kind, data in events_of(client):
                if kind == "tick":
                    late.append(1e3 * (time.perf_counter() - data["at"]))

    watching = [asyncio.create_task(watch()) for _ in range(WATCHERS)]
    while len(gateway.feed) < WATCHERS:
        await asyncio.sleep(0.1)
    await asyncio.sleep(1.0)
    for _ in range(int(seconds * EVENTS_PER_S)):
        gateway.feed.publish("tick", {"at": time.perf_counter()})
        await asyncio.sleep(1 / EVENTS_PER_S)
    await asyncio.sleep(0.5)
    for one in watching:
        one.cancel()
    row = {"watchers": WATCHERS, "events/s": EVENTS_PER_S, "received": len(late)}
    return row | {"ms, median": percentile(late, 50), "ms, p95": percentile(late, 95)}


def verdict(overload: dict[str, Any], events: dict[str, Any]) -> str:
    """How figures stand to their goals."""
    refusal_ms, ratio, event_ms = (
        overload["refusal ms, p99"],
        overload["delay over predicted, p95"],
        events["ms, p95"],
    )
    goals = {
        f"refusals within {GOAL_REFUSAL_MS:g} ms (p99 {refusal_ms:.0f})": refusal_ms <= GOAL_REFUSAL_MS,
        "every refusal a 429 with Retry-After": overload["without Retry-After"] + overload["other answers"] == 0,
        f"delay at most {GOAL_OVER_PREDICTED:g} times the predicted (p95 {ratio:.2f})": ratio <= GOAL_OVER_PREDICTED,
        f"events within {GOAL_EVENT_MS:g} ms (p95 {event_ms:.0f})": event_ms <= GOAL_EVENT_MS,
    }
    return "\n".join(f"- {'reached' if is_met else 'MISSED'}: {goal}" for goal, is_met in goals.items())


def run(options: HttpOptions) -> int:
    """Measure, print, and write the page."""
    cost_rows = cost(options.pairs)
    with service(UNEQUAL, max_wait_s=MAX_WAIT_S) as (url, _):
        overload = asyncio.run(overloaded(url, options.overload_s))
    with service(UNEQUAL) as (url, gateway):
        events = asyncio.run(watched(url, gateway, options.events_s))
    tables = {"Cost": cost_rows, "Overload": [overload], "Events": [events], "Endurance": [endured(options.requests)]}
    parts = [f"## {name}\n\n{show(rows)}" for name, rows in tables.items()]
    about = provenance(f"{os.cpu_count()} cores")
    said = [(__doc__ or "").partition("\n\n")[2].strip(), verdict(overload, events)]
    print(*said[1:], *parts, sep="\n\n")
    write_page(RESULTS / "http_api.md", "What HTTP costs", about, *said, *parts)
    return 0


main = Program(run, HttpOptions, __doc__, {"pairs": 20, "overload_s": 2, "requests": 64, "events_s": 1})

if __name__ == "__main__":
    sys.exit(main())
