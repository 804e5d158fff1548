"""Tables of the policy for any fleet, its parts, and LAD-Dispatch beside it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from experiments.pages.reading import Table, read
from lad_rllib.runs.tables import mean_sd, over_first


def any_fleet(least: int, most: int) -> Table:
    """The policy for any fleet over least work left, on judged fleets of so many servers, by order and load."""
    table = of_fleets("any_fleet_judged", least, most)
    known = {"": "", ", cap 1.2": "cap 1.2, ", ", no cap": "no cap, "}
    names = {f"any-fleet{cap}": said for cap, said in known.items()} | {"prior alone": "prior, "}
    names = {name: said for name, said in names.items() if name in set(table["scheduler"])}
    header = ["order", "load", *(f"{said}{what}" for said in names.values() for what in ("mean", "worst", "p99"))]
    rows = []
    for (order, load), part in table.groupby(["order", "load"]):
        own = dict(iter(part.groupby("scheduler")))
        cells = [cell for name in names for cell in _mean_worst_p99(own[name])]
        rows.append([f"`{order}`", f"{load:g}", *cells])
    return header, rows


def parts_of_any_fleet(rows: pd.DataFrame | None = None) -> Table:
    """What each part of the policy for any fleet is worth, over seeds of training; None: the rows on file."""
    rows = read("any_fleet_parts") if rows is None else rows
    own = {name: _ratios_by_seed(part) for name, part in rows.groupby("part", sort=False)}
    first, *_ = own.values()
    table = []
    for name, ratios in own.items():
        paired = (ratios["mean"] / first["mean"].loc[ratios.index]).agg(["mean", "std"])
        means = [mean_sd(ratios[column].mean(), 3, ratios[column].std()) for column in ratios]
        decision = rows.loc[rows["part"] == name, "decision_us"].min()
        table.append(
            [
                str(name),
                str(len(ratios)),
                *means[:1],
                mean_sd(paired["mean"], 3, paired["std"]),
                *means[1:],
                f"{decision:.0f}",
            ]
        )
    header = [
        "changed",
        "seeds",
        "mean",
        "over as it is",
        "mean, load below 0.9",
        "mean, load above",
        "worst fleet",
        "p99",
    ]
    return [*header, "decision, µs"], table


def _ratios_by_seed(part: pd.DataFrame) -> pd.DataFrame:
    """Geometric means over fleets for each seed of training."""
    by_seed = part.groupby("seed")
    return pd.DataFrame(
        {
            "mean": by_seed["mean"].agg(_geometric),
            "low": part[part["load"] < 0.9].groupby("seed")["mean"].agg(_geometric),
            "high": part[part["load"] >= 0.9].groupby("seed")["mean"].agg(_geometric),
            "worst": by_seed["mean"].max(),
            "p99": by_seed["p99"].agg(_geometric),
        }
    )


def specialists(rows: pd.DataFrame | None = None) -> Table:
    """The policy for any fleet over policies that were trained for one fleet each; None: the rows on file."""
    rows = read("specialists") if rows is None else rows
    table = []
    for (fleet, load, order), cases in rows.groupby(["fleet", "load", "order"], sort=False):
        one = {name: part[["mean_s", "p99_s"]].reset_index(drop=True) for name, part in cases.groupby("scheduler")}
        trained, rule = one.pop("specialist"), one.pop("least-work-left").loc[0]
        over_rule = trained / rule
        cells = [" / ".join(mean_sd(over_rule[name].mean(), 3, over_rule[name].std()) for name in over_rule)]
        for name in sorted(one, key=len):
            ratio = one[name].loc[0] / trained.mean()
            cells.append(" / ".join(f"{value:.3f}" for value in ratio))
        table.append([str(fleet), f"{load:g}", f"`{order}`", str(len(trained)), *cells])
    names = [f"{name} over specialist, mean / p99" for name in sorted(one, key=len)]
    return ["fleet", "load", "order", "seeds", "specialist over least work left, mean / p99", *names], table


def paper_slots(rows: pd.DataFrame | None = None) -> Table:
    """LAD-Dispatch on the paper's slots, over the greedy oracle, a row for each training; None: the rows on file."""
    rows = read("paper_slots") if rows is None else rows
    table = []
    for training, part in rows.groupby("training", sort=False):
        decided, episodes = str(training).split("/")
        tests, looks = part[part["on"] == "test"], part[part["on"] == "look"]
        own = [mean_sd(tests[name].mean(), 3, tests[name].std()) for name in ("mean", "p95", "p99")]
        furthest = (tests["mean"] - tests["mean"].mean()).abs().max()
        first = [looks[looks["mean"] <= goal].groupby("seed")["cpu_s"].min() for goal in SLOT_GOALS]
        reached = [f"{each.mean():.0f} ({len(each)} of {len(tests)})" if len(each) else "not reached" for each in first]
        cells = [decided.replace("-", " "), episodes, str(len(tests)), *own, f"{furthest:.3f}", *reached]
        table.append([*cells, f"{tests['cpu_s'].mean():.0f}"])
    goals = [f"CPU s to {goal:.2f}" for goal in SLOT_GOALS]
    return ["decided", "episodes", "seeds", "mean", "p95", "p99", "furthest seed", *goals, "CPU s in all"], table


SLOT_GOALS = (0.70, 0.65, 0.60)
"""Means over the greedy oracle's for which the time is told."""


def of_fleets(stem: str, least: int = 1, most: int = 10**6) -> pd.DataFrame:
    """Judged fleets of so many servers, over least work left."""
    rows = read(stem, dtype={"seed": str})
    rows = rows[rows["servers"].between(least, most)]
    return over_first(rows, ["servers", "speeds", "load", "order"], ("mean_s", "p99_s"))


def _mean_worst_p99(rows: pd.DataFrame) -> list[str]:
    by_seed = rows.groupby("seed")[["over_mean_s", "over_p99_s"]].agg(_geometric)
    mean, p99 = (mean_sd(by_seed[name].mean(), digits, by_seed[name].std()) for name, digits in _RATIOS.items())
    return [mean, f"{rows['over_mean_s'].max():.3f}", p99]


_RATIOS = {"over_mean_s": 3, "over_p99_s": 2}


def _geometric(values: pd.Series) -> float:
    return float(np.exp(np.log(values).mean()))
