"""Learning of LAD-TS on the paper's edge network over several seeds, beside the greedy oracle on the same arrivals.

    python experiments/learning.py --seeds 5 --episodes 100

Trains one run per seed with ``experiments/train.py`` (finished runs are kept, so that it can be interrupted), and
writes into ``experiments/results/``: every episode of every seed (CSV), a table as mean +- sd over seeds (CSV and
Markdown), and a picture.
"""

from __future__ import annotations

import argparse
import platform
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from rich.progress import Progress

from lad_rllib import names
from lad_rllib.cli.run_folder import source_commit

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402

FOLDER = Path(__file__).resolve().parent
TRAIN = FOLDER / "train.py"
# First and last episode of a window, and what the published code reached there in one run (ratio to the oracle).
WINDOWS = {(51, 60): 1.15, (91, 100): 1.07}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="runs, with seeds 0, 1, ... (default: 5)")
    parser.add_argument("--episodes", type=int, default=100, help="episodes of each run (default: 100)")
    parser.add_argument("--preset", default="published_code", help="published_code (default) or paper")
    parser.add_argument("--parallel", type=int, default=1, help="runs at a time (default: 1)")
    parser.add_argument("--runs", type=Path, default=Path("results/learning"), help="folder of the single runs")
    parser.add_argument("--output", type=Path, default=FOLDER / "results", help="folder of the results")
    options = parser.parse_args()
    if options.seeds < 1 or options.episodes < 1:
        parser.error("--seeds and --episodes must be at least 1")
    options.output.mkdir(parents=True, exist_ok=True)
    curves = train_all(options)
    stem = f"learning_{options.preset}"
    curves.to_csv(options.output / f"{stem}.csv", index=False)
    table = summary(curves)
    table.to_csv(options.output / f"{stem}_summary.csv", index=False)
    text = describe(table, options)
    (options.output / f"{stem}.md").write_text(text, encoding="utf-8")
    plot(curves, options.output / f"{stem}.png", options)
    print(text)
    return 0


def train_all(options: argparse.Namespace) -> pd.DataFrame:
    """Progress of all seeds in one tidy table."""
    with Progress() as progress, ThreadPoolExecutor(options.parallel) as pool:
        task = progress.add_task("runs", total=options.seeds)
        futures = [pool.submit(train_one, options, seed) for seed in range(options.seeds)]
        for future in futures:
            future.result()
            progress.advance(task)
    frames = [
        pd.read_csv(run_folder(options, seed) / "progress.csv").assign(seed=seed) for seed in range(options.seeds)
    ]
    columns = ["seed", "episodes", names.MEAN_DELAY, *names.YARDSTICKS.values(), names.DELAY_OVER_ORACLE, "seconds"]
    curves = pd.concat(frames, ignore_index=True)[columns]
    return curves[curves["episodes"] <= options.episodes]


def run_folder(options: argparse.Namespace, seed: int) -> Path:
    return options.runs / f"{options.preset}_seed{seed}"


def train_one(options: argparse.Namespace, seed: int) -> None:
    """Train one seed, or go on with it."""
    folder = run_folder(options, seed)
    if (folder / "progress.csv").exists() and len(pd.read_csv(folder / "progress.csv")) >= options.episodes:
        return
    command = [sys.executable, str(TRAIN), "--seed", str(seed), "--episodes", str(options.episodes), "--quiet"]
    command += ["--preset", options.preset, "--output", str(folder)]
    command += ["--resume"] if (folder / "checkpoint").exists() else ["--overwrite"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise SystemExit(f"seed {seed} failed: {result.stderr.strip().splitlines()[-1]}")


def summary(curves: pd.DataFrame) -> pd.DataFrame:
    """Mean and sd over seeds of each window's mean delay and of its ratio to the greedy oracle."""
    rows = []
    for (first, last), published in WINDOWS.items():
        window = curves[curves["episodes"].between(first, last)]
        if window.empty:
            continue
        by_seed = window.groupby("seed")[[names.MEAN_DELAY, *names.YARDSTICKS.values()]].mean()
        ratio = by_seed[names.MEAN_DELAY] / by_seed[names.ORACLE_DELAY]
        rows.append(
            {
                "episodes": f"{first}-{last}",
                "seeds": len(by_seed),
                "mean_service_delay_s": by_seed[names.MEAN_DELAY].mean(),
                "mean_service_delay_sd_s": by_seed[names.MEAN_DELAY].std(),
                **by_seed[list(names.YARDSTICKS.values())].mean(),
                "delay_over_oracle": ratio.mean(),
                "delay_over_oracle_sd": ratio.std(),
                "published_code_over_oracle": published,
            }
        )
    return pd.DataFrame(rows)


def describe(table: pd.DataFrame, options: argparse.Namespace) -> str:
    """The table in Markdown, with what is needed to make it again."""
    lines = [
        f"# Learning on the paper's edge network, preset `{options.preset}`",
        "",
        "Mean over seeds ± sd. All schedulers had the same arrivals; water-filling and capacity-proportional choose at",
        "random and learn nothing. Ratio: LAD-TS over the greedy oracle.",
        "",
        "| episodes | seeds | LAD-TS, s | greedy oracle, s | water-filling, s | capacity-proportional, s | ratio "
        "| ratio of the published code, one run |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in table.to_dict("records"):
        lines.append(
            f"| {row['episodes']} | {row['seeds']} "
            f"| {row['mean_service_delay_s']:.2f} ± {row['mean_service_delay_sd_s']:.2f} "
            + "".join(f"| {row[column]:.2f} " for column in names.YARDSTICKS.values())
            + f"| {row['delay_over_oracle']:.3f} ± {row['delay_over_oracle_sd']:.3f} "
            f"| {row['published_code_over_oracle']:.2f} |"
        )
    lines += [
        "",
        f"Command: `python {shlex.join(['experiments/learning.py', *sys.argv[1:]])}`; commit {source_commit()}; "
        f"{platform.machine()}, Python {platform.python_version()}.",
        "",
    ]
    return "\n".join(lines)


def plot(curves: pd.DataFrame, path: Path, options: argparse.Namespace) -> None:
    """Ratio to the greedy oracle: every seed thin, mean over seeds thick, sd as a band."""
    table = curves.pivot(index="episodes", columns="seed", values=names.DELAY_OVER_ORACLE)
    mean, sd = table.mean(axis=1), table.std(axis=1).fillna(0.0)
    figure, axes = pyplot.subplots(figsize=(8, 4.5))
    axes.plot(table.index, np.asarray(table), color="#0b6fa4", alpha=0.2, linewidth=0.8)
    axes.plot(table.index, mean, color="#0b6fa4", linewidth=2, label=f"LAD-TS, mean of {table.shape[1]} seeds ± sd")
    axes.fill_between(table.index, mean - sd, mean + sd, color="#0b6fa4", alpha=0.15)
    axes.axhline(1.0, color="#c1440e", label="greedy oracle (Opt-TS), same arrivals")
    ratios = curves.groupby("episodes")[list(names.YARDSTICKS.values())].mean().rolling(10, min_periods=1).mean()
    for column, colour in ((names.WATER_FILLING_DELAY, "#6aa84f"), (names.PROPORTIONAL_DELAY, "#8a8a8a")):
        label = f"{column.removesuffix('_delay_s').replace('_', ' ')}, mean of ten episodes"
        axes.plot(ratios.index, ratios[column] / ratios[names.ORACLE_DELAY], color=colour, label=label)
    axes.set_xlabel("episode")
    axes.set_ylabel("mean delay / greedy oracle's")
    axes.set_title(f"LAD-TS ({options.preset}) on the paper's edge network")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(main())
