"""What a search leaves: tables, the best configuration, pictures, a summary; and progress on the way."""

from __future__ import annotations

import logging
import os
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from ray import tune

from lad_rllib.runs import plots_of_search
from lad_rllib.runs.over_seeds import over_seeds
from lad_rllib.runs.search import SearchPlan
from lad_rllib.runs.search_results import (
    DONE,
    FAILED,
    INTERRUPTED,
    STOPPED_EARLY,
    TrialOutcome,
    best_trials,
    episode_table,
    hyperparameters,
    trial_table,
)
from lad_rllib.runs.tables import summary_table
from lad_rllib.runs.trial import SCORE, WINDOW

_PROGRESS_PERIOD_S = 20.0


def quiet_tune() -> None:
    """Keep Ray Tune from printing its own tables, and tracebacks of failures that are told and kept anyway."""
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)


class SearchProgress(tune.Callback):
    """Prints how far the search is, now and then.

    Args:
        episodes: Most episodes of a trial.
    """

    def __init__(self, episodes: int) -> None:
        self._episodes = episodes
        self._began = time.time()
        self._printed = 0.0
        self._best = (float("inf"), "")

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        """See :class:`ray.tune.Callback`."""
        if result["episodes"] >= min(self._episodes, WINDOW):
            self._best = min(self._best, (result[SCORE], trial.trial_id))
        if time.time() - self._printed > _PROGRESS_PERIOD_S:
            self._print(trials)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """See :class:`ray.tune.Callback`."""
        print(f"trial {trial.trial_id} failed", file=sys.stderr, flush=True)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """See :class:`ray.tune.Callback`."""
        print(f"trial {trial.trial_id} was lost and goes on from its last checkpoint", file=sys.stderr, flush=True)

    def _print(self, trials: list[Any]) -> None:
        self._printed = time.time()
        count = {status: sum(trial.status == status for trial in trials) for status in ("RUNNING", "TERMINATED")}
        best = f"; best so far {self._best[0]:.3f} x oracle (trial {self._best[1]})" if self._best[1] else ""
        print(
            f"[{(time.time() - self._began) / 60:.1f} min] trials: {count['TERMINATED']} ended, "
            f"{count['RUNNING']} running{best}",
            file=sys.stderr,
            flush=True,
        )


