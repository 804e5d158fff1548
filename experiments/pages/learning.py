"""Tables of what was learned in the simulator."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from experiments.pages.reading import BOUND, METHODS, ORACLE, PROPORTIONAL, SCHEDULERS, Table, read, significant
from lad_rllib.runs.tables import cell, mean_sd

OURS = {"dispatcher": "**LAD-PMD, one dispatcher**", "lad-pmd": "**LAD-PMD**"}


def is_learned(scheduler: str) -> bool:
    """Whether a row of ``beyond_*`` is the policy that was trained, not a heuristic or the bound."""
    return scheduler not in (ORACLE, "water-filling", PROPORTIONAL, BOUND)


def budgets(budgets: Sequence[str] = (), *, brief: bool = False) -> Table:
    """Every budget of training beside the heuristics, which are the same for all."""
    table = read("beyond_budgets_summary")
    learned = table[table["scheduler"].map(is_learned)]
    learned = learned[learned["study"].isin(budgets or learned["study"])]
    others = table[~table["scheduler"].map(is_learned)].drop_duplicates("scheduler")
    others = others[others["scheduler"] != "water-filling"] if brief else others
    header = ["scheduler", "mean, s", "over greedy oracle", "p50, s"]
    header += ["p95 over oracle's", "p99 over oracle's", "max, s"]
    rows = []
    for _, one in pd.concat([learned, others]).iterrows():
        scheduler = one["scheduler"]
        name = f"**LAD-PMD, {one['study']}**" if is_learned(scheduler) else SCHEDULERS.get(scheduler, scheduler)
        tails = [cell(one, f"{tail}_over_oracle", 2) for tail in ("p95", "p99")]
        figures = [cell(one, "mean_s"), cell(one, "over_oracle"), mean_sd(one["p50_s"], 2), *tails]
        sizes = [mean_sd(one[f"class{size}_s"], 1) for size in (1, 2, 3)]
        rows.append([name, *figures, mean_sd(one["max_s"], 0), " / ".join(filter(None, sizes))])
    if brief:
        kept = (0, 1, 2, 4, 6)
        return [header[column] for column in kept], [[row[column] for column in kept] for row in rows]
    return [*header, "small / middle / large tasks, s"], rows


def studies(part: str, what: str) -> Table:
    """One row for each case of a part of ``beyond``: the trained policy, with oracle and bound beside it."""
    header = [what, "mean, s", "over greedy oracle", "p95 over oracle's", "p99 over oracle's", "seeds"]
    header += ["greedy oracle, s", "water-filling over oracle", "lower bound over oracle"]
    table = read(f"beyond_{part}_summary")
    rows = []
    for study, cases in table.groupby("study", sort=False):
        (one,) = (row for _, row in cases.iterrows() if is_learned(row["scheduler"]))
        others = cases.set_index("scheduler")
        digits = 2 if others.loc[ORACLE, "mean_s"] > 1 else 3
        rows.append(
            [
                str(study),
                cell(one, "mean_s", digits),
                *(cell(one, key) for key in ("over_oracle", "p95_over_oracle", "p99_over_oracle")),
                f"{one['seeds']:.0f}",
                mean_sd(others.loc[ORACLE, "mean_s"], digits),
                *(mean_sd(others.loc[name, "over_oracle"], 3) for name in ("water-filling", BOUND)),
            ]
        )
    return header, rows


def parts_of_lad_pmd() -> Table:
    """Each setting of LAD-PMD changed by itself."""
    table = read("beyond_ablations_summary")
    learned = table[table["scheduler"].map(is_learned)].sort_values("over_oracle", kind="stable")
    rows = [
        [str(study), mean_sd(mean, 3), mean_sd(p95, 2)]
        for study, mean, p95 in learned[["study", "over_oracle", "p95_over_oracle"]].itertuples(index=False)
    ]
    return ["changed", "mean over greedy oracle", "p95 over oracle's"], rows


def methods() -> Table:
    """Final delays and convergence of the paper's learned methods, beside the paper's."""
    header = ["method", "final delay, s", "paper's", "over greedy oracle", "paper's", "over capacity-proportional"]
    header += ["converged at episode", "paper's"]
    table = read("methods_summary").set_index("case")
    rows = [
        [
            title,
            cell(table.loc[name], "delay_s"),
            f"{table.loc[name, 'paper_delay_s']:.1f}",
            cell(table.loc[name], "over_oracle"),
            f"{table.loc[name, 'paper_over_oracle']:.2f}",
            cell(table.loc[name], "over_proportional"),
            cell(table.loc[name], "converged_at", 0),
            f"{table.loc[name, 'paper_converged_at']:.0f}",
        ]
        for name, title in METHODS.items()
    ]
    return header, rows


def first_episodes() -> Table:
    """The first hundred episodes of LAD-TS, beside the published code's."""
    header = ["episodes", "LAD-TS, s", "greedy oracle, s", "water-filling, s", "capacity-proportional, s", "ratio"]
    rows = [
        [
            one["episodes"].replace("-", "–"),
            cell(one, "mean_service_delay_s"),
            *(
                mean_sd(one[f"{name}_delay_s"], 2)
                for name in ("greedy_oracle", "water_filling", "capacity_proportional")
            ),
            cell(one, "delay_over_oracle"),
            mean_sd(one["published_code_over_oracle"], 2),
        ]
        for _, one in read("methods_first_episodes").iterrows()
    ]
    return [*header, "published code's, one run"], rows


