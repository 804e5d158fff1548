"""Pictures of a hyperparameter search."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd

from lad_rllib.runs.plots import pyplot, save
from lad_rllib.runs.trial import SCORE

_BEST, _OTHER = "#c1440e", "#0b6fa4"
_MIN_FOR_IMPORTANCE = 8  # trials; with fewer it is noise


def plot_search(trials: pd.DataFrame, episodes: pd.DataFrame, kinds: dict[str, str], output: Path) -> list[str]:
    """Trials over time and, with Optuna at hand, parallel coordinates and importance of the hyperparameters.

    Args:
        trials: One row for each trial, the best first.
        episodes: One row for each trial and iteration.
        kinds: Hyperparameter and the kind of its range.
        output: Folder for the pictures.

    Returns:
        Names of the files.
    """
    plot_trials(trials, episodes, output / "trials.png")
    files = ["trials.png"]
    done = trials[trials["status"] == "done"]
    if find_spec("optuna") is not None and len(done) >= 2:
        files += _plot_with_optuna(done, _at_common_episode(trials, episodes), kinds, output)
    return files


def plot_trials(trials: pd.DataFrame, episodes: pd.DataFrame, path: Path) -> None:
    """Every trial's score by episodes: those that were stopped early end; the best one is thick."""
    figure, axes = pyplot().subplots(figsize=(9, 5))
    best = trials["trial"].iloc[0] if len(trials) else None
    for trial, rows in episodes.groupby("trial", sort=False):
        is_best = trial == best
        axes.plot(
            rows["episodes"],
            rows[SCORE],
            color=_BEST if is_best else _OTHER,
            linewidth=2.5 if is_best else 0.9,
            alpha=1.0 if is_best else 0.5,
            zorder=3 if is_best else 2,
            label=f"best: trial {trial}" if is_best else None,
        )
    axes.axhline(1.0, color="black", linewidth=0.8, linestyle="--", label="greedy oracle, same arrivals")
    last = episodes.groupby("trial")[SCORE].last()
    if len(last):
        axes.set_ylim(min(0.98, last.min() * 0.99), max(1.2, last.quantile(0.9) * 1.15))
    axes.set(xlabel="episodes", ylabel="mean delay over the greedy oracle's, last ten episodes")
    axes.set_title(f"{len(trials)} trials")
    axes.grid(alpha=0.3)
    axes.legend()
    save(figure, path)


def _plot_with_optuna(done: pd.DataFrame, early: pd.DataFrame, kinds: dict[str, str], output: Path) -> list[str]:
    """Optuna's pictures, of studies that are made from the trials, whatever searched for them."""
    import optuna
    from optuna.visualization import matplotlib as pictures

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    files = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its pictures by matplotlib are called experimental
        study = _study(done, kinds)
        if len(study.trials) >= 2:
            axes = pictures.plot_parallel_coordinate(study, target_name="delay over oracle")
            axes.set_title(f"{len(done)} trials that were trained to the end")
            _save(output / "parallel.png", 2.0 + 1.9 * (len(study.trials[0].params) + 1), 5.0)
            files.append("parallel.png")
        study = _study(early, kinds)
        if len(study.trials) >= _MIN_FOR_IMPORTANCE and len(study.trials[0].params) > 1:
            evaluator = optuna.importance.PedAnovaImportanceEvaluator()
            axes = pictures.plot_param_importances(study, evaluator=evaluator, target_name="delay over oracle")
            axes.set_title(
                f"what decides whether a trial is among the best after {early['episodes'].iloc[0]:.0f} episodes\n"
                f"(PED-ANOVA, {len(early)} trials)",
                loc="left",
            )
            _save(output / "importance.png", 8.0, 1.8 + 0.5 * len(study.trials[0].params))
            files.append("importance.png")
    return files


def _study(trials: pd.DataFrame, kinds: dict[str, str]) -> Any:
    """Trials as an Optuna study of the hyperparameters that differ; empty if none does."""
    import optuna

    study = optuna.create_study(direction="minimize")
    varied = {name: kind for name, kind in kinds.items() if trials[name].nunique() > 1}
    distributions = {name: _distribution(kind, trials[name]) for name, kind in varied.items()}
    for row in trials.to_dict("records") if varied else []:
        parameters = {name: row[name] for name in varied}
        study.add_trial(optuna.trial.create_trial(params=parameters, distributions=distributions, value=row[SCORE]))
    return study


def _at_common_episode(trials: pd.DataFrame, episodes: pd.DataFrame) -> pd.DataFrame:
    """The trials that did not fail, with their scores after as many episodes as all of them had."""
    sound = trials[trials["status"] != "failed"]
    common = sound["episodes"].min()
    scores = episodes[episodes["episodes"] == common].set_index("trial")[SCORE]
    return sound[sound["trial"].isin(scores.index)].assign(
        **{SCORE: lambda table: table["trial"].map(scores), "episodes": common}
    )


def _save(path: Path, width: float, height: float) -> None:
    """Save and close Optuna's picture, the last one that was drawn."""
    figure = pyplot().gcf()
    figure.set_size_inches(width, height)
    figure.savefig(path, dpi=130, bbox_inches="tight")
    pyplot().close(figure)


def _distribution(kind: str, values: pd.Series) -> Any:
    import optuna

    if kind == "choice":
        return optuna.distributions.CategoricalDistribution(sorted(values.unique().tolist(), key=str))
    if kind == "randint":
        return optuna.distributions.IntDistribution(int(values.min()), int(values.max()))
    return optuna.distributions.FloatDistribution(float(values.min()), float(values.max()), log=kind == "loguniform")
