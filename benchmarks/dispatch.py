"""What dispatch costs: time that dispatcher and actor add to a task, tasks per second, and memory per edge server.

The edge servers are emulated ones that take no time for an image, so that only the way to them and back is left. Each
is a Ray actor in a process of its own; servers in the process of the dispatcher, and calls of an actor that does
nothing, stand beside them in the same run. Latency: one task in flight; the paths take turns; what is added is what the
caller waits less the total of the server's own record. Throughput: a bounded number of tasks in flight, handed in one
by one. Resources: memory of an actor's process after it has served (PSS shares out what processes have in common), and
CPU time of the health checks of idle servers.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import psutil  # Ray brings it
import ray

from benchmarks.report import RESULTS, provenance, show, write_figures, write_page
from lad_rllib.edge import (
    DeviceProfile,
    EdgeServer,
    EmulatedEngine,
    ImageTask,
    RemoteEdgeServer,
    edge_server_actor,
)
from lad_rllib.scheduling import make_heuristic
from lad_rllib.service import Dispatcher, WorkModel
from lad_rllib.simulator import EdgeNetwork

NOTHING = DeviceProfile(
    name="nothing",
    overhead_s=0.0,
    per_step_s=1e-9,
    origin="assumption",
    source="takes no time, so that only the way there is left",
)
SERVERS = (5, 20, 100)
GOAL_MS = 5.0
IN_FLIGHT_PER_SERVER = 4


class Idle:
    """An actor that does nothing."""

    def nothing(self) -> None:
        """Nothing."""


# -- Servers ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def idle_actors(number: int) -> Iterator[list[Any]]:
    """Actors that do nothing."""
    actors = [ray.remote(Idle).options(num_cpus=0).remote() for _ in range(number)]
    try:
        ray.get([actor.nothing.remote() for actor in actors])
        yield actors
    finally:
        for actor in actors:
            ray.kill(actor)


@contextlib.contextmanager
def remote_servers(number: int) -> Iterator[list[RemoteEdgeServer]]:
    """Emulated edge servers, each a Ray actor."""
    engine = partial(EmulatedEngine, NOTHING, make_png=False)
    actors = [edge_server_actor(f"s{i}", engine, num_cpus=0) for i in range(number)]
    try:
        ray.get([actor.warm_up.remote() for actor in actors])
        yield [RemoteEdgeServer(f"s{i}", actor, control_timeout_s=0.7) for i, actor in enumerate(actors)]
    finally:
        for actor in actors:
            ray.kill(actor)


@contextlib.contextmanager
def local_servers(number: int) -> Iterator[list[EdgeServer]]:
    """Emulated edge servers of this process."""
    with contextlib.ExitStack() as stack:
        engines = [EmulatedEngine(NOTHING, make_png=False) for _ in range(number)]
        yield [stack.enter_context(EdgeServer(f"s{i}", engine)) for i, engine in enumerate(engines)]


def dispatcher_over(servers: list[Any]) -> Dispatcher:
    """A dispatcher with the health watch at work, as users have it."""
    network = EdgeNetwork(1, [10.0] * len(servers), [450.0] * len(servers))
    return Dispatcher(servers, network, WorkModel(), make_heuristic("round-robin"), seed=1)


# -- Latency ----------------------------------------------------------------------------------------------------------


def waited_ms(call: Callable[[], float]) -> tuple[float, float]:
    """How long a caller waits, and how much of it is not in the server's own record of its task [ms]."""
    begin = time.perf_counter()
    recorded_s = call()
    whole_s = time.perf_counter() - begin
    return whole_s * 1e3, (whole_s - recorded_s) * 1e3


