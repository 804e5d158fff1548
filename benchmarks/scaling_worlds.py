"""How training over random fleets scales: worlds per hour against env runners, learners, staleness and batch.

    python -m benchmarks.scaling_worlds                      # about half an hour on two cores
    python -m benchmarks.scaling_worlds --parts emulated     # only how many runners one driver can serve

LAD-Dispatch as the policy any-fleet is trained (800 sampled requests of each world, 40 gradient steps an iteration, 512
requests in each), on worlds of 16 servers and 6,000 requests, which all take about as long. Measured: each arrangement
takes turns with the base line, one remote runner, in the same process; speed-ups are by wall time, median over repeats.
Machines are rarely idle, so CPU seconds are counted, too: of the driver, of learning, of each runner, of Ray's own
processes; and from them the worlds per hour if each of these processes had a core of its own. Emulated: runners that
sleep as long as the CPU took to play a world, and send what that world gave, so that many of them fit on few cores; the
driver's work and learning in it are real, and the speed-up is over one runner that never waits.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pandas as pd
import psutil  # Ray brings it
import ray
from pydantic import Field

from benchmarks.report import RESULTS, provenance, show, write_page
from benchmarks.scaling_points import HOUR_S, undisturbed_per_hour
from lad_rllib import durable
from lad_rllib.algorithms.lad_dispatch import LADDispatchConfig
from lad_rllib.algorithms.lad_dispatch.env_runner import Lesson
from lad_rllib.cli.program import Program
from lad_rllib.envs import RequestFleetEnv
from lad_rllib.runs.options import Count, RayOptions, option

WORLD = {"preset": "any-fleet", "fleets": {"servers": [16, 16], "requests": [6000, 6000]}}
BATCH, WORLDS = 512, 4
PARTS = ("runners", "staleness", "batch", "learners", "emulated")
ABOUT = ("command", "commit", "machine", "versions")
EMULATED = (1, 2, 4, 8, 16, 32, 64, 128)


@dataclass(frozen=True)
class Arrangement:
    """How a training is spread over processes.

    Attributes:
        part: What is changed.
        runners: Remote env runners; 0 plays in the driver.
        worlds: Worlds of an iteration, of all runners together.
        learners: Remote learners; 0 learns in the driver.
        staleness: ``max_staleness``.
        batch: Requests in a gradient step, of all learners together.
    """

    part: str
    runners: int = 1
    worlds: int = WORLDS
    learners: int = 0
    staleness: int = 1
    batch: int = BATCH


BASE = Arrangement("base line")
ARRANGEMENTS = {
    "runners": [Arrangement("runners", runners) for runners in (0, 2)],
    "staleness": [
        *(Arrangement("staleness", runners, staleness=0) for runners in (1, 2)),
        Arrangement("staleness", 2, staleness=3),
    ],
    "learners": [Arrangement("learners", learners=learners) for learners in (1, 2)],
    "batch": [Arrangement("batch", 2, worlds=worlds, batch=BATCH * worlds // WORLDS) for worlds in (8, 16)],
}


class ScalingWorldsOptions(RayOptions):
    """What is measured."""

    command: ClassVar[str] = "scaling_worlds"
    title = "measurements"

    parts: Annotated[list[Literal[PARTS]], Field(min_length=1)] = option(  # type: ignore[valid-type]
        list(PARTS), "what to change"
    )
    emulated: list[Count] = option(list(EMULATED), "numbers of emulated runners", "N")
    iterations: Count = option(5, "iterations of one measurement", "N")
    repeats: Count = option(5, "measurements of each arrangement", "N")
    small: bool = option(False, "small worlds and few gradient steps")
    output: str = option(str(RESULTS), "output folder", "DIR")


class SleepingRunners:
    """Stands for many env runners: each request sleeps as long as a world took, and gives what that gave.

    Args:
        lessons: What was learned from the world.
        metrics: What its runner told.
        state: That runner's state.
        world_s: What it took [s].
    """

    def __init__(self, lessons: list[Lesson], metrics: Any, state: dict[str, Any], world_s: float) -> None:
        self._given, self._metrics, self._state, self._world_s = lessons, metrics, state, world_s

    def apply(self, func: Callable[..., Any], **arguments: Any) -> Any:
        """What RLlib calls of a runner."""
        return func(self, **arguments)

    def set_state(self, state: dict[str, Any]) -> None:
        """Take weights."""

    def collect(self, fragment: int | None) -> list[Lesson]:
        """Sleep."""
        time.sleep(self._world_s)
        return self._given

    def for_the_way(self, lessons: list[Lesson]) -> list[Lesson]:
        """As a runner does."""
        return [replace(lesson, tables=[ray.put([table]) for table in lesson.tables]) for lesson in lessons]

    def get_metrics(self) -> Any:
        """What the runner told."""
        return self._metrics

    def get_runner_state(self) -> dict[str, Any]:
        """The runner's state."""
        return self._state

    def stop(self) -> None:
        """End, as the others do."""


