"""What a service adds to an image: latency over a direct actor call, requests a second, and the time of a decision.

    python -m benchmarks.serving                # two minutes; writes benchmarks/results/serving.md
    python -m benchmarks.serving --haproxy      # the same behind HAProxy; writes serving-haproxy.md

The five edge servers are emulated ones that take no time, in processes of their own: first Ray actors, then
applications of Ray Serve. A direct call of an actor, a call of one of the servers, a dispatcher in this process, and
HTTP through Serve's Python proxy, or HAProxy, to the ingress with its dispatcher take turns; what counts are their
ratios. Decisions are timed by themselves, for views of full queues.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from itertools import count
from typing import Any

import aiohttp  # Ray Serve brings it
import httpx
import numpy as np
import ray

from benchmarks.dispatch import carry
from benchmarks.report import RESULTS, provenance, show, write_page
from lad_rllib.algorithms.lad_dispatch.actor_settings import ActorSettings
from lad_rllib.algorithms.lad_dispatch.knowledge import knowledge
from lad_rllib.algorithms.lad_dispatch.networks import ScoringActor
from lad_rllib.api import ApiSettings
from lad_rllib.cli.program import Program
from lad_rllib.edge import ImageTask
from lad_rllib.fleet import Fleet, load_fleet
from lad_rllib.fleet.hosts import FleetServer
from lad_rllib.names import ServerHosts
from lad_rllib.runs import local_ray
from lad_rllib.runs.options import Count, Options, option
from lad_rllib.runs.output_folder import writable_folder
from lad_rllib.scheduling.request_scheduler import REQUEST_SCHEDULERS, RequestScheduler, RuleScheduler
from lad_rllib.service import Dispatcher, RequestModel
from lad_rllib.serving import FleetState, Service, named_policy
from lad_rllib.serving.haproxy import haproxy_in_front
from lad_rllib.simulator.requests import Requests, RequestWorld, build_request_setting
from lad_rllib.simulator.requests.play import CompiledRule

SERVERS, PORT, POLICY = 5, 8765, "least-work-left"
ROUNDS = 3
"""Rounds of each rate and of each decision; the best counts, since other work on the machine only takes from it."""
DECIDED_FOR = (5, 20, 200)
GOALS: dict[ServerHosts, tuple[float, float]] = {"actors": (10.0, 0.3), "applications": (12.0, 0.18)}
"""HTTP over a direct call, by what the servers are: median latency at most, requests a second at least."""
HAPROXY_GOALS: dict[ServerHosts, tuple[float, float]] = {"actors": (4.0, 0.3), "applications": (6.0, 0.18)}
"""The same behind HAProxy."""
DECISION_GOAL_MS = {5: 2.0, 20: 2.0, 200: 5.0}
"""A decision's 99th percentile at most, by the number of servers [ms]."""
DIRECT, OWN, HERE, HTTP = (
    "direct call of an actor",
    "call of a server by its client",
    "dispatcher in this process",
    "HTTP, ingress with a dispatcher",
)
"""Ways to a server."""


class ServingBenchmark(Options):
    """How much is measured."""

    command = "benchmarks.serving"
    title = "benchmark"

    requests: Count = option(300, "requests of each path", "N")
    in_flight: Count = option(64, "requests in flight at a time, for the rate", "N")
    haproxy: bool = option(False, "HTTP through HAProxy instead of Serve's Python proxy")
    output: str = option(str(RESULTS), "folder of the page", "DIR")


class Actor(RuleScheduler):
    """A policy of LAD-Dispatch with weights as at the start of training; trained ones take as long."""

    def rule(self, world: RequestWorld, history: Requests) -> CompiledRule:
        """See :class:`RuleScheduler`."""
        return ActorSettings().rule(knowledge(world, history), ScoringActor(ActorSettings(), seed=0).packed(), 0.0)


def run(options: ServingBenchmark) -> int:
    """Measure, print and write the tables; returns 1 if a goal is missed."""
    output = writable_folder(options.output)
    profile = {"overhead_s": 0.0, "per_step_s": 1e-9, "width": 64, "height": 64}
    entry = {"kind": "emulated", "profile": profile, "count": SERVERS, "num_cpus": 0.1, "queue_limit": 1000}
    spec = load_fleet({"name": "nothing", "servers": [entry]})
    rows, verdicts = [], []
    in_front = haproxy_in_front("127.0.0.1", PORT) if options.haproxy else nullcontext()
    with in_front, _ray(), Fleet.start(spec) as direct:
        for servers, goals in (HAPROXY_GOALS if options.haproxy else GOALS).items():
            with Service(
                spec,
                POLICY,
                named_policy(POLICY),
                ApiSettings(),
                port=PORT,
                haproxy=options.haproxy,
                servers=servers,
            ) as service:
                found = paths(direct.servers, service.state, service.url, options)
            rows += [{"servers": servers, **row} for row in found]
            verdicts += http_verdicts(servers, found[-1], *goals)
    decisions = [row for servers in DECIDED_FOR for row in decided(servers)]
    late = [row for row in decisions if row["p99 ms"] > DECISION_GOAL_MS[row["servers"]]]
    verdicts.append(_verdict(not late, "p99 of a decision, goal 2 ms for 5 and 20 servers, 5 ms for 200"))
    parts = [show(rows), "## Decisions", show(decisions), "\n".join(f"- {verdict}" for verdict in verdicts)]
    print(*parts, sep="\n")
    about = provenance("two cores") | {"requests": f"{options.requests} of each path, {options.in_flight} in flight"}
    page = output / ("serving-haproxy.md" if options.haproxy else "serving.md")
    write_page(page, "What a service adds to an image" + " behind HAProxy" * options.haproxy, about, *parts)
    return int(any(verdict.startswith("missed") for verdict in verdicts))