def latency(repeats: int) -> list[dict[str, Any]]:
    """Caller's wait with one task in flight, path by path in turns."""
    numbers = iter(range(10**9))

    def task() -> ImageTask:
        return ImageTask(f"latency-{next(numbers)}", "a red seven", 1)

    with contextlib.ExitStack() as stack:
        idle = stack.enter_context(idle_actors(1))[0]
        remote = stack.enter_context(remote_servers(1))
        local = stack.enter_context(local_servers(1))
        over_actor, in_process = (stack.enter_context(dispatcher_over(servers)) for servers in (remote, local))

        def nothing() -> float:
            ray.get(idle.nothing.remote())
            return 0.0

        paths: dict[str, Callable[[], float]] = {
            "call of an actor that does nothing": nothing,
            "edge server as an actor, no dispatcher": lambda: remote[0].generate(task()).record.total_s,
            "dispatcher, edge server as an actor": lambda: over_actor.run([task()])[0].record.total_s,
            "dispatcher, edge server in its process": lambda: in_process.run([task()])[0].record.total_s,
        }
        waits: dict[str, list[tuple[float, float]]] = {path: [] for path in paths}
        for repeat in range(-10, repeats):  # the first few warm up
            for path, call in paths.items():
                wait = waited_ms(call)
                if repeat >= 0:
                    waits[path].append(wait)
    return [latency_row(path, *zip(*own, strict=True)) for path, own in waits.items()]


def latency_row(path: str, whole: tuple[float, ...], added: tuple[float, ...]) -> dict[str, Any]:
    """Medians and 95th percentiles."""
    return {
        "path": path,
        "waits ms, median": statistics.median(whole),
        "waits ms, p95": p95(whole),
        "added ms, median": statistics.median(added),
        "added ms, p95": p95(added),
    }


def p95(values: tuple[float, ...] | list[float]) -> float:
    """95th percentile."""
    return statistics.quantiles(values, n=20)[-1]


# -- Throughput and resources ------------------------------------------------------------------------------------------


def carry(
    submit: Callable[[int], Future[Any]], tasks: int, in_flight: int, timeout_s: float | None = None
) -> dict[str, float]:
    """Hand in one task after the other as long as not too many are out; tasks per second, and CPU time of this end."""
    free = threading.Semaphore(in_flight)
    wall, cpu = time.perf_counter(), time.process_time()
    futures = []
    for number in range(tasks):
        free.acquire()
        future = submit(number)
        future.add_done_callback(lambda _: free.release())
        futures.append(future)
    for future in futures:
        future.result(timeout_s)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"tasks/s": tasks / wall, "CPU ms/task here": cpu / tasks * 1e3}


def carry_dispatched(servers: list[Any], tasks: int, in_flight: int) -> dict[str, float]:
    """The same through a dispatcher; raises the first task's error, if any has one."""
    deliveries: list[Future[Any]] = []
    with dispatcher_over(servers) as dispatcher:

        def submit(number: int) -> Future[Any]:
            deliveries.append(dispatcher.submit([ImageTask(f"task-{number}", "a red seven", 1)])[0])
            return deliveries[-1]

        carry(submit, in_flight, in_flight)  # warms up
        deliveries.clear()
        figures = carry(lambda number: submit(number + in_flight), tasks, in_flight)
    for delivery in deliveries:
        if error := delivery.result().error:
            raise error
    return figures | {
        "service delay ms, median": statistics.median(d.result().service_delay_s for d in deliveries) * 1e3
    }