def _one_world(runner: Any) -> tuple[list[Lesson], Any, dict[str, Any], float]:
    """Runs on a runner: what one world gives, and its CPU time, once all is compiled."""
    began = time.process_time()
    lessons = runner.collect()
    seconds = time.process_time() - began
    return lessons, runner.get_metrics(), runner.get_runner_state(), seconds


@dataclass(frozen=True)
class Run:
    """What one measurement saw [s]: wall time, and CPU time of each part.

    Attributes:
        worlds: Worlds that were learned from.
        wall_s: Wall time.
        driver_s: The driver, without what it plays and learns itself.
        learning_s: Learning: in the driver, or of the remote learners.
        playing_s: Playing: in the driver, or of the remote runners, or what emulated ones slept.
        ray_s: Ray's own processes.
    """

    worlds: int
    wall_s: float
    driver_s: float
    learning_s: float
    playing_s: float
    ray_s: float

    @property
    def world_s(self) -> float:
        """Wall time of a world [s]."""
        return self.wall_s / self.worlds

    @property
    def driver_share(self) -> float:
        """The driver's share of all work but Ray's own."""
        return self.driver_s / (self.driver_s + self.learning_s + self.playing_s)


@dataclass
class Clocks:
    """CPU clocks of a training's processes."""

    algorithm: Any
    inside: dict[str, float] = field(default_factory=lambda: {"learning": 0.0, "playing": 0.0})

    def __post_init__(self) -> None:
        self._time("learning", self.algorithm, "learn_from")
        if not self.algorithm.rollouts.are_remote:
            self._time("playing", self.algorithm.env_runner, "collect")

    def _time(self, name: str, owner: Any, method: str) -> None:
        """Count the driver's CPU time in a method."""
        inner = getattr(owner, method)

        def timed(*args: Any) -> Any:
            began = time.process_time()
            result = inner(*args)
            self.inside[name] += time.process_time() - began
            return result

        setattr(owner, method, timed)

    def read(self) -> dict[str, float]:
        """Seconds so far."""
        algorithm, inside = self.algorithm, dict(self.inside)
        learners, runners = algorithm.config.num_learners, algorithm.rollouts.are_remote
        now = {"driver": time.process_time() - inside["playing"], "playing": inside["playing"], "learning": 0.0}
        if runners:
            seconds = algorithm.env_runner_group.foreach_env_runner(_process_time, local_env_runner=False)
            now["playing"] = sum(seconds)
        if learners:  # what the driver does meanwhile is to wait
            now["learning"] = sum(each.get() for each in algorithm.learner_group.foreach_learner(_process_time))
        else:
            now["learning"] = inside["learning"]
            now["driver"] -= inside["learning"]
        return now | {"ray": _ray_s(), "wall": time.perf_counter()}


def _process_time(_: Any) -> float:
    return time.process_time()


