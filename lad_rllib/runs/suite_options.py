"""What the benchmark suite may be told; see :mod:`lad_rllib.runs.options`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lad_rllib import names
from lad_rllib.runs.options import HEURISTICS, ORDERS, REQUEST_SCHEDULERS, Count, Positive, Seed, TableOptions, option


class SuiteOptions(TableOptions):
    """The benchmark suite."""

    title = "suite"

    workloads: list[str] | None = option(
        None,
        f"what is served: {', '.join(names.SUITE_WORKLOADS)} (default: all; the last with --log), presets of requests "
        "or settings files",
        "NAME|FILE",
        min_length=1,
    )
    log: str | None = option(None, "request log of workload gentd26, whose last 30 % is played", "FILE")
    loads: Annotated[list[Positive], Field(min_length=1)] = option(
        [0.5, 0.7, 0.9, 1.2], "offered work over what the servers can do", "X"
    )
    order: Annotated[list[str], Field(min_length=1)] = option(
        ["fifo", "shortest_first", "aged:service_weight=10"],
        f"orders of service: {', '.join(ORDERS)}",
        "NAME[:FIELD=X,...]",
    )
    work: Annotated[list[Literal["predicted", "known"]], Field(min_length=1)] = option(
        ["predicted", "known"], "what schedulers are told of service times, where they are not exactly as predicted"
    )
    schedulers: list[str] | None = option(
        None,
        f"schedulers without training (default: all): {', '.join(REQUEST_SCHEDULERS)}; in slots also "
        f"{', '.join(name for name in HEURISTICS if name not in REQUEST_SCHEDULERS)}",
        "NAME",
        may_be_empty=True,
    )
    checkpoint: list[str] | None = option(
        None,
        f"trained policies, or {', '.join(names.SHIPPED_POLICIES)}; with WORKLOAD= one plays on that workload alone; "
        "one of requests plays under the orders that it was trained for",
        "[WORKLOAD=]DIR|NAME",
    )
    episodes: Count | None = option(None, "episodes of each workload, or most windows of a log (its own number)")
    requests: Count | None = option(None, "requests of an episode (its own number; slots have as many as arrive)")
    slo: Positive = option(3.0, "a request is on time within so many times its delay on the fastest server, idle", "X")
    seed: Seed = option(1_000_000, "seed of requests and choices")
    output: str = option("results/suite", "output folder", "DIR")
    resume: bool = option(False, "keep the rows that are in the output folder, and play what is missing")
