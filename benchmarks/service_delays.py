"""Delays over HTTP of a running service beside those of the simulator, and a learned policy beside a heuristic.

    python -m benchmarks.service_delays        # twelve minutes on a quiet machine; writes service_delays.csv and .md
    python -m benchmarks.service_delays --resume                    # goes on where a run was broken off

Every delay is in service_delays_runs.csv as soon as its episode is over.

``lad-rllib serve`` runs in front of eight unequal emulated servers (the fleet ``unequal-8``, faster than real time).
Clients send the same Poisson requests for each scheduler in turn, each when it is due, whatever has become of those
before; a delay is from then until the answer is read. The simulator plays the same requests, with what the servers
really take drawn anew for each repetition. After each run the service is asked for its shadow replay of it. A row is
marked and not judged if clients sent late or the processors were busy nearly all the time: the machine had too much
else to do.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import httpx
import numpy as np
import pandas as pd
import psutil  # Ray brings it
from numpy.typing import NDArray
from pydantic import Field

from benchmarks.report import RESULTS, provenance, write_page
from benchmarks.running_service import serving
from benchmarks.service_clients import Answer, send_at
from benchmarks.service_verdicts import YARDSTICK, shown, verdicts
from lad_rllib.cli.program import Program
from lad_rllib.fleet import load_fleet
from lad_rllib.runs.options import Count, Options, Positive, option
from lad_rllib.runs.output_folder import writable_folder
from lad_rllib.runs.progress import bars
from lad_rllib.runs.rows import ResultRows
from lad_rllib.runs.service_client import ServiceClient
from lad_rllib.runs.tables import markdown_table
from lad_rllib.scheduling.judgement import Replayed
from lad_rllib.scheduling.request_scheduler import play_requests
from lad_rllib.service import tasks_of_requests
from lad_rllib.serving import named_policy
from lad_rllib.simulator.requests import Requests, RequestSetting, build_request_setting

FLEET = "unequal-8"
"""The fleet, and the setting of the same name: the same servers in the simulator."""

SEED, WINDOW, DRAWS = 4_000_000, 50, 20
"""Seed of the requests; requests of a window, over which intervals are drawn; and repetitions of the simulator."""

FloatArray = NDArray[np.float64]


class DelayOptions(Options):
    """What is sent, and who decides."""

    command = "benchmarks.service_delays"
    title = "measurement"

    loads: list[Positive] = option([0.5, 0.7, 0.9], "loads", "X")
    policies: list[str] = option(["any-fleet"], f"policies or schedulers that are compared with {YARDSTICK}", "P")
    order: str = option("fifo", "order of service, for all", "NAME")
    requests: Annotated[int, Field(ge=20, le=500)] = option(500, "requests of an episode", "N")
    episodes: Count = option(2, "episodes of each load, each sent once for every scheduler", "N")
    warm_up: Count = option(200, "requests before that, from which the service learns what comes", "N")
    time_scale: Positive = option(0.03, "wall seconds per second of the fleet", "X")
    late_ms: Positive = option(25.0, "a row is not judged if one in a hundred requests was sent later", "MS")
    busy: Positive = option(0.85, "a row is not judged if the processors were busy for more than this share", "X")
    output: str = option(str(RESULTS), "folder of the results", "DIR")
    resume: bool = option(False, "keep the episodes that are in service_delays_runs.csv")


@dataclass(frozen=True)
class Run:
    """An episode under a scheduler; durations in seconds of the fleet.

    Attributes:
        load: The load.
        episode: Which episode.
        scheduler: Who decided.
        delay_s: Delay of each request, from when it was due until its answer was read [s].
        simulated_s: The same in the simulator, one row for each draw [s].
        late_ms: 99th percentile of how late requests were sent [ms, wall clock].
        http_ms: Median of what HTTP adds to the dispatcher's delay [ms, wall clock].
        busy: Share of time in which the machine's processors were busy.
        failed: Requests without an image.
        shadow: Replayed mean of the scheduler over what the service measured.
    """

    load: float
    episode: int
    scheduler: str
    delay_s: FloatArray
    simulated_s: FloatArray
    late_ms: float
    http_ms: float
    busy: float
    failed: int
    shadow: float


def run(options: DelayOptions) -> int:
    """Measure, print and write; returns 1 if a goal is missed."""
    output = writable_folder(options.output)
    schedulers = [YARDSTICK, *options.policies]
    fleet = load_fleet(FLEET).to_dict()
    servers = [server | {"order": options.order, "make_png": True} for server in fleet["servers"]]
    fleet |= {"time_scale": options.time_scale, "order": options.order, "servers": servers}
    same = {name: getattr(options, name) for name in ("order", "requests", "warm_up", "time_scale")}
    kept = ResultRows(output / "service_delays_runs.csv", options.resume, **same)
    keys = keys_of(options)
    if any(not kept.has(**key) for key in keys):
        with serving(fleet, {"max_wait_s": 1e6}) as url:  # none is refused
            measure(url, options, kept)
    rows_of = {(row["load"], row["episode"], row["scheduler"]): row for row in kept.frame.to_dict("records")}
    runs = [run_of(rows_of[tuple(key.values())], options) for key in keys]
    rows = [row_of(runs, load, name) for load, name in itertools.product(options.loads, schedulers)]
    pd.DataFrame(rows).to_csv(output / "service_delays.csv", index=False)
    said = "\n".join(f"- {verdict}" for verdict in verdicts(rows, options.late_ms, options.busy))
    parts = [markdown_table(*shown(rows)), said]
    print(*parts, sep="\n\n")
    about = provenance(f"{os.cpu_count()} cores") | {
        "each row": f"{options.episodes} episodes of {options.requests} requests; 1 s of the fleet is "
        f"{options.time_scale:g} s by the clock",
        "schedulers are told": "predicted service times; the past requests are what the service has served",
        "intervals": f"95 %, bootstrap over windows of {WINDOW} requests; ± is the sd over {DRAWS} draws",
    }
    what = " ".join((__doc__ or "").split("\n\n")[2].split())
    write_page(output / "service_delays.md", "Delays over HTTP and in the simulator", about, what, *parts)
    return int("missed" in said)


def setting_of(load: float, order: str, requests: int) -> RequestSetting:
    """The fleet in the simulator."""
    traffic = {"kind": "poisson", "load": load}
    return build_request_setting({"preset": FLEET, "order": order, "requests": requests, "traffic": traffic})


def keys_of(options: DelayOptions) -> list[dict[str, Any]]:
    """What is sent, in this order: every episode once for each scheduler, in turns of who is first."""
    schedulers = [YARDSTICK, *options.policies]
    return [
        {"load": load, "episode": episode, "scheduler": name}
        for episode, load in itertools.product(range(options.episodes), options.loads)
        for name in schedulers[:: -1 if episode % 2 else 1]
    ]


def requests_of(options: DelayOptions, load: float, episode: int) -> tuple[RequestSetting, Requests]:
    """The setting of a load, and the requests of an episode."""
    setting = setting_of(load, options.order, options.requests)
    return setting, setting.draw(np.random.default_rng([SEED, episode]))


def measure(url: str, options: DelayOptions, kept: ResultRows) -> None:
    """Send what is not kept yet, and keep what comes of it."""
    service, keys = ServiceClient(url), [key for key in keys_of(options) if not kept.has(**key)]
    with bars() as progress:
        bar = progress.add_task("requests", total=options.warm_up + len(keys) * options.requests)

        def send(requests: Requests) -> list[Answer]:
            due_s = (requests.arrival_s - requests.arrival_s[0]) * options.time_scale
            answers = asyncio.run(send_at(url, bodies(requests), due_s.tolist(), lambda _: progress.advance(bar)))
            while service.fleet()["in_flight"]:
                time.sleep(0.1)
            return answers

        before = setting_of(options.loads[-1], options.order, options.warm_up)
        send(before.draw(np.random.default_rng(SEED)))
        for key in keys:
            _, requests = requests_of(options, key["load"], key["episode"])
            service.swap(key["scheduler"])
            psutil.cpu_percent()  # from now on
            answers = send(requests)
            busy = psutil.cpu_percent() / 100
            print("sent: " + ", ".join(f"{name} {value}" for name, value in key.items()), file=sys.stderr, flush=True)
            found = {
                "late_ms": 1000 * float(np.percentile([answer.late_s for answer in answers], 99)),
                "http_ms": http_ms(answers, options.time_scale),
                "busy": busy,
                "failed": sum(answer.status != 200 for answer in answers),
                "shadow": replayed_over_measured(url, len(answers)),
            }
            delays = " ".join(f"{answer.delay_s / options.time_scale:.4f}" for answer in answers)
            kept.add(key | found | {"delays_s": delays})


def run_of(row: Mapping[str, Any], options: DelayOptions) -> Run:
    """An episode under a scheduler, of its row in the file, and played in the simulator."""
    setting, requests = requests_of(options, row["load"], row["episode"])
    return Run(
        *(row[name] for name in ("load", "episode", "scheduler")),
        delay_s=np.array(row["delays_s"].split(), dtype=float),
        simulated_s=simulated(setting, row["scheduler"], requests, row["episode"]),
        **{name: row[name] for name in ("late_ms", "http_ms", "busy", "failed", "shadow")},
    )


def bodies(requests: Requests) -> list[dict[str, Any]]:
    """Requests as clients send them."""
    return [
        {
            "prompt": task.prompt,
            "num_inference_steps": task.denoising_steps,
            "size": f"{task.width}x{task.height}",
            "seed": task.seed,
            "station": task.station,
            **({} if task.guidance is None else {"guidance_scale": task.guidance}),
        }
        for task in tasks_of_requests(requests, ["a red seven"])
    ]


def http_ms(answers: Sequence[Answer], time_scale: float) -> float:
    """Median of what HTTP adds to the delay that the service's dispatcher had [ms, wall clock]."""
    added_s = [one.delay_s - one.late_s - one.served["delay_s"] * time_scale for one in answers if one.served]
    return 1000 * float(np.median(added_s)) if added_s else float("nan")