def _ray_s() -> float:
    """CPU time of what Ray has started here beside workers [s]."""
    names = ("gcs_server", "raylet")
    own = [process for process in psutil.Process().children(recursive=True) if process.name() in names]
    return sum(sum(process.cpu_times()[:2]) for process in own)


@contextlib.contextmanager
def training(arrangement: Arrangement, small: bool) -> Iterator[tuple[Any, Clocks]]:
    """An algorithm that has everything compiled, and its clocks; its processes end with the block."""
    algorithm = configuration(arrangement, small).build_algo()
    try:
        for _ in range(2 + arrangement.staleness):
            algorithm.train()
        yield algorithm, Clocks(algorithm)
    finally:
        algorithm.stop()


def configuration(arrangement: Arrangement, small: bool) -> LADDispatchConfig:
    """The algorithm's configuration."""
    setting = {"preset": "any-fleet", "fleets": {"servers": [3, 3], "requests": [60, 60]}} if small else WORLD
    steps = {"sampled_requests": 20, "updates_per_iteration": 2} if small else {"sampled_requests": 800}
    return (
        LADDispatchConfig()
        .environment(RequestFleetEnv, env_config={"setting": setting})
        .training(
            **{"updates_per_iteration": 40, **steps},
            train_batch_size_per_learner=arrangement.batch // max(arrangement.learners, 1),
            max_staleness=arrangement.staleness if arrangement.runners else 0,
        )
        .env_runners(
            num_env_runners=arrangement.runners,
            num_envs_per_env_runner=arrangement.worlds // max(arrangement.runners, 1),
        )
        .learners(num_learners=arrangement.learners)
        .debugging(seed=1, log_level="ERROR")
    )


def run_of(algorithm: Any, clocks: Clocks, arrangement: Arrangement, iterations: int) -> Run:
    """Train for some iterations."""
    before = clocks.read()
    for _ in range(iterations):
        algorithm.train()
    after = clocks.read()
    spent = {name: after[name] - before[name] for name in after}
    worlds = iterations * arrangement.worlds
    return Run(worlds, *(spent[name] for name in ("wall", "driver", "learning", "playing", "ray")))


def row_of(arrangement: Arrangement, runs: Sequence[Run], base: Sequence[Run]) -> dict[str, Any]:
    """Figures of an arrangement: medians over its runs; speed-ups over the base line's runs around each of them."""
    around = zip(base, base[1:], strict=False)
    ups = [(one.world_s + two.world_s) / 2 / run.world_s for run, (one, two) in zip(runs, around, strict=True)]
    per_world = {
        f"{part.name}_per_world": statistics.median(getattr(run, part.name) / run.worlds for run in runs)
        for part in fields(Run)
        if part.name not in ("worlds", "wall_s")
    }
    return asdict(arrangement) | {
        "repeats": len(runs),
        "worlds_per_hour": HOUR_S / statistics.median(run.world_s for run in runs),
        "speed_up": statistics.median(ups),
        "speed_up_min": min(ups),
        "speed_up_max": max(ups),
        "driver_share": statistics.median(run.driver_share for run in runs),
        **per_world,
    }


def measure(arrangement: Arrangement, base: tuple[Any, Clocks], options: ScalingWorldsOptions) -> dict[str, Any]:
    """Row of an arrangement, which takes turns with the base line."""
    with training(arrangement, options.small) as (algorithm, clocks):
        base_runs, runs = [run_of(*base, BASE, options.iterations)], []
        for _ in range(options.repeats):
            runs.append(run_of(algorithm, clocks, arrangement, options.iterations))
            base_runs.append(run_of(*base, BASE, options.iterations))
    return row_of(arrangement, runs, base_runs)