def throughput(number: int, tasks: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows of one number of servers, and what they take."""
    in_flight = IN_FLIGHT_PER_SERVER * number
    about = {"servers": number, "in flight": in_flight}
    with local_servers(number) as servers:
        in_process = about | {"path": "dispatcher, edge servers in its process"}
        in_process |= carry_dispatched(servers, tasks, in_flight)
    begin = time.perf_counter()
    with remote_servers(number) as servers:
        memory = {"servers": number, "started in s": time.perf_counter() - begin}
        dispatched = about | {"path": "dispatcher, edge servers as actors"}
        dispatched |= carry_dispatched(servers, tasks, in_flight)
        memory |= memory_of([server.actor for server in servers])
        memory["cores for the health watch"] = watch_cores(servers)
    with idle_actors(number) as actors:
        bare = about | {"path": "calls of actors that do nothing"}
        bare |= carry(lambda i: actors[i % number].nothing.remote().future(), tasks, in_flight)
        memory["MiB (PSS) of an idle actor"] = memory_of(actors)["MiB each (PSS)"]
    return [dispatched, in_process, bare], memory


def watch_cores(servers: list[RemoteEdgeServer], seconds: float = 5.0) -> float:
    """CPU seconds per second that watching idle servers takes, at both ends; idle processes take some anyway."""
    processes = [psutil.Process(), *processes_of([server.actor for server in servers])]

    def cores() -> float:
        begin = time.perf_counter()
        before = sum(sum(process.cpu_times()[:2]) for process in processes)
        time.sleep(seconds)
        return (sum(sum(process.cpu_times()[:2]) for process in processes) - before) / (time.perf_counter() - begin)

    idle = cores()
    with dispatcher_over(servers):
        return cores() - idle


def processes_of(actors: list[Any]) -> list[Any]:
    """The processes of the actors."""
    pids = ray.get([actor.__ray_call__.remote(lambda _: os.getpid()) for actor in actors])
    return [psutil.Process(pid) for pid in pids]


def memory_of(actors: list[Any]) -> dict[str, float]:
    """Median memory [MiB] and threads of the actors' processes, and their memory all together [GiB]."""
    processes = processes_of(actors)
    infos = [process.memory_full_info() for process in processes]
    shares = [getattr(info, "pss", info.rss) for info in infos]  # only Linux tells what processes have in common
    return {
        "MiB each (RSS)": statistics.median(info.rss for info in infos) / 2**20,
        "MiB each (PSS)": statistics.median(shares) / 2**20,
        "GiB together (PSS)": sum(shares) / 2**30,
        "threads each": statistics.median(process.num_threads() for process in processes),
    }


# -- Report -----------------------------------------------------------------------------------------------------------


def verdict(rows: list[dict[str, Any]]) -> str:
    """How the latency stands to its goal."""
    added = next(row for row in rows if row["path"].startswith("dispatcher, edge server as"))["added ms, median"]
    word = "reached" if added < GOAL_MS else "MISSED"
    return f"{word}: dispatcher and actor together add {added:.2f} ms to a task (median), goal under {GOAL_MS:.0f} ms"


def write(folder: Path, tables: dict[str, list[dict[str, Any]]]) -> None:
    """Write ``dispatch.csv`` (one line per figure) and ``dispatch.md``."""
    about = provenance(f"{os.cpu_count()} cores")
    figures = [
        (table, row.get("servers", 1), row.get("path", ""), key, value)
        for table, rows in tables.items()
        for row in rows
        for key, value in row.items()
        if key not in ("servers", "path")
    ]
    write_figures(folder / "dispatch.csv", ("table", "servers", "path", "figure", "value"), figures, about)
    write_page(
        folder / "dispatch.md",
        "Cost of dispatch",
        about,
        (__doc__ or "").partition("\n\n")[2].strip(),
        verdict(tables["latency"]),
        *(f"## {table.capitalize()}\n\n{show(rows)}" for table, rows in tables.items()),
    )


def main(argv: list[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--servers", type=int, nargs="+", default=SERVERS, help="numbers of servers (default: 5 20 100)"
    )
    parser.add_argument("--tasks", type=int, default=3000, help="tasks for each figure of throughput (default: 3000)")
    parser.add_argument("--repeats", type=int, default=1000, help="tasks for each figure of latency (default: 1000)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for the results")
    parser.add_argument("--smoke", action="store_true", help="does it run? ignore its figures")
    options = parser.parse_args(argv)
    if options.smoke:
        options.servers, options.tasks, options.repeats = [2], 40, 10
    warnings.filterwarnings("ignore")
    from lad_rllib.runs.cluster import connect

    connect("local", num_cpus=16)  # so many processes may start at a time
    tables: dict[str, list[dict[str, Any]]] = {"latency": latency(options.repeats), "throughput": [], "resources": []}
    print(show(tables["latency"]), verdict(tables["latency"]), sep="\n\n", end="\n\n", flush=True)
    for number in options.servers:
        rows, memory = throughput(number, options.tasks)
        tables["throughput"] += rows
        tables["resources"].append(memory)
        print(show(rows), show([memory]), sep="\n\n", end="\n\n", flush=True)
    write(options.output, tables)
    print(f"written: {options.output / 'dispatch.csv'}, dispatch.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
