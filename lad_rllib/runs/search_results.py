"""What a search gave, as tidy tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from ray.tune import ResultGrid

from lad_rllib import names
from lad_rllib.runs.trial import SCORE, seeds_of

COLUMNS = ("episodes", SCORE, f"{SCORE}_sd", "mean_service_delay_s", "oracle_delay_s", "training_s")
"""What each row of both tables has of a trial's results."""

ITERATION_COLUMNS = ("iteration_delay_s", *names.ALL_YARDSTICKS)
"""What a row of the episodes has besides: delays of the iteration alone [s]."""


DONE, STOPPED_EARLY, INTERRUPTED, FAILED = STATUSES = ("done", "stopped early", "interrupted", "failed")
"""What became of a trial: trained to the end; ended by the scheduler; by a signal or the time budget; failed."""


@dataclass(frozen=True)
class TrialOutcome:
    """What became of a trial.

    Attributes:
        trial: Its id.
        config: Its configuration, see :class:`~lad_rllib.runs.trial.TuningTrial`.
        metrics: Its last report; empty if there is none.
        reports: All its reports, one row each; None if there is none.
        error: What it failed with, or None.
        path: Its folder on storage.
        checkpoint: Its last checkpoint as Ray's ``Checkpoint``, with a folder ``seed_0``, ... for each seed; or None.
    """

    trial: str
    config: dict[str, Any]
    metrics: dict[str, Any]
    reports: pd.DataFrame | None
    error: Exception | None
    path: str
    checkpoint: Any = None


def outcomes_of(results: ResultGrid) -> list[TrialOutcome]:
    """What became of the trials of a Ray Tune experiment."""
    trials = results._experiment_analysis.trials  # a trial without a report has its configuration only there
    return [
        TrialOutcome(
            trial=trial.trial_id,
            config=trial.config,
            metrics=result.metrics or {},
            reports=result.metrics_dataframe,
            error=result.error,
            path=str(result.path),
            checkpoint=result.checkpoint,
        )
        for trial, result in zip(trials, results, strict=True)
    ]


def trial_table(outcomes: Sequence[TrialOutcome], searched: list[str], episodes: int) -> pd.DataFrame:
    """One row for each trial, the best first.

    Args:
        outcomes: What became of the trials.
        searched: Hyperparameters that were searched.
        episodes: Episodes of a trial that is trained to the end.

    Returns:
        ``trial``, ``seeds``, ``status`` (one of :data:`STATUSES`), :data:`COLUMNS`, the hyperparameters, ``error`` and
        ``path``; in the order of the statuses, then of the score; interrupted trials with more episodes come first.
    """
    rows = []
    for outcome in outcomes:
        rows.append(
            {
                "trial": outcome.trial,
                "seeds": " ".join(map(str, seeds_of(outcome.config))),
                "status": _status(outcome, episodes),
                **{column: outcome.metrics.get(column, float("nan")) for column in COLUMNS},
                **{name: outcome.config["training"].get(name) for name in searched},
                "error": _reason(outcome.error),
                "path": outcome.path,
            }
        )
    table = pd.DataFrame(rows, columns=["trial", "seeds", "status", *COLUMNS, *searched, "error", "path"])
    cut = table["status"] == INTERRUPTED
    order = table.assign(behind=table["status"].map(STATUSES.index), lead=-table["episodes"].where(cut, 0.0))
    return order.sort_values(["behind", "lead", SCORE, "trial"], ignore_index=True).drop(columns=["behind", "lead"])


def _status(outcome: TrialOutcome, episodes: int) -> str:
    if outcome.error:
        return FAILED
    if outcome.metrics.get("episodes", 0) >= episodes:
        return DONE
    return STOPPED_EARLY if outcome.metrics.get("done") else INTERRUPTED


def episode_table(outcomes: Sequence[TrialOutcome]) -> pd.DataFrame:
    """One row for each trial and iteration: ``trial``, :data:`COLUMNS`, and :data:`ITERATION_COLUMNS`."""
    frames = []
    for outcome in outcomes:
        frame = outcome.reports
        if frame is not None and "episodes" in frame:
            # An iteration that a trial did again after a failure is there twice.
            frame = frame.drop_duplicates("training_iteration", keep="last")
            columns = [column for column in (*COLUMNS, *ITERATION_COLUMNS) if column in frame]
            frames.append(frame[columns].assign(trial=outcome.trial))
    if not frames:
        return pd.DataFrame(columns=["trial", *COLUMNS, *ITERATION_COLUMNS])
    table = pd.concat(frames, ignore_index=True)
    return table[["trial", *[column for column in table if column != "trial"]]]


def best_trials(table: pd.DataFrame, searched: list[str]) -> pd.DataFrame:
    """The trials of the configuration with the lowest score, as a mean over its seeds.

    Args:
        table: See :func:`trial_table`.
        searched: Hyperparameters that were searched.

    Returns:
        Its rows, one for each seed if those were a grid. If no trial was trained to the end, those that were
        interrupted with the most episodes count; if there are none, no rows.
    """
    done = table[table["status"] == DONE]
    if done.empty:
        interrupted = table[(table["status"] == INTERRUPTED) & table[SCORE].notna()]
        done = interrupted[interrupted["episodes"] == interrupted["episodes"].max()]
    if done.empty:
        return done
    scores = done.groupby(searched, dropna=False)[SCORE]
    complete = scores.transform("size") == scores.transform("size").max()
    return done[complete & (scores.transform("mean") == scores.transform("mean")[complete].min())]


def hyperparameters(rows: pd.DataFrame, searched: list[str]) -> dict[str, Any]:
    """Hyperparameter and value of the first of some trials, in Python's own types."""
    return {name: _plain(rows[name].iloc[0]) for name in searched}


def _reason(error: Exception | None) -> str:
    """The last line of an error, which says what it was; Ray puts tracebacks before it."""
    lines = [line.strip() for line in str(error or "").splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__ if error else ""


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
