"""What swaps, images at once and interruptions cost on an edge server, and how well it predicts its delays.

    python -m benchmarks.edge_models                two minutes; writes benchmarks/results/edge_models.md and .csv
    python -m benchmarks.edge_models --wall         the same by the wall clock, on a machine that does nothing else

The embedded model twice under two names, of which one fits into memory, on one core. Clocks show the processor time of
this process, so that other work on the machine does not count; every figure is a median of repetitions in turn. Delays
are predicted at submission: of tasks that come one after the other, and of batches that wait in the order of service.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np

from benchmarks.report import RESULTS, provenance, show, write_figures, write_page
from lad_rllib.edge import DiffusersEngine, EdgeServer, ImageTask, TaskRecord, embedded_model_path

REPEATS, STEPS, INTERRUPTIONS, TASKS, FIRST = 11, 20, 5, 90, 20
BATCHES, BATCH_STEPS = 24, (8, 16, 24, 32)
MIN_SWAP_S = 1e-3
MODELS = ("digits", "figures")
ERROR_GOAL = 0.1


def seconds(call: Callable[[], object]) -> float:
    """Time of a call [s]."""
    begin_s = time.perf_counter()
    call()
    return time.perf_counter() - begin_s


def draw(engine: DiffusersEngine, task: ImageTask, at: Sequence[int] = (), other: ImageTask | None = None) -> None:
    """Draw a task, suspended after the steps ``at`` for another one."""

    def on_step(step: int) -> float:
        return seconds(lambda: draw(engine, other)) if step in at and other is not None else 0.0

    engine.generate(task, on_step)


def costs() -> list[dict[str, object]]:
    """Rows of what an engine's swaps, further images and interruptions take, in denoising steps."""
    engine = DiffusersEngine(models=dict.fromkeys(MODELS, str(embedded_model_path())), guidance=2.0)
    engine.load()
    long, short = ImageTask("long", "a red seven", STEPS), ImageTask("short", "a blue two", 1)
    at = range(2, 2 + 2 * INTERRUPTIONS, 2)
    cases: dict[str, Callable[[], object]] = {
        "long": lambda: draw(engine, long),
        "short": lambda: draw(engine, short),
        "interrupted": lambda: draw(engine, long, at, short),
        "four": lambda: draw(engine, ImageTask("four", "a red seven", STEPS, images=4)),
        "swap": lambda: draw(engine, ImageTask("swap", "a blue two", 1, model="figures")),
        "back": lambda: draw(engine, short),
    }
    taken = {name: np.array([0.0] * REPEATS) for name in cases}
    for repeat in range(-1, REPEATS):  # the first round warms up
        for name, call in cases.items():
            taken[name][max(repeat, 0)] = seconds(call)
    step_s = np.median(taken["long"] - taken["short"]) / (STEPS - 1)
    interruption_s = (taken["interrupted"] - taken["long"]) / INTERRUPTIONS - taken["short"]
    figures = {
        "a denoising step": step_s,
        "what an image takes besides its steps": np.median(taken["short"]) - step_s,
        f"four images at once, {STEPS} steps, over one": np.median(taken["four"] - taken["long"]),
        "another model into memory": np.median(np.concatenate([taken["swap"], taken["back"]]))
        - np.median(taken["short"]),
        "an interruption of an image by another": np.median(interruption_s),
    }
    return [
        {"what": what, "ms": 1000 * float(one), "denoising steps": float(one / step_s)} for what, one in figures.items()
    ]