def replayed_over_measured(url: str, latest: int) -> float:
    """Mean delay of the service's latest requests as it replays them, over that which it measured; NaN: it does not."""
    answer = httpx.get(f"{url}/v1/fleet/shadow", params={"latest": latest}, timeout=120.0)
    means = {row["scheduler"]: row["mean_s"] for row in answer.json().get("rows", [])}
    return float(means["the present one"] / means["as it was"]) if means else float("nan")


def simulated(setting: RequestSetting, name: str, requests: Requests, episode: int) -> FloatArray:
    """Delays of an episode in the simulator [s], one row for each draw of what the servers really take."""
    scheduler, history, spread = named_policy(name), setting.history(), setting.reference.spread(requests)
    delays = []
    for draw in range(DRAWS):
        rng = np.random.default_rng([SEED, episode, draw])
        actual = np.exp(spread * rng.standard_normal(len(requests)) - spread**2 / 2)
        drawn = replace(requests, actual_over_predicted=actual)
        delays.append(play_requests(scheduler, setting.world, drawn, history, rng).delay_s)
    return np.array(delays)


# What comes of it.


def row_of(runs: Sequence[Run], load: float, name: str) -> dict[str, Any]:
    """A scheduler at a load, over its episodes: measured, simulated, replayed, and over the yardstick."""
    own, other = (_runs_of(runs, load, scheduler) for scheduler in (name, YARDSTICK))
    live, yardstick = (_windows(name, [run.delay_s for run in some]) for some in (own, other))
    draws = np.concatenate([run.simulated_s for run in own], axis=1)
    means_s, p99s_s = draws.mean(axis=1), np.percentile(draws, 99, axis=1)
    to_simulated = live.over(_windows("simulated", [run.simulated_s.mean(axis=0) for run in own]))
    return {
        "load": load,
        "scheduler": name,
        "requests": len(live.delay_s),
        "failed": sum(run.failed for run in own),
        "late_ms": max(run.late_ms for run in own),
        "http_ms": float(np.mean([run.http_ms for run in own])),
        "busy": max(run.busy for run in own),
        "mean_s": live.mean_s,
        "simulated_mean_s": means_s.mean(),
        "simulated_mean_sd": means_s.std(ddof=1),
        "over_simulated": to_simulated["mean_ratio"],
        "over_simulated_low": to_simulated["mean_low"],
        "over_simulated_high": to_simulated["mean_high"],
        "p99_s": live.percentile_s(99),
        "simulated_p99_s": p99s_s.mean(),
        "simulated_p99_sd": p99s_s.std(ddof=1),
        "shadow_over_measured": float(np.mean([run.shadow for run in own])),
        **live.over(yardstick),
    }


def _runs_of(runs: Sequence[Run], load: float, scheduler: str) -> list[Run]:
    return sorted((run for run in runs if (run.load, run.scheduler) == (load, scheduler)), key=lambda run: run.episode)


def _windows(name: str, episodes: Sequence[FloatArray]) -> Replayed:
    """Delays of episodes in windows of :data:`WINDOW` requests."""
    pieces = [np.array_split(delay_s, max(1, len(delay_s) // WINDOW)) for delay_s in episodes]
    return Replayed(name, tuple(window for piece in pieces for window in piece))


SMOKE = {"loads": [0.7], "requests": 30, "episodes": 1, "warm_up": 20, "time_scale": 0.005}
main = Program(run, DelayOptions, __doc__, SMOKE)

if __name__ == "__main__":
    raise SystemExit(main())
