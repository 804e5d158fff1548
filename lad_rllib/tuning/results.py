"""What a search gave, as tidy tables."""

from __future__ import annotations

from typing import Any

import pandas as pd

from lad_rllib.tuning.trial import SCORE

COLUMNS = ("episodes", SCORE, f"{SCORE}_sd", "mean_service_delay_s", "oracle_delay_s", "training_s")
"""What each row of both tables has of a trial's results."""


def trial_table(results: Any, searched: list[str]) -> pd.DataFrame:
    """One row for each trial, the best first.

    Args:
        results: Ray Tune's ``ResultGrid``.
        searched: Hyperparameters that were searched.

    Returns:
        ``trial``, ``seeds``, ``status`` ("done", "stopped early", "failed"), :data:`COLUMNS`, the hyperparameters,
        ``error`` and ``path``. Trials that were stopped early come behind those with more episodes.
    """
    rows = []
    most = max((_of(result, "episodes", 0) for result in results), default=0)
    for result in results:
        status = "failed" if result.error else "done" if _of(result, "episodes", 0) >= most else "stopped early"
        rows.append(
            {
                "trial": _trial(result),
                "seeds": _seeds(result),
                "status": status,
                **{column: _of(result, column, float("nan")) for column in COLUMNS},
                **{name: result.config["training"].get(name) for name in searched},
                "error": " ".join(str(result.error).split()[:40]) if result.error else "",
                "path": result.path,
            }
        )
    table = pd.DataFrame(rows)
    order = table.assign(behind=table["status"].map({"done": 0, "stopped early": 1, "failed": 2}))
    return order.sort_values(["behind", SCORE], ignore_index=True).drop(columns="behind")


def episode_table(results: Any) -> pd.DataFrame:
    """One row for each trial and iteration: ``trial``, :data:`COLUMNS`, and ``iteration_delay_s`` [s]."""
    frames = []
    for result in results:
        frame = result.metrics_dataframe
        if frame is not None and "episodes" in frame:
            # An iteration that a trial did again after a failure is there twice.
            frame = frame.drop_duplicates("training_iteration", keep="last")
            columns = [column for column in (*COLUMNS, "iteration_delay_s") if column in frame]
            frames.append(frame[columns].assign(trial=_trial(result)))
    if not frames:
        return pd.DataFrame(columns=["trial", *COLUMNS, "iteration_delay_s"])
    table = pd.concat(frames, ignore_index=True)
    return table[["trial", *[column for column in table if column != "trial"]]]


def best_trials(table: pd.DataFrame, searched: list[str]) -> pd.DataFrame:
    """The trials of the configuration with the lowest score, as a mean over its seeds.

    Args:
        table: See :func:`trial_table`.
        searched: Hyperparameters that were searched.

    Returns:
        Its rows, one for each seed if those were a grid; none if no trial was trained to the end.
    """
    done = table[table["status"] == "done"]
    if done.empty:
        return done
    scores = done.groupby(searched, dropna=False)[SCORE]
    complete = scores.transform("size") == scores.transform("size").max()
    return done[complete & (scores.transform("mean") == scores.transform("mean")[complete].min())]


def hyperparameters(rows: pd.DataFrame, searched: list[str]) -> dict[str, Any]:
    """Hyperparameter and value of the first of some trials, in Python's own types."""
    return {name: _plain(rows[name].iloc[0]) for name in searched}


def _trial(result: Any) -> str:
    return str(result.metrics.get("trial_id") if result.metrics else "") or str(result.path).rpartition("trial_")[2]


def _seeds(result: Any) -> str:
    seeds = result.config["seeds"]
    return " ".join(map(str, seeds if isinstance(seeds, (list, tuple)) else [seeds]))


def _of(result: Any, key: str, default: float) -> float:
    return (result.metrics or {}).get(key, default)


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
