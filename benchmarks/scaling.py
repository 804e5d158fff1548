"""How LAD-TS training scales: episodes per second against runners, environments, learners, network size and GPU.

One thing at a time is changed from a base line, the paper's setting in one process: 20 stations, 20 servers, a local
environment runner with one environment, a local learner on the CPU, one thread, no yardstick callback. Point and base
line take turns in the same process (base, point, base, ..., base), after episodes that are not counted, until every
station learns. A point's speed-up is the base line's time per episode, mean of the runs just before and after, over the
point's own; so a machine that becomes slower or faster meanwhile slows or speeds up both. Table: median over repeats,
least and greatest in brackets.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from benchmarks.report import RESULTS, provenance, show
from benchmarks.scaling_points import AXES, Point, points_of
from benchmarks.scaling_report import Report, Run, not_run, row_of, table_row
from lad_rllib.cli.program import Program
from lad_rllib.runs.options import Count, RayOptions, option

SMOKE_SLOTS = 25
SMOKE_METHOD = "A smoke run on a small network (3 stations, 3 servers): it shows that it runs; ignore its figures."


class ScalingOptions(RayOptions):
    """What is measured."""

    command: ClassVar[str] = "scaling"
    title = "measurements"

    axes: Annotated[list[Literal[tuple(AXES)]], Field(min_length=1)] = option(  # type: ignore[valid-type]
        list(AXES), "what to change"
    )
    episodes: Count = option(2, "episodes of one measurement", "N")
    repeats: Count = option(5, "measurements of each point", "N")
    small: bool = option(False, "a network of 3 stations and 3 servers, and short episodes")
    output: str = option(str(RESULTS), "output folder", "DIR")


class Training:
    """LAD-TS as a point describes it, all buffers warm, with a stopwatch at its updates and at the sharing of weights.

    Args:
        point: What to train, and on what.
        slots: Slots of an episode; the paper's by default.
    """

    def __init__(self, point: Point, slots: int = 60) -> None:
        self._episodes_of_call = max(point.env_runners, 1) * point.envs
        self._slots_of_episode = slots - 1  # the last one is seen, but not decided
        self._spent_s = {"_update": 0.0, "share": 0.0}
        self._updates = 0
        self.algorithm = configuration(point, slots).build_algo()
        self.algorithm.train()
        while self.algorithm.replay_buffer.size.min() <= self.algorithm.config.learning_starts:
            self.algorithm.train()
        for owner, method in ((self.algorithm, "_update"), (self.algorithm.weights, "share")):
            setattr(owner, method, self._timed(method, getattr(owner, method)))

    def _timed(self, name: str, method: Callable[[], None]) -> Callable[[], None]:
        def timed() -> None:
            begin = time.perf_counter()
            method()
            self._spent_s[name] += time.perf_counter() - begin
            self._updates += name == "_update"

        return timed

    def run(self, episodes: int) -> Run:
        """Train for so many episodes, or, if all environments together play more at a time, for those."""
        calls = -(-episodes // self._episodes_of_call)
        before, updates, begin = dict(self._spent_s), self._updates, time.perf_counter()
        for _ in range(calls):
            self.algorithm.train()
        return Run(
            wall_s=time.perf_counter() - begin,
            updating_s=self._spent_s["_update"] - before["_update"],
            sharing_s=self._spent_s["share"] - before["share"],
            episodes=calls * self._episodes_of_call,
            slots=calls * self._episodes_of_call * self._slots_of_episode,
            updates=self._updates - updates,
        )


def configuration(point: Point, slots: int) -> Any:
    """The algorithm's configuration at a point."""
    from lad_rllib.algorithms.lad_ts import LADTSConfig
    from lad_rllib.envs import FleetVectorEnv

    logging.getLogger("ray.rllib").setLevel(logging.ERROR)  # its import has set a chattier one
    network = {"stations": point.stations, "servers": point.servers}
    setting = {"preset": "paper", "slots": slots, "network": network}
    return (
        LADTSConfig()
        .environment(FleetVectorEnv, env_config={"setting": setting})
        .training(train_batch_size_per_learner=point.batch // max(point.learners, 1))
        .env_runners(num_env_runners=point.env_runners, num_envs_per_env_runner=point.envs)
        .learners(num_learners=point.learners, num_gpus_per_learner=int(point.gpu))
        .debugging(seed=1, log_level="ERROR")
    )


@contextlib.contextmanager
def training(point: Point, slots: int) -> Iterator[Training]:
    """A training that ends with the block, and its actors with it."""
    own = Training(point, slots)
    try:
        yield own
    finally:
        own.algorithm.stop()


def measure(base: Training, point: Point, slots: int, repeats: int, episodes: int) -> dict[str, Any]:
    """Row of a point, which takes turns with the base line."""
    with training(point, slots) as trial:
        base_runs, runs = [base.run(episodes)], []
        for _ in range(repeats):
            runs.append(trial.run(episodes))
            base_runs.append(base.run(episodes))
    return row_of(point, runs, base_runs)


def reason_not_to_run(point: Point, resources: Mapping[str, float]) -> str | None:
    """What the point needs and the cluster, or this process, does not have."""
    if point.gpu and not has_gpu():
        return "no GPU"
    cpus, needed = resources.get("CPU", 0), point.env_runners + point.learners
    return f"needs {needed} CPUs of the cluster, which has {cpus:g}" if needed > cpus else None


def has_gpu() -> bool:
    """Whether a learner of this process would find a GPU."""
    import torch

    return torch.cuda.is_available()


def run(options: ScalingOptions) -> int:
    """Measure all points of the wanted axes; returns the exit status."""
    import ray
    import torch

    from lad_rllib.runs import cluster
    from lad_rllib.runs.output_folder import writable_folder

    warnings.filterwarnings("ignore")
    folder = writable_folder(options.output)
    torch.set_num_threads(1)
    base, slots = (Point(stations=3, servers=3), SMOKE_SLOTS) if options.small else (Point(), 60)
    points = [point for axis in options.axes for point in points_of(axis, base, smoke=options.small)]
    cluster.start_ray(
        options, num_cpus=1 + max(point.env_runners + point.learners for point in points), num_gpus=int(has_gpu())
    )
    cores = os.cpu_count() or 1
    about = provenance(f"{cores} cores")
    method = SMOKE_METHOD if options.small else (__doc__ or "").partition("\n\n")[2].strip()
    report = Report(folder, about, method, cores)
    with training(base, slots) as base_training, report:
        for point in points:
            reason = reason_not_to_run(point, ray.cluster_resources())
            measured = (base_training, point, slots, options.repeats, options.episodes)
            row = not_run(point, reason) if reason else measure(*measured)
            report.add(row)
            table = show([table_row(row)]).splitlines()
            print(*(table if len(report.rows) == 1 else table[-1:]), sep="\n", flush=True)
    print(f"\n{report.reading()}\n\nwritten: {folder / 'scaling.csv'}, scaling.md, scaling.png")
    return 0


SMOKE = {"small": True, "episodes": 1, "repeats": 1}
main = Program(run, ScalingOptions, __doc__, SMOKE)

if __name__ == "__main__":
    sys.exit(main())