def measure_emulated(numbers: Sequence[int], options: ScalingWorldsOptions) -> Iterator[dict[str, Any]]:
    """Rows of one driver that serves so many emulated runners; the speed-up is over one that never waits."""
    with training(replace(BASE, worlds=1), options.small) as (algorithm, clocks):
        group = algorithm.env_runner_group
        *given, world_s = group.foreach_env_runner(_one_world, local_env_runner=False)[0]
        manager = group._worker_manager
        algorithm.rollouts.restart({})
        own = [manager.remove_actor(index) for index in manager.actor_ids()]
        actor = ray.remote(SleepingRunners).options(num_cpus=0, max_concurrency=max(numbers))
        sleeping = actor.remote(*given, world_s)
        for number in sorted(numbers):
            manager.add_actors([sleeping] * (number - manager.num_actors()))
            arrangement = Arrangement("emulated", number, worlds=number)
            for _ in range(2):
                algorithm.train()
            runs = [run_of(algorithm, clocks, arrangement, options.iterations) for _ in range(options.repeats)]
            runs = [replace(run, playing_s=world_s * run.worlds) for run in runs]
            busy = [replace(run, wall_s=run.playing_s) for run in runs]
            yield row_of(arrangement, runs, [busy[0], *busy])
        for runner in own:
            ray.kill(runner)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The figures that a reader looks at first."""
    return show([_table_row(row) for row in rows])


def _table_row(row: dict[str, Any]) -> dict[str, Any]:
    ms = {name: f"{row[f'{name}_s_per_world'] * 1e3:.1f}" for name in ("playing", "learning", "driver", "ray")}
    return {
        "changed": row["part"],
        "runners": row["runners"],
        "learners": row["learners"],
        "worlds": row["worlds"],
        "batch": row["batch"],
        "staleness": row["staleness"],
        "worlds/h": row["worlds_per_hour"],
        "speed-up": f"{row['speed_up']:.2f} ({row['speed_up_min']:.2f}-{row['speed_up_max']:.2f})",
        "with a core each, worlds/h": undisturbed_per_hour(row),
        **{f"{name}, CPU ms a world": value for name, value in ms.items()},
        "driver's share": f"{row['driver_share']:.1%}",
    }


def write_results(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write the rows and a page of them; rows of an earlier run that has measured other parts stay."""
    path, frame = folder / "scaling_worlds.csv", pd.DataFrame(rows)
    if path.exists():
        before = pd.read_csv(path)
        frame = pd.concat([before[~before["part"].isin(frame["part"])], frame])
    durable.write_file(path, frame.to_csv(index=False))
    about = {name: "; ".join(map(str, frame[name].unique())) for name in ABOUT}
    method = (__doc__ or "").split("\n\n", 2)[2].strip()
    title = "Scaling of training over random fleets"
    write_page(folder / "scaling_worlds.md", title, about, method, table(frame.to_dict("records")))


def run(options: ScalingWorldsOptions) -> int:
    """Measure all arrangements; returns the exit status."""
    from lad_rllib.runs import cluster
    from lad_rllib.runs.output_folder import writable_folder

    warnings.filterwarnings("ignore")
    folder = writable_folder(options.output)
    arranged = [one for part in options.parts for one in ARRANGEMENTS.get(part, [])]
    most = max((one.runners + one.learners for one in arranged), default=0)
    cluster.start_ray(options, num_cpus=3 + most)
    about, rows = provenance(f"{os.cpu_count()} cores"), list[dict[str, Any]]()

    def add(row: dict[str, Any]) -> None:
        rows.append(row | about)
        write_results(folder, rows)
        print(*(table(rows).splitlines() if len(rows) == 1 else [table(rows).splitlines()[-1]]), sep="\n", flush=True)

    if arranged:
        with training(BASE, options.small) as base:
            for arrangement in arranged:
                add(measure(arrangement, base, options))
    if "emulated" in options.parts:
        for row in measure_emulated(options.emulated, options):
            add(row)
    return 0


SMOKE = {"small": True, "iterations": 1, "repeats": 1, "parts": ["runners", "emulated"], "emulated": [2]}
main = Program(run, ScalingWorldsOptions, __doc__, SMOKE)

if __name__ == "__main__":
    sys.exit(main())
