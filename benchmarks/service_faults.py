"""A service under load while servers are killed, the ingress is killed, servers come and go, and for a long time.

    python -m benchmarks.service_faults                         # ten minutes; writes service_faults.csv and .md
    python -m benchmarks.service_faults --parts kills --requests 300
    python -m benchmarks.service_faults --resume                # what a run that was broken off has not measured yet

Parts, each with a service of its own in front of emulated servers:

- ``kills``: Poisson requests, and every few seconds the process of a random server that is up is killed (SIGKILL).
- ``ingress``: clients wait and jobs are queued when the process of the ingress is killed.
- ``changes``: Poisson requests while a server joins, drains, is taken out, and policies are swapped.
- ``endurance``: many requests in flight, one after the other, to servers that take no time; memory and open files of
  every process of the service.

A request fails if its answer is other than 200 or its connection breaks. What a part comes to is kept in
service_faults_parts.csv as soon as it ends.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Literal, Self

import httpx
import numpy as np
import ray

from benchmarks.faulty_service import (
    LOOK_S,
    PATIENCE_S,
    POLICY,
    Row,
    Watch,
    entry,
    failures,
    outcomes,
    poisson,
    process_of,
    processes,
    rate_per_s,
    repeating,
    sent,
    service,
    until,
    usage,
)
from benchmarks.report import RESULTS, provenance, show, write_figures, write_page
from benchmarks.service_clients import PATH, Answer, keep_in_flight
from lad_rllib.cli.program import Program
from lad_rllib.errors import ConfigurationError
from lad_rllib.runs import local_ray
from lad_rllib.runs.options import Count, Options, Positive, option
from lad_rllib.runs.output_folder import writable_folder
from lad_rllib.runs.progress import bars
from lad_rllib.runs.rows import ResultRows
from lad_rllib.runs.service_client import ServiceClient
from lad_rllib.serving import KnownServer, Service

OTHER_POLICY = "least-work-left"
PER_STEP_S = {"a": 0.02, "b": 0.02, "c": 0.04, "d": 0.04, "e": 0.08}
"""What a denoising step takes on each server [s]: a request takes 0.4 s on the fastest, 1.6 s on the slowest."""

GOALS = {"out": 2.0, "back": 6.0, "ingress": 5.0, "vanished": 2.0, "beyond": 2.0}
"""A killed server is out, and back; the ingress serves again; work of clients that it lost stops; and the slowest
request while servers come and go, beyond its own service: at most so long [s]."""

CHANGES_LOAD = 0.5
"""Load while servers come and go."""

GROWTH, FILES = 1.1, 20
"""Memory after the endurance over that before, and open files more than before: less than so much."""


class FaultOptions(Options):
    """Which parts, and how much of each."""

    command = "benchmarks.service_faults"
    title = "measurement"

    parts: list[Literal["kills", "ingress", "changes", "endurance"]] = option(
        ["kills", "ingress", "changes", "endurance"], "what is measured", min_length=1
    )
    requests: Count = option(1000, "kills: requests", "N")
    load: Positive = option(0.7, "kills: load while all servers are up", "X")
    every: Positive = option(10.0, "kills: time between two", "S")
    ingress_kills: Count = option(3, "ingress: times that it is killed", "N")
    change_s: Positive = option(8.0, "changes: time between two", "S")
    endured: Count = option(10_000, "endurance: requests", "N")
    in_flight: Count = option(64, "endurance: requests in flight", "N")
    output: str = option(str(RESULTS), "folder of the results", "DIR")
    resume: bool = option(False, "keep the parts that are in service_faults_parts.csv")


def run(options: FaultOptions) -> int:
    """Measure, print and write; returns 1 if a goal is missed."""
    output = writable_folder(options.output)
    amounts = ("requests", "load", "every", "ingress_kills", "change_s", "endured", "in_flight")
    same = {name: getattr(options, name) for name in amounts}
    rows = ResultRows(output / "service_faults_parts.csv", options.resume, **same)
    try:
        for name in dict.fromkeys(options.parts):
            if rows.has(part=name, ended=False):
                rows.drop(part=name)
            if not rows.has(part=name):
                rows.add({"part": name} | _measured(name, options).row())
    finally:
        local_ray.end()
    kept = {row["part"]: Measured.of_row(row) for row in rows.frame.to_dict("records")}
    found = {name: kept[name] for name in dict.fromkeys(options.parts)}
    about = provenance(f"{os.cpu_count()} cores")
    figures = [(name, key, value) for name, one in found.items() for key, value in one.figures.items()]
    write_figures(output / "service_faults.csv", ["part", "figure", "value"], figures, about)
    said = [f"## {name.capitalize()}\n\n{one.text}" for name, one in found.items()]
    print(*said, sep="\n\n")
    what = (__doc__ or "").partition("Parts, each")[2].strip()
    write_page(output / "service_faults.md", "A service under load and faults", about, f"Parts, each {what}", *said)
    return int(any(not met for one in found.values() for met in one.goals.values()))


def _measured(name: str, options: FaultOptions) -> Measured:
    """What a part comes to; one that breaks off takes no other along."""
    part: Callable[[FaultOptions], Measured] = PARTS[name]
    if not ray.is_initialized():
        local_ray.start(num_cpus=16, num_gpus=0, log_to_driver=False, logging_level="ERROR")
    try:
        return part(options)
    except (ConfigurationError, TimeoutError, httpx.HTTPError, ray.exceptions.RayError) as error:
        return Measured({BROKE_OFF: 1}, {f"the part ends ({local_ray.first_line(error)})": False})


@dataclass(frozen=True)
class Measured:
    """What a part comes to.

    Attributes:
        figures: Its figures.
        goals: Whether each goal is reached.
        tables: More rows, for the page.
    """

    figures: Row
    goals: dict[str, bool]
    tables: Sequence[Sequence[Row]] = ()

    def row(self) -> Row:
        """The part as a row of a file."""
        return {"ended": BROKE_OFF not in self.figures, "found": json.dumps(asdict(self), default=float)}

    @classmethod
    def of_row(cls, row: Row) -> Self:
        """The part of such a row."""
        return cls(**json.loads(row["found"]))

    @property
    def text(self) -> str:
        """The part on the page."""
        verdicts = "\n".join(f"- {'reached' if met else 'MISSED'}: {goal}" for goal, met in self.goals.items())
        rows = [{"figure": key, "value": value} for key, value in self.figures.items()]
        return "\n\n".join([verdicts, show(rows), *map(show, filter(None, self.tables))])


# Servers are killed.


def kills(options: FaultOptions) -> Measured:
    """A random server is killed again and again under load."""
    rng = np.random.default_rng(1)
    asked, due_s = poisson(options.requests, PER_STEP_S, options.load, rng)
    with service(PER_STEP_S) as running, Watch(running.url) as watch:
        killed: list[tuple[float, str]] = []
        with repeating(options.every, lambda: killed.append(kill_one(running.state.servers, watch, rng))):
            answers = sent(running.url, asked, due_s, "kills")
        until(lambda: set(watch.states.values()) == {"up"}, "every server is up again")
    times = [watch.out_and_back(when, name) for when, name in killed]
    figures = outcomes(answers) | {"servers killed": len(killed)}
    for k, what in enumerate(("out", "back")):
        seconds = [seconds for one in times if (seconds := one[k]) is not None]
        figures[f"seen {what}"] = len(seconds)
        figures[f"{what} after, median, s"] = float(np.median(seconds))
        figures[f"{what} after, most, s"] = max(seconds, default=float("nan"))
    return Measured(
        figures,
        {
            "no request failed": figures["failed"] == 0,
            f"out within {GOALS['out']:g} s": figures["out after, most, s"] <= GOALS["out"],
            f"back within {GOALS['back']:g} s": figures["back after, most, s"] <= GOALS["back"],
        },
        [failures(answers)],
    )


def kill_one(servers: Sequence[KnownServer], watch: Watch, rng: np.random.Generator) -> tuple[float, str]:
    """Kill a random server that is up; when, and which."""
    while True:
        up = [server for server in servers if watch.states.get(server.name) == "up"]
        chosen = up[int(rng.integers(len(up)))] if up else None
        if chosen is not None and (pid := process_of(chosen)) is not None:
            when = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            return when, chosen.name
        time.sleep(LOOK_S)


# The ingress is killed.


def ingress(options: FaultOptions) -> Measured:
    """The ingress is killed while clients wait and jobs are queued."""
    with service(dict.fromkeys("abcde", 0.05)) as running:
        rows = [lost_ingress(running) for _ in range(options.ingress_kills)]
    most = {name: max(row[name] for row in rows) for name in rows[0]}
    figures = {f"{name}, most": value for name, value in most.items() if name.endswith(", s")}
    figures |= {"jobs": sum(row["jobs"] for row in rows), "jobs done": sum(row["jobs done"] for row in rows)}
    return Measured(
        figures,
        {
            f"an image again within {GOALS['ingress']:g} s": most["an image again after, s"] <= GOALS["ingress"],
            f"vanished work stops within {GOALS['vanished']:g} s": most["vanished work stops after, s"]
            <= GOALS["vanished"],
            "every job was done": figures["jobs"] == figures["jobs done"],
        },
        [rows],
    )


def lost_ingress(running: Service, clients: int = 5, jobs: int = 2) -> Row:
    """Kill the ingress while so many clients wait for images of ten seconds, and jobs behind them."""
    servers, url = running.state.servers, running.url
    long, short = ({"prompt": "a red seven", "num_inference_steps": steps} for steps in (200, 5))
    with ThreadPoolExecutor(clients + 1) as threads:
        waiting = [threads.submit(ask, url, "POST", PATH, long) for _ in range(clients)]
        until(lambda: sum(map(tasks_at, servers)) == clients, "the servers have what the clients wait for")
        lost = set(map(runs_at, servers)) - {None}
        kept = [ask(url, "POST", "/v1/images/jobs", short)[1]["id"] for _ in range(jobs)]
        began = time.monotonic()
        for process in processes("ingress"):
            process.kill()

        def after(is_so: Callable[[], bool], what: str) -> float:
            until(is_so, what)
            return time.monotonic() - began

        def is_done(job: str) -> bool:
            status, said = ask(url, "GET", f"/v1/images/jobs/{job}")
            return status == 200 and said["status"] == "completed"

        stopped = threads.submit(after, lambda: lost.isdisjoint(map(runs_at, servers)), "vanished work stops")
        answers_s = after(lambda: ask(url, "GET", "/healthz")[0] == 200, "the service answers")
        image_s = after(lambda: ask(url, "POST", PATH, short)[0] == 200, "an image comes")
        until(lambda: all(map(is_done, kept)), "the jobs are done")
        return {
            "answers again after, s": answers_s,
            "an image again after, s": image_s,
            "vanished work stops after, s": stopped.result(),
            "clients that got none": sum(one.result()[0] != 200 for one in waiting),
            "jobs": jobs,
            "jobs done": sum(map(is_done, kept)),
        }


def ask(url: str, method: str, path: str, body: Row | None = None) -> tuple[int, Row]:
    """Status and content of an answer; 0: there was none."""
    try:
        answer = httpx.request(method, f"{url}{path}", json=body, timeout=PATIENCE_S)
        return answer.status_code, answer.json() if answer.status_code == 200 else {}
    except httpx.HTTPError:
        return 0, {}


def runs_at(server: KnownServer) -> str | None:
    """Name of the task that a server is at work on."""
    return server.client.status().running_task_id


def tasks_at(server: KnownServer) -> int:
    """Tasks that a server has."""
    status = server.client.status()
    return status.tasks_queued + (status.running_task_id is not None)


# Servers come and go.


def changes(options: FaultOptions) -> Measured:
    """Servers join, drain and leave, and policies are swapped, under load."""
    per_step_s = {name: PER_STEP_S[name] for name in "abcd"}

    def joins(name: str) -> Callable[[ServiceClient], object]:
        return lambda client: client.add(entry(name, 0.02))

    steps: list[tuple[str, Callable[[ServiceClient], object]]] = [
        ("add new", joins("new")),
        (f"swap {OTHER_POLICY}", lambda client: client.swap(OTHER_POLICY)),
        ("drain a", lambda client: client.drain("a")),
        ("remove a", lambda client: client.remove("a")),
        (f"swap {POLICY}", lambda client: client.swap(POLICY)),
        ("add other", joins("other")),
        ("remove c, which is at work", lambda client: client.remove("c")),
    ]
    number = int((len(steps) + 1) * options.change_s * rate_per_s(per_step_s, CHANGES_LOAD))
    asked, due_s = poisson(number, per_step_s, CHANGES_LOAD, np.random.default_rng(2))
    done: list[Row] = []
    with service(per_step_s) as running:
        client, left = ServiceClient(running.url), iter(steps)

        def change() -> None:
            for what, act in itertools.islice(left, 1):
                began = time.monotonic()
                act(client)
                done.append({"change": what, "took, s": time.monotonic() - began})

        with repeating(options.change_s, change):
            answers = sent(running.url, asked, due_s, "changes")
    beyond_s = [one.delay_s - one.served["computing_s"] for one in answers if one.served]
    figures = outcomes(answers) | {"changes": len(done), "slowest beyond its own service, s": max(beyond_s)}
    figures["99th percentile of that, s"] = float(np.percentile(beyond_s, 99))
    return Measured(
        figures,
        {
            "every change was made": len(done) == len(steps),
            "every answer is 200": figures["failed"] == 0,
            "none came twice": figures["different ids"] == figures["requests"],
            f"slowest below {GOALS['beyond']:g} s beyond its own service": max(beyond_s) < GOALS["beyond"],
        },
        [done, failures(answers)],
    )


# A long time.


def endurance(options: FaultOptions) -> Measured:
    """Many requests to servers that take no time."""
    warm = max(options.in_flight, options.endured // 5)
    body = {"prompt": "a red seven", "num_inference_steps": 1}
    with service(dict.fromkeys("abcde", 1e-9)) as running, bars() as progress:
        bar, count = progress.add_task("endurance: requests", total=warm + options.endured), itertools.count(1)
        looks: list[list[Row]] = []

        def look(_: Answer) -> None:
            progress.advance(bar)
            done = next(count) - warm
            if done >= 0 and done % max(1, options.endured // 4) == 0:
                looks.append(usage(done))

        asyncio.run(keep_in_flight(running.url, [body] * warm, options.in_flight, look))  # what is bounded fills up
        began = time.monotonic()
        answers = asyncio.run(keep_in_flight(running.url, [body] * options.endured, options.in_flight, look))
        rate = options.endured / (time.monotonic() - began)
    growth = max(last["MiB"] / first["MiB"] for first, last in zip(looks[0], looks[-1], strict=True))
    files = max(last["open files"] - first["open files"] for first, last in zip(looks[0], looks[-1], strict=True))
    figures = outcomes(answers) | {"requests a second": rate, "memory at the end over the start, most": growth}
    figures["open files more than at the start, most"] = files
    return Measured(
        figures,
        {
            "none was lost": figures["failed"] == 0,
            "none came twice": figures["different ids"] == figures["requests"],
            f"memory of every kind of process grows by less than {GROWTH - 1:.0%}": growth < GROWTH,
            f"open files grow by fewer than {FILES}": files < FILES,
        },
        [list(itertools.chain(*looks)), failures(answers)],
    )


BROKE_OFF = "broke off"
"""Figure of a part that did not come to its end."""

PARTS = {"kills": kills, "ingress": ingress, "changes": changes, "endurance": endurance}
SMOKE = {"requests": 60, "every": 3.0, "ingress_kills": 1, "change_s": 2.0, "endured": 100, "in_flight": 8}
main = Program(run, FaultOptions, __doc__, SMOKE)

if __name__ == "__main__":
    raise SystemExit(main())