def parts_of_lad_ts() -> Table:
    """Each part of LAD-TS changed by itself, from both readings of the paper."""
    rows = [
        [
            f"`{one['base']}`",
            "as it is" if one["changed"] == "nothing" else f"`{one['values']}`",
            cell(one, "delay_s"),
            cell(one, "over_oracle"),
            cell(one, "over_proportional"),
        ]
        for _, one in read("ablations_summary").iterrows()
    ]
    return ["preset", "changed", "delay, s", "over greedy oracle", "over capacity-proportional"], rows


def sweep(name: str) -> Table:
    """Every method's delay over the greedy oracle's, for each value of one quantity."""
    table = read("sweeps_summary")
    table = table[table["sweep"] == name]
    ratios = table.pivot(index="value", columns="method", values="over_oracle")
    titles = [title for key, title in METHODS.items() if key in ratios]
    rows = []
    for value in table["value"].drop_duplicates():
        oracle_s = table.loc[table["value"] == value, "greedy_oracle_delay_s"].iloc[0]
        cells = [mean_sd(ratios.loc[value, key], 3) for key in METHODS if key in ratios]
        rows.append([f"{value:g}", mean_sd(oracle_s, 2), *cells])
    return [SWEEPS[name], "greedy oracle, s", *titles], rows


def sweeps_won() -> Table:
    """At how many points of each sweep LAD-TS has the least delay of the learned methods."""
    rows = []
    for name, points in read("sweeps_summary").groupby("sweep", sort=False):
        best = points.pivot(index="value", columns="method", values="over_oracle").idxmin(axis=1)
        rows.append([SWEEPS[str(name)], f"{(best == 'lad-ts').sum()} of {len(best)}"])
    return ["sweep", "LAD-TS has the least delay at"], rows


SWEEPS = {
    "steps": "denoising steps of the policy",
    "temperature": "temperature at the start",
    "tasks": "most tasks of a station in a slot",
    "servers": "edge servers (= base stations)",
    "capacity": "largest capacity, Gcycle/s",
    "quality": "most denoising steps of a task",
}


def trace(work: str) -> Table:
    """Schedulers on the unseen part of a request log, with the work of requests ``known`` or shown as the ``mean``."""
    table = read("trace_summary")
    table = table[table["work"] == work]
    windows = table.dropna(subset="windows").groupby("load")["windows"].first().astype(int)
    complete = table.groupby("scheduler", sort=False).filter(lambda cells: len(cells) == len(windows))
    order = complete.groupby("scheduler")["over_oracle"].mean().sort_values().index
    names = [*order, *table[~table["scheduler"].isin(order)]["scheduler"].unique()]
    rows = []
    for name in names:
        cells = table[table["scheduler"] == name].set_index("load")
        ratios = [_with_interval(cells.loc[load]) if load in cells.index else "" for load in windows.index]
        rows.append([{**METHODS, **OURS, **SCHEDULERS}.get(name, name), *ratios])
    return ["scheduler", *(f"load {load:g}, {number} windows" for load, number in windows.items())], rows


def _with_interval(one: pd.Series) -> str:
    """Ratio to the oracle, sd over seeds, and the interval over windows where it is known."""
    ratio = cell(one, "over_oracle")
    if pd.isna(one["over_oracle_low"]) or one["over_oracle_low"] == one["over_oracle_high"]:
        return ratio
    return f"{ratio} ({one['over_oracle_low']:.3f} to {one['over_oracle_high']:.3f})"


def tuned() -> Table:
    """The configuration that a search found, beside the defaults, with fresh seeds."""
    table = read("tune_paper/confirmation").groupby("configuration", sort=False)
    rows = [
        [
            str(name),
            mean_sd(runs["mean_service_delay_s"].mean(), 2, runs["mean_service_delay_s"].std()),
            mean_sd(runs["delay_over_oracle"].mean(), 3, runs["delay_over_oracle"].std()),
        ]
        for name, runs in table
    ]
    return ["", "mean delay, s", "over greedy oracle"], rows


def staleness() -> Table:
    """What it costs to learn from worlds that older weights played."""
    return staleness_of(read("staleness"))