def served() -> tuple[list[TaskRecord], list[TaskRecord], list[bool]]:
    """What one server, shortest first, makes of two models, two sizes, one or two images and 5 to 40 steps.

    Returns:
        Records of tasks that come one after the other; of the last task of each batch, which waits for those ahead of
        it in the order; and for each batch whether no task was served while a shorter one waited.
    """
    rng = np.random.default_rng(0)
    engine = DiffusersEngine(models=dict.fromkeys(MODELS, str(embedded_model_path())), guidance=2.0)

    def task(name: str, steps: int) -> ImageTask:
        side, model = int(rng.choice([16, 32])), str(rng.choice(MODELS))
        return ImageTask(name, "a red seven", steps, side, side, model=model, images=int(rng.integers(1, 3)))

    with EdgeServer("server", engine, order="shortest_first") as server:
        singles = [server.generate(task(str(number), int(rng.integers(5, 41)))).record for number in range(TASKS)]
        lasts, in_order = [], []
        for batch in range(BATCHES):
            blocker = server.submit(replace(task(f"{batch}-first", STEPS), images=2))
            alike = task("alike", 1)  # of one size, so that steps alone say which takes longer
            steps = rng.permutation(BATCH_STEPS).tolist()
            futures, submitted = {}, {}
            for each in steps:
                model = str(rng.choice(MODELS))
                futures[each] = server.submit(
                    replace(alike, task_id=f"{batch}-{each}", denoising_steps=each, model=model)
                )
                submitted[each] = time.time()
            blocker.result()
            records = {each: future.result().record for each, future in futures.items()}
            lasts.append(records[steps[-1]])
            started = {each: record.started for each, record in records.items()}
            in_order.append(
                not any(
                    longer > shorter and submitted[shorter] < started[longer] < started[shorter]
                    for longer in steps
                    for shorter in steps
                )
            )
    return singles, lasts, in_order


def error_row(name: str, records: Sequence[TaskRecord]) -> dict[str, object]:
    """How far predicted delays are from measured ones."""
    errors = [abs(one.predicted_delay_s / one.total_s - 1) for one in records if one.predicted_delay_s]
    quantiles = {"median error": float(np.median(errors)), "p90": float(np.quantile(errors, 0.9))}
    return {"predicted": name, "tasks": len(errors)} | quantiles


def main(argv: list[str] | None = None) -> int:
    """Measure, print and write the tables; returns 1 if predictions miss the goal or an order is not kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wall", action="store_true", help="measure by the wall clock instead of processor time")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for the results")
    options = parser.parse_args(argv)
    clock = time.perf_counter if options.wall else time.process_time
    with patch("time.perf_counter", clock):
        rows = costs()
        singles, lasts, in_order = served()
    singles = singles[FIRST:]
    table = [
        error_row("total delay", singles),
        error_row("total delay, model in memory", [one for one in singles if one.swap_s <= MIN_SWAP_S]),
        error_row("total delay of the last of a batch, shortest first", lasts),
    ]
    medians = [float(row["median error"]) for row in (table[0], table[2])]  # type: ignore[arg-type]
    verdicts = [
        f"{'reached' if max(medians) < ERROR_GOAL else 'missed'}: median errors are {medians[0]:.1%} one after the "
        f"other and {medians[1]:.1%} in a queue, goal {ERROR_GOAL:.0%}",
        f"{'reached' if all(in_order) else 'MISSED'}: in {sum(in_order)} of {len(in_order)} batches no task was served "
        "while a shorter one waited",
    ]
    print(show(rows), show(table), *verdicts, sep="\n\n")
    about = provenance("one thread") | {"clock": "wall" if options.wall else "processor time of this process"}
    title = "Swaps, images at once and interruptions on an edge server"
    write_page(options.output / "edge_models.md", title, about, show(rows), show(table), *verdicts)
    figures = [("costs", row["what"], key, value) for row in rows for key, value in row.items() if key != "what"]
    figures += [
        ("predictions", row["predicted"], key, value)
        for row in table
        for key, value in row.items()
        if key != "predicted"
    ]
    write_figures(options.output / "edge_models.csv", ("table", "row", "figure", "value"), figures, about)
    return int(max(medians) >= ERROR_GOAL or not all(in_order))


if __name__ == "__main__":
    sys.exit(main())
