"""Learning of LAD-TS on the paper's edge network over several seeds, beside the greedy oracle on the same arrivals.

    python experiments/learning.py --seeds 5 --episodes 100
    python experiments/learning.py --methods lad-ts d2sac-ts sac-ts dqn-ts --seeds 5 --episodes 500

Trains one run per seed as a trial of Ray Tune, so that a cluster trains them side by side, and writes into --output:
every episode of every seed (CSV), a table as mean +- sd over seeds (CSV and Markdown), and a picture. With other or
several methods, they are compared in files methods*, with the episode at which each has converged.
"""

from __future__ import annotations

import argparse
import platform
import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from experiments.comparison import methods, pictures  # noqa: E402
from experiments.comparison.runs import (  # noqa: E402
    Case,
    add_methods_argument,
    add_run_arguments,
    shared_configuration,
)
from lad_rllib import names  # noqa: E402
from lad_rllib.cli import flags  # noqa: E402
from lad_rllib.errors import ConfigurationError  # noqa: E402
from lad_rllib.runs import cluster  # noqa: E402
from lad_rllib.runs.command import run_command  # noqa: E402
from lad_rllib.runs.configuration import algorithm_config  # noqa: E402
from lad_rllib.runs.options import check_at_least  # noqa: E402
from lad_rllib.runs.output_folder import writable_folder  # noqa: E402
from lad_rllib.runs.provenance import command_line, source_commit  # noqa: E402
from lad_rllib.runs.storage import SharedCopy  # noqa: E402

OURS = "lad-ts"
# First and last episode of a window, and what the published code reached there in one run (ratio to the oracle).
WINDOWS = {(51, 60): 1.15, (91, 100): 1.07}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_run_arguments(parser, output="results/learning", seeds=5, episodes=100)
    add_methods_argument(parser, [OURS])
    flags.add_smoke(parser, setting="small", seeds=2, episodes=4, checkpoint_every=1)
    parsed = parser.parse_args(arguments)
    parsed.command = "learning"
    return parsed


def run(parsed: argparse.Namespace) -> int:
    """Train, and write; returns the exit status."""
    if parsed.methods != [OURS]:
        return methods.run(parsed)
    from lad_rllib.runs.search import SearchPlan, experiment_path, run_search
    from lad_rllib.runs.search_report import SearchProgress, quiet_tune
    from lad_rllib.runs.search_results import episode_table
    from lad_rllib.runs.search_space import SearchSpace

    quiet_tune()
    check_at_least(1, parsed, "seeds", "episodes", "checkpoint_every")
    output = writable_folder(parsed.output)
    configuration = shared_configuration(parsed, [Case(OURS, OURS)])
    preset = configuration["training"].get("preset", "published_code")
    stem = f"learning_{preset}"
    storage = parsed.storage_path or str(output.resolve() / "experiment")
    copy = SharedCopy(output, parsed.storage_path, f"{stem}-results")
    plan = SearchPlan(
        name=stem,
        algorithm=algorithm_config(configuration),
        space=SearchSpace({}, {}),
        given=({},),
        scheduler="none",
        episodes=parsed.episodes,
        seeds=tuple(range(parsed.seeds)),
        seeds_as_grid=True,
        max_concurrent=parsed.max_concurrent,
        checkpoint_every=parsed.checkpoint_every,
        callbacks=(SearchProgress(parsed.episodes),),
    )
    cluster.start_ray(parsed, num_cpus=2 + parsed.num_env_runners + parsed.num_learners)
    print(f"writing to {copy.place}; runs and checkpoints: {experiment_path(storage, plan.name)}")
    outcomes = run_search(plan, storage, resume=parsed.resume)
    if failed := [outcome for outcome in outcomes if outcome.error]:
        raise ConfigurationError(f"{len(failed)} of {len(outcomes)} runs failed; go on with them with --resume")
    curves = curves_of(episode_table(outcomes), {outcome.trial: outcome.config["seeds"] for outcome in outcomes})
    curves.to_csv(output / f"{stem}.csv", index=False)
    table = summary(curves, parsed.episodes)
    table.to_csv(output / f"{stem}_summary.csv", index=False)
    text = describe(table, preset, configuration["setting"]["name"])
    (output / f"{stem}.md").write_text(text, encoding="utf-8")
    plot(curves, output / f"{stem}.png", preset)
    copy.push()
    print(text)
    return 0


def curves_of(episodes: pd.DataFrame, seeds: dict[str, int]) -> pd.DataFrame:
    """Every episode of every seed."""
    curves = episodes.assign(seed=episodes["trial"].map(seeds))
    curves[names.MEAN_DELAY] = curves["iteration_delay_s"]  # not the mean of the last ones
    curves[names.DELAY_OVER_ORACLE] = curves[names.MEAN_DELAY] / curves[names.ORACLE_DELAY]
    columns = ["seed", "episodes", names.MEAN_DELAY, *names.YARDSTICKS.values(), names.DELAY_OVER_ORACLE]
    return curves[columns].sort_values(["seed", "episodes"], ignore_index=True)


def summary(curves: pd.DataFrame, episodes: int) -> pd.DataFrame:
    """Mean and sd over seeds of each window's mean delay and of its ratio to the greedy oracle."""
    rows = []
    windows: dict[tuple[int, int], float] = {
        window: ratio for window, ratio in WINDOWS.items() if window[1] <= episodes
    }
    for (first, last), published in (windows or {(max(1, episodes - 9), episodes): float("nan")}).items():
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


def describe(table: pd.DataFrame, preset: str, setting: str) -> str:
    """The table in Markdown, with what is needed to make it again."""
    lines = [
        f"# Learning on setting `{setting}`, preset `{preset}`",
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
        f"Command: `{command_line()}`; commit {source_commit()}; "
        f"{platform.machine()}, Python {platform.python_version()}.",
        "",
    ]
    return "\n".join(lines)


def plot(curves: pd.DataFrame, path: Path, preset: str) -> None:
    """Ratio to the greedy oracle: every seed thin, mean over seeds thick, sd as a band."""
    table = curves.pivot(index="episodes", columns="seed", values=names.DELAY_OVER_ORACLE)
    mean, sd = table.mean(axis=1), table.std(axis=1).fillna(0.0)
    figure, axes = pictures.pyplot().subplots(figsize=(8, 4.5))
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
    axes.set_title(f"LAD-TS ({preset}) on the paper's edge network")
    axes.grid(alpha=0.3)
    axes.legend()
    pictures.save(figure, path, dpi=130)


if __name__ == "__main__":
    sys.exit(run_command(run, parse()))