def staleness_of(table: pd.DataFrame) -> Table:
    """The same of the rows that :mod:`experiments.staleness` has."""
    scores = table.groupby(["staleness", "steps_from", "iteration"])["score"].agg(["mean", "std"]).unstack("iteration")
    iterations = sorted(table["iteration"].unique())
    rows = [
        [*map(str, key), *(mean_sd(one["mean", i], 3, one["std", i]) for i in iterations)]
        for key, one in scores.iterrows()
    ]
    return ["weights behind by", "steps from", *(f"{i} iterations" for i in iterations)], rows


def learners() -> Table:
    """Whether two learners and two runners learn as well as one process."""
    table = read("learners")
    names = ["one process", "2 learners, 2 runners, slot by slot", "2 learners, 2 runners, an episode at a time"]
    rows = []
    for first in (21, 31, 41, 51):
        window = table[table["episodes"].between(first, first + 9)]
        cells = [f"{first}–{first + 9}"]
        for name in names:
            means = (
                window[window["training"] == name]
                .groupby("seed")[["mean_service_delay_s", "greedy_oracle_delay_s"]]
                .mean()
            )
            ratio = means["mean_service_delay_s"] / means["greedy_oracle_delay_s"]
            cells.append(mean_sd(ratio.mean(), 3, ratio.std()))
        rows.append(cells)
    return [
        "episodes",
        names[0],
        "2 learners, 2 runners, new weights after every slot",
        "after every episode (default)",
    ], rows


def limit_of_chain() -> Table:
    """LAD-TS as the paper reads, with limits of each denoising step's estimate; one value for each seed."""
    columns = (("paper", "11-20"), ("paper", "51-60"), ("uneven", "51-60"))
    rows = []
    for variant, runs in read("clip_denoised", dtype=str).groupby("variant", sort=False):
        cells = []
        for setting, episodes in columns:
            ratios = runs[(runs["setting"] == setting) & (runs["episodes"] == episodes)]["over_oracle"]
            cells.append(" / ".join(ratios.fillna("NaN in episode 1")))
        rows.append([f"**{variant}**" if variant == "L = 3" else str(variant), *cells])
    return ["preset `paper` with", "episodes 11–20", "episodes 51–60", "uneven, episodes 51–60"], rows


def one_by_one(stem: str = "one_by_one", tails: Sequence[str] = ("p99",), without: Sequence[str] = ()) -> Table:
    """LAD-Dispatch beside rules, requests one by one, over the first scheduler: a row for each cell.

    Args:
        stem: The file of means over seeds is this and ``_summary``.
        tails: What is shown besides the mean.
        without: Schedulers that are left out.
    """
    table = read(f"{stem}_summary")
    _, *others = dict.fromkeys(table["scheduler"])
    rules = [name for name in others if name not in without]
    shown, rows = ("mean", *tails), []
    for (workload, load, order, bound), cases in table.groupby(["workload", "load", "order", "bound"], sort=False):
        by_name = cases.set_index("scheduler").to_dict("index")
        ratios = [" / ".join(cell(by_name[name], f"over_{one}_s") for one in shown) for name in rules]
        rows.append([workload, f"{load:.3g}", f"`{order}`", bound, str(cases["seeds"].max()), *ratios])
    header = ["workload", "load", "order", "bound", "seeds"]
    return [*header, *(f"{name}, {' / '.join(shown)}" for name in rules)], rows


def recorded(work: str) -> Table:
    """LAD-Dispatch on windows of a request log, over the rule that is best in each cell; other rules and a search."""
    table = read("recorded_requests_summary")
    rows = []
    for (pauses, load), cases in table[table["work"] == work].groupby(["pauses", "load"], sort=False):
        one = cases.set_index("scheduler").to_dict("index")
        rule = min(one.keys() - NO_RULES, key=lambda name: one[name]["mean_s"])
        best, learned = one[rule], one["lad-dispatch"]
        interval = f"{cell(learned, 'over_best')} ({learned['low']:.3f} to {learned['high']:.3f})"
        tail, swaps = learned["p99_s"] / best["p99_s"], f"{learned['swaps']:.0%} / {best['swaps']:.0%}"
        others = [cell(one[name], "over_best") if name in one else "" for name in RECORDED]
        first = [pauses, f"{load:g}", f"{rule}, {significant(best['mean_s'])} s"]
        rows.append([*first, interval, mean_sd(tail, 2), swaps, *others])
    header = ["pauses", "load", "best rule", "LAD-Dispatch, mean ÷ best rule's", "p99 ÷ its", "swaps, ours / its"]
    return [*header, *RECORDED], rows


RECORDED = (
    "first-policy-iteration",
    "self-priced",
    "shortest-expected-delay",
    "least-work-left-affinity",
    "offline search",
)
NO_RULES = {"lad-dispatch", "offline search"}