@contextmanager
def _ray() -> Iterator[None]:
    """A Ray of this process, unless there is one."""
    if not ray.is_initialized():
        local_ray.start(num_cpus=16, num_gpus=0, log_to_driver=False, logging_level="ERROR")
    try:
        yield
    finally:
        local_ray.end()


def http_verdicts(servers: str, http: dict[str, Any], most: float, least: float) -> list[str]:
    """Whether the goals of HTTP are reached, from its row."""
    slower, carries = http["over direct"], http["rate over direct"]
    return [
        _verdict(slower <= most, f"{servers}: HTTP takes {slower:.1f} × a direct call's median, goal {most:g} ×"),
        _verdict(carries >= least, f"{servers}: HTTP has {carries:.2f} of direct calls a second, goal {least:g}"),
    ]


def _verdict(is_reached: bool, what: str) -> str:
    return f"{'reached' if is_reached else 'missed'}: {what}"


def paths(direct: list[FleetServer], state: FleetState, url: str, options: ServingBenchmark) -> list[dict[str, Any]]:
    """A row for each way to a server: latency one by one, all ways in turn, then the rate with many in flight.

    Args:
        direct: Actors of a fleet of its own.
        state: The service's fleet.
        url: Where the service listens.
        options: How much is measured.
    """
    numbers = count()

    def task() -> ImageTask:
        return ImageTask(f"task-{next(numbers)}", "a red seven", 1)

    clients = [server.client for server in state.servers]
    model = state.model()
    with (
        Dispatcher(
            clients, model.network, model.work, REQUEST_SCHEDULERS[POLICY](), requests=state.requests()
        ) as dispatcher,
        httpx.Client(timeout=60.0) as http,
    ):
        ways: dict[str, Callable[[], Any]] = {
            DIRECT: lambda: direct[0].generate(task()),
            OWN: lambda: clients[0].generate(task()),
            HERE: lambda: dispatcher.run([task()]),
            HTTP: lambda: http.post(f"{url}/v1/images/generations", json=_asked()),
        }
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(options.requests):
            for name, ask in ways.items():
                began = time.perf_counter()
                ask()
                taken[name].append(1000 * (time.perf_counter() - began))
        carried: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            carried[DIRECT].append(_rate(lambda i: direct[i % SERVERS].submit(task()), options))
            carried[OWN].append(_rate(lambda i: clients[i % SERVERS].submit(task()), options))
            carried[HERE].append(_rate(lambda i: dispatcher.submit([task()])[0], options))
            carried[HTTP].append(asyncio.run(_http_rate(url, options)))
    rates = {name: max(values) for name, values in carried.items()}
    direct_ms, direct_rate = statistics.median(taken[DIRECT]), rates[DIRECT]
    return [
        {
            "path": name,
            "median ms": statistics.median(values),
            "p99 ms": float(np.percentile(values, 99)),
            "over direct": statistics.median(values) / direct_ms,
            "requests a second": rates[name],
            "rate over direct": rates[name] / direct_rate,
        }
        for name, values in taken.items()
    ]


def _asked() -> dict[str, Any]:
    return {"prompt": "a red seven", "num_inference_steps": 1}


def _rate(submit: Callable[[int], Future[Any]], options: ServingBenchmark) -> float:
    """Requests a second with so many in flight, each handed in when another one ends."""
    return carry(submit, options.requests, options.in_flight, timeout_s=60)["tasks/s"]


async def _http_rate(url: str, options: ServingBenchmark) -> float:
    """The same over HTTP, with a client that takes about as long for a request as that of the direct calls."""
    number, left = options.requests, count()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=options.in_flight)) as client:

        async def ask() -> None:
            while next(left) < number:
                async with client.post(f"{url}/v1/images/generations", json=_asked()) as answer:
                    answer.raise_for_status()
                    await answer.read()

        began = time.perf_counter()
        await asyncio.gather(*(ask() for _ in range(options.in_flight)))
        return number / (time.perf_counter() - began)


def decided(servers: int, decisions: int = 2000) -> list[dict[str, Any]]:
    """A row for each of a rule and a policy that decides for so many servers."""
    rng = np.random.default_rng(0)
    spec = {"servers": rng.uniform(0.3, 1.0, servers).tolist(), "traffic": {"kind": "poisson", "load": 0.7}}
    setting = build_request_setting(spec)
    model = RequestModel(setting.world, setting.history())
    idle = model.idle_view()
    views = []
    for number in range(decisions):
        queue_s = rng.exponential(5.0, servers)
        queues = {"work_left_s": queue_s, "ahead_s": queue_s, "remaining_s": queue_s}
        views.append(idle._replace(now_s=float(number), **queues))
    policies: dict[str, RequestScheduler] = {POLICY: REQUEST_SCHEDULERS[POLICY](), "LAD-Dispatch": Actor()}
    rows = []
    for name, policy in policies.items():
        policy.begin(setting.world, setting.history())
        policy.choose(idle, rng)  # compiles
        rounds = [[_timed(policy, view, rng) for view in views] for _ in range(ROUNDS)]
        rows.append(
            {
                "servers": servers,
                "what decides": name,
                "median ms": min(statistics.median(taken) for taken in rounds),
                "p99 ms": min(float(np.percentile(taken, 99)) for taken in rounds),
            }
        )
    return rows


def _timed(policy: RequestScheduler, view: Any, rng: np.random.Generator) -> float:
    """Time of a decision [ms]."""
    began = time.perf_counter()
    policy.choose(view, rng)
    return 1000 * (time.perf_counter() - began)


main = Program(run, ServingBenchmark, __doc__, smoke={"requests": 5, "in_flight": 4})

if __name__ == "__main__":
    raise SystemExit(main())