class SearchReport:
    """Tables of a search.

    Args:
        plan: The search.
        outcomes: What became of its trials.
        seconds: How long it took, since it was started or resumed [s].
        described: Everything that it depended on.
        interrupted: Whether a signal ended it.
    """

    def __init__(
        self,
        plan: SearchPlan,
        outcomes: list[TrialOutcome],
        seconds: float,
        described: dict[str, Any],
        interrupted: bool = False,
    ) -> None:
        self.plan, self.seconds, self.described, self._interrupted = plan, seconds, described, interrupted
        self.searched = list(plan.space.ranges)
        self.trials = trial_table(outcomes, self.searched, plan.episodes)
        self.episodes = episode_table(outcomes)
        self._best_rows = best_trials(self.trials, self.searched)
        self.best = None if self._best_rows.empty else hyperparameters(self._best_rows, self.searched)
        self.failed = int((self.trials["status"] == FAILED).sum())
        self._confirmation = ""
        self._files: list[str] = []

    def write(self, output: Path) -> None:
        """Write tables, best configuration, pictures and summary."""
        self.trials.to_csv(output / "trials.csv", index=False)
        self.episodes.to_csv(output / "episodes.csv", index=False)
        self._files = ["trials.csv", "episodes.csv"]
        if self.best is not None:
            self._write_best(output / "best.yaml")
            self._files.append("best.yaml")
        self._files += plots_of_search.plot_search(
            self.trials, self.episodes, {name: kind for name, (kind, _) in self.plan.space.ranges.items()}, output
        )
        self._write_summary(output)

    def _write_best(self, file: Path) -> None:
        assert self.best is not None
        rows = self._best_rows
        training = {**self.described["configuration"]["training"], **self.plan.space.fixed, **self.best}
        note = (
            f"# Best of {len(self.trials)} trials: {rows[SCORE].mean():.4f} x the greedy oracle's delay over the last "
            f"{self._span}, seeds {', '.join(rows['seeds'])}.\n"
            f"# Made by: {self.described['configuration']['command']}\n"
            "# Train with it: lad-rllib train --config THIS_FILE\n"
        )
        file.write_text(note + yaml.safe_dump({"training": training}, sort_keys=False), encoding="utf-8")

    @property
    def _span(self) -> str:
        """Episodes that the best configuration's score covers."""
        reached = int(self._best_rows["episodes"].min())
        asked = "" if reached >= self.plan.episodes else f" ({self.plan.episodes} were asked for)"
        return f"{min(WINDOW, reached)} of {reached} episodes{asked}"

    @property
    def _cut(self) -> list[str]:
        """A line that says what a signal or the time budget cut off, if anything."""
        of_status, total = self.trials["status"], self.plan.number_of_trials
        trained = self.trials["episodes"].fillna(0)
        short = (of_status == INTERRUPTED) & (trained > 0)
        idle = total - len(self.trials) + int(((of_status == INTERRUPTED) & ~short).sum())
        if not (self._interrupted or short.any() or idle):
            return []
        by_budget = not self._interrupted and self.plan.time_budget_s is not None
        cause = f"ended by the time budget of {self.plan.time_budget_s:g} s" if by_budget else "interrupted"
        missing = int((self.plan.episodes - trained[short]).sum())
        return [
            f"{cause}: of {total} trials {int(short.sum())} were cut short, by {missing} episodes, and {idle} not begun"
        ]

    def confirm(self, table: pd.DataFrame, output: Path) -> None:
        """Add what the best configuration and the defaults did with fresh seeds."""
        table.to_csv(output / "confirmation.csv", index=False)
        self._files.append("confirmation.csv")
        done = table[table["status"] == DONE].assign(seed=table["seeds"])
        numbers = ["mean_service_delay_s", SCORE]
        last = int(table["episodes"].max())
        titles = {"configuration": f"episodes {max(1, last - WINDOW + 1)}-{last}", "seeds": "fresh seeds"}
        titles |= {"mean_service_delay_s": "mean delay, s", SCORE: "over greedy oracle"}
        self._confirmation = summary_table(over_seeds(done, ["configuration"], numbers, numbers), titles)
        self._write_summary(output)

    @property
    def text(self) -> str:
        """The summary."""
        count = self.trials["status"].value_counts()
        plan, done = self.plan, self.trials[self.trials["status"] == DONE]
        interrupted = f"{count[INTERRUPTED]} interrupted, " if INTERRUPTED in count else ""
        lines = [
            f"{len(self.trials)} trials ({count.get(DONE, 0)} to the end, {count.get(STOPPED_EARLY, 0)} stopped "
            f"early, {interrupted}{self.failed} failed) in {self.seconds / 60:.1f} min",
            *self._cut,
            f"setting {self.described['configuration']['setting'].get('name', 'paper')}, {plan.episodes} episodes, "
            f"search {plan.search}, scheduler {plan.scheduler}, seeds {', '.join(map(str, plan.seeds))}"
            f"{' as a grid' if plan.seeds_as_grid else ''}",
        ]
        if self.best is not None:
            median = f"; median of those to the end: {done[SCORE].median():.3f}" if len(done) else ""
            lines += [
                f"best: {self._best_rows[SCORE].mean():.3f} x the greedy oracle's delay over the last {self._span} "
                f"({self._best_rows['mean_service_delay_s'].mean():.2f} s){median}",
                "with " + ", ".join(f"{name} {_shown(value)}" for name, value in self.best.items()),
            ]
        if self.failed:
            lines.append(f"first failure: {self.trials.loc[self.trials['status'] == FAILED, 'error'].iloc[0]}")
        if find_spec("optuna") is None:
            lines.append("no pictures of parameters: pip install 'lad-rllib[tune]'")
        text = "\n".join(lines)
        return f"{text}\n\n{self._confirmation}\n" if self._confirmation else f"{text}\n"

    def _write_summary(self, output: Path) -> None:
        command = self.described["configuration"]["command"]
        pictures = "\n".join(f"![{Path(file).stem}]({file})" for file in self._files if file.endswith(".png"))
        text = f"# Hyperparameter search\n\n{self.text}\nCommand: `{command}`\n\n{pictures}\n"
        (output / "summary.md").write_text(text, encoding="utf-8")


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
