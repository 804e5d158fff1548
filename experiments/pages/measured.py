"""Tables of what was measured on fleets and clocks, and of schedulers without learning."""

from __future__ import annotations

from typing import Any

from benchmarks.scaling_points import undisturbed_per_hour
from benchmarks.service_verdicts import shown
from experiments.pages.reading import (
    BENCHMARKS,
    BOUND,
    NO_SPREAD,
    ORACLE,
    PROPORTIONAL,
    SCHEDULERS,
    Table,
    read,
    significant,
)
from experiments.policy_guard import guard_table
from lad_rllib.runs.leaderboard import COLUMNS, leaderboard, told
from lad_rllib.runs.tables import cell, mean_sd, over_first


def live() -> Table:
    """Schedulers on an emulated fleet, by measured delays."""
    table = read("live_evaluation")
    best = table[table["scheduler"] == "least-loaded-exact"].set_index("seed")["mean_s"]
    table["ratio"] = table["mean_s"] / table["seed"].map(best)
    means = table.groupby("scheduler").agg(
        mean=("mean_s", "mean"),
        sd=("mean_s", "std"),
        p95=("p95_s", "mean"),
        failed=("failed", "sum"),
        ratio=("ratio", "mean"),
        ratio_sd=("ratio", "std"),
    )
    rows = [
        [
            name,
            mean_sd(one["mean"], 1, one["sd"]),
            mean_sd(one["p95"], 1),
            mean_sd(one["ratio"], 3, one["ratio_sd"]),
            f"{one['failed']:.0f}",
        ]
        for name, one in means.sort_values("mean").iterrows()
    ]
    return ["scheduler", "mean delay, s", "p95, s", "mean over least-loaded-exact's", "failed tasks"], rows


def live_requests() -> Table:
    """Schedulers of requests one by one on an emulated fleet: measured delays, and over least work left's."""
    table = over_first(read("live_requests").query("in_time"), ["seed"], ("mean_s", "p95_s"))
    measures = {"mean_s": 1, "simulated_s": 1, "over_mean_s": 3, "over_p95_s": 3}
    rows = [
        [name, *(mean_sd(one[measure].mean(), digits, one[measure].std()) for measure, digits in measures.items())]
        for name, one in table.groupby("scheduler", sort=False)
    ]
    return ["scheduler", "mean, s", "simulated, s", "mean over least work left's", "p95 over least work left's"], rows


def prototype(fleet: str) -> Table:
    """Time until all of so many tasks, handed in at once, had their images."""
    totals = read(f"prototype_{fleet}").pivot(index="scheduler", columns="tasks", values="total_s")
    middle = totals.columns[min(1, len(totals.columns) - 1)]
    rows = [
        [PROTOTYPE.get(name, name), *(f"{value:.1f}" for value in one)]
        for name, one in totals.sort_values(middle).iterrows()
    ]
    return ["scheduler", *(f"{tasks:,} task{'s' * (tasks > 1)}" for tasks in totals.columns)], rows


PROTOTYPE = {
    "policy": "LAD-TS",
    ORACLE: "greedy oracle on estimated queues",
    "least-loaded": "least-loaded at the start of the slot",
}


def yardsticks() -> Table:
    """Heuristics, fitted schedulers, offline search and the bound on the paper's setting."""
    table = read("yardsticks")
    table = table[table["max_tasks"] == 50]
    means = table.groupby("scheduler", sort=False).mean(numeric_only=True)
    oracle_s = means.loc[ORACLE, "mean_s"]
    header = ["scheduler", "sees", "mean", "÷ oracle", "p50", "p95", "p99", "max", "fairness"]
    rows = []
    for name, sees in SEES.items():
        one = means.loc[name]
        cells = [mean_sd(one["mean_s"], 2), mean_sd(one["mean_s"] / oracle_s, 3), mean_sd(one["p50_s"], 2)]
        cells += [*(mean_sd(one[key], 1) for key in ("p95_s", "p99_s", "max_s")), mean_sd(one["fairness"], 3)]
        rows.append([SCHEDULERS.get(name, name), sees, *cells])
    return header, rows


SEES = {
    ORACLE: "queues in the slot",
    "least-loaded-exact": "queues in the slot",
    "water-filling": "queues at slot start",
    PROPORTIONAL: "nothing",
    "least-loaded": "queues at slot start",
    "round-robin": "nothing",
    "random": "nothing",
    "local-only": "nothing",
    "two-size-classes": "queues at slot start",
    "three-size-classes": "queues at slot start",
    "tabular": "slot and own size",
    "priced-greedy": "queues in the slot",
    "offline search": "everything",
    BOUND: "",
}


def yardsticks_by_load() -> Table:
    """Mean delay over the greedy oracle's by load, of what is fitted with one seed."""
    table = read("yardsticks")
    table = table[table["seed"] == 0]
    names = ["priced-greedy", "tabular", "three-size-classes", "offline search", BOUND]
    rows = []
    for _, cases in table.groupby("max_tasks"):
        means = cases.set_index("scheduler")["mean_s"]
        oracle_s = means[ORACLE]
        rows.append(
            [
                f"{cases['load'].iloc[0]:.2f}",
                significant(oracle_s),
                *(mean_sd(means[name] / oracle_s, 3) for name in names),
            ]
        )
    return ["load", "greedy oracle, s", *names], rows


def suite(order: str, work: str) -> Table:
    """The benchmark suite's leaderboard under one order of service."""
    board = leaderboard(read("suite"), order, work).to_dict("records")
    return list(COLUMNS.values()), [[cell(row, name) for name in COLUMNS] for row in board]


def suite_workloads() -> Table:
    """The best scheduler of each workload and load by mean delay, under each order of service."""
    table = told(read("suite"), "predicted")
    orders = list(table["order"].unique())
    rows = []
    for (workload, load), own in table.groupby(["workload", "load"], sort=False):
        best = own.loc[own.groupby("order")["mean_s"].idxmin()].set_index("order").loc[orders]
        reference_s = best["mean_s"] / best["over_same_order"]
        seconds = [" / ".join(map(significant, reference_s)), significant(best["bound_s"].iloc[0])]
        rows.append([workload, f"{load:g}", *seconds, *map(_best, best.to_dict("records"))])
    named = [order.partition(":")[0].replace("_", " ") for order in orders]
    header = ["workload", "load", f"least work left, s: {' / '.join(named)}", "bound, s"]
    return [*header, *(f"best, {name}" for name in named)], rows


def _best(row: dict[str, Any]) -> str:
    low, high = row["over_same_order_low"], row["over_same_order_high"]
    interval = f" ({low:.3f}–{high:.3f})" if row["episodes"] >= MIN_EPISODES else ""
    return f"{row['scheduler']} {row['over_same_order']:.3f}{interval}"


MIN_EPISODES = 5
"""Episodes that an interval over them needs to mean anything."""


def embedded_quality() -> Table:
    """Quality of the embedded model's pictures by denoising steps."""
    table = read("embedded_model_quality")
    generated, held_out = table[table["pictures"] == "generated"], table[table["pictures"] != "generated"].iloc[0]
    rows = [
        [title, *(mean_sd(value, digits) for value in generated[key]), mean_sd(held_out[key], digits) or "–"]
        for title, key, digits in (
            ("Fréchet distance", "frechet_distance", 2),
            ("PSNR to 100 steps, dB", "psnr_to_100_steps_db", 1),
            ("digit read right", "digit_read_share", 3),
            ("digit read right, new wording", "digit_read_share_new_wording", 3),
            ("colour right", "colour_read_share", 3),
            ("colour right, new wording", "colour_read_share_new_wording", 3),
        )
    ]
    steps = [f"{value:.0f}" for value in generated["denoising_steps"]]
    return ["denoising steps", *steps, "real, held out"], rows


def speed() -> Table:
    """Time of an episode by each path."""
    table = read("speed", BENCHMARKS)
    cells = table[table["table"] == "paths"].pivot(index="row", columns="figure", values="value")
    cpu_s = cells["CPU s/episode"].astype(float)
    ours = next(name for name in cells.index if "LADTS.train()" in name)
    rows = [
        [
            f"**{PATHS[name[:3]]}**" if name == ours else PATHS[name[:3]],
            significant(cpu_s[name]),
            significant(cpu_s[name] / cpu_s[ours]),
        ]
        for name in cells.index
    ]
    return ["path", "CPU s per episode", "over `LADTS.train()`"], rows


PATHS = {
    "(a)": "literal loop over tasks and stations (extrapolated)",
    "(b)": "the same batched, without RLlib",
    "(c)": "`LADTS.train()`",
    "(d)": "`LADPMD.train()`",
    "(e)": "RLlib's own SAC, 20 policies (extrapolated)",
}


def before_after() -> Table:
    """CPU times of simulator, costs and iterations before and after requests one by one."""
    cells = read("before_after", BENCHMARKS)
    table = cells.pivot(index="row", columns="figure", values="value").loc[cells["row"].drop_duplicates()]
    header = ["before, CPU s", "after, CPU s", "after over before"]
    return ["case", *header], [[case, *(significant(one[name]) for name in header)] for case, one in table.iterrows()]


def edge_predictions() -> Table:
    """How far delays that an edge server predicts at submission are from measured ones."""
    cells = read("edge_models", BENCHMARKS)
    cells = cells[cells["table"] == "predictions"]
    table = cells.pivot(index="row", columns="figure", values="value").loc[cells["row"].drop_duplicates()]
    rows = [
        [what, f"{one['tasks']:.0f}", f"{one['median error']:.1%}", f"{one['p90']:.1%}"]
        for what, one in table.iterrows()
    ]
    return ["predicted at submission", "tasks", "median error", "90th percentile"], rows


def dispatch(table: str) -> Table:
    """A table of the benchmark of dispatch."""
    cells = read("dispatch", BENCHMARKS)
    cells = cells[cells["table"] == table]
    figures = list(cells["figure"].drop_duplicates())
    by = ["servers", "path"] if table == "throughput" else ["path"] if table == "latency" else ["servers"]
    rows = []
    for key, group in cells.groupby(by, sort=False):
        values = group.set_index("figure")["value"].astype(float)
        rows.append([*(f"{part}" for part in key), *(significant(values.get(name, NO_SPREAD)) for name in figures)])
    return [*by, *figures], rows


def scaling() -> Table:
    """Speed of training against runners, environments, learners, servers and stations."""
    table = read("scaling", BENCHMARKS)
    rows = []
    for _, one in table.iterrows():
        name = f"{AXES[one['axis']]}: {one['label']}"
        if one["status"] != "measured":
            rows.append([name, one["status"], *[""] * 6])
            continue
        spread = f"{one['speed_up']:.2f} ({one['speed_up_min']:.2f} to {one['speed_up_max']:.2f})"
        rows.append(
            [
                *(name, significant(one["episodes_per_s"]), spread, significant(one["linear"])),
                *(significant(one["efficiency"]), significant(one["updates_per_s"])),
                *(f"{one['updating_share']:.0%}", f"{one['sharing_share']:.0%}"),
            ]
        )
    header = ["changed", "episodes/s", "speed-up", "linear", "efficiency", "updates/s"]
    return [*header, "time in updates", "in sharing weights"], rows


def scaling_worlds(*parts: str) -> Table:
    """Worlds per hour of training over random fleets, and the CPU time of a world by process."""
    table = read("scaling_worlds", BENCHMARKS)
    rows = []
    for _, one in table[table["part"].isin(parts)].iterrows():
        spread = f"{one['speed_up']:.2f} ({one['speed_up_min']:.2f} to {one['speed_up_max']:.2f})"
        cpu_ms = [f"{one[f'{part}_s_per_world'] * 1e3:.0f}" for part in ("playing", "learning", "driver", "ray")]
        arranged = [f"{one[key]}" for key in ("runners", "learners", "worlds", "batch", "staleness")]
        rates = [significant(one["worlds_per_hour"]), spread, significant(undisturbed_per_hour(one))]
        rows.append([*arranged, *rates, *cpu_ms, f"{one['driver_share']:.1%}"])
    header = ["runners", "learners", "worlds an iteration", "batch", "`max_staleness`"]
    header += ["worlds/h", "speed-up", "worlds/h with a core each"]
    cpu = [f"{part}, CPU ms a world" for part in ("playing", "learning", "driver", "Ray")]
    return [*header, *cpu, "driver's share"], rows


AXES = {
    "env-runners": "environment runners",
    "envs": "environments per runner",
    "learners": "learners",
    "servers": "edge servers",
    "stations": "base stations",
    "device": "device of the learner",
}


def calibration() -> Table:
    """Relative errors of calibrated fleets, and live delays over simulated ones."""
    rows = [
        [
            one["fleet"],
            *(f"{float(one[key]) * 100:.1f} %" for key in ("own_line_error", "simulator_error")),
            *(one[f"{name}_live_over_simulated"] for name in ("capacity_proportional", "round_robin")),
        ]
        for _, one in read("calibration", dtype=str).iterrows()
    ]
    header = ["fleet", "held-out error, own line", "in the simulator"]
    return [*header, "capacity-proportional, live over simulated", "round-robin"], rows


def service_delays() -> Table:
    """Delays over HTTP of a running service beside simulated ones."""
    return shown(read("service_delays", BENCHMARKS).to_dict("records"))


def service_faults() -> Table:
    """What was seen while servers and the ingress of a running service were killed, and while its fleet changed."""
    about = read("service_faults", BENCHMARKS)
    return ["part", "figure", "seen"], [
        [one["part"], one["figure"], significant(one["value"])] for _, one in about.iterrows()
    ]


def sd3_models() -> Table:
    """Parameters of Stable Diffusion 3's models, and their memory by number format."""
    counts = _sd3("models")
    counts |= {"all": sum(counts.values()), "without T5": sum(counts.values()) - counts["T5-XXL"]}
    gib = [[f"{dtype}, GiB", *(f"{n * size / 2**30:.2f}" for n in counts.values())] for dtype, size in DTYPES.items()]
    return ["", *counts], [["parameters", *(f"{n / 1e6:.0f} M" for n in counts.values())], *gib]


def sd3_profiles() -> Table:
    """What each memory profile of a pipeline does, and its weights on the device."""
    gib = _sd3("profiles")
    header = ["memory profile", "what it does", "needs", "weights of SD3-medium on the device, fp16", "time"]
    return header, [[f"`{name}`", does, needs, f"{gib[name]:.2f} GiB", time] for name, does, needs, time in PROFILES]


def _sd3(table: str) -> dict[str, float]:
    cells = read("sd3_memory", BENCHMARKS)
    return cells[cells["table"] == table].set_index("row")["value"].to_dict()


DTYPES = {"fp16": 2, "fp32": 4}
PROFILES = (
    ("full", "everything on the device", "", "fastest"),
    ("no_t5", "T5 is not loaded, as in the paper", "", "fastest"),
    ("nf4_t5", "T5 in 4 bits", "CUDA, bitsandbytes", "as full"),
    ("fp8", "no T5; denoiser's weights in 8 bits, cast up layer by layer", "", "casting in every step"),
    (
        *("model_offload", "no T5; one model after the other on the device", "CUDA, accelerate"),
        "a transfer of each model per image",
    ),
    (
        *("group_offload", "no T5; one block at a time, the next on its way", "(pointless without CUDA)"),
        "each step transfers the denoiser, 0.3 s or more",
    ),
)


def policy_guard() -> Table:
    """What the guard of a running service finds while a policy decides."""
    return guard_table(read("policy_guard"))


def improve_loop() -> Table:
    """Policies before and after an improvement, over least work left on fresh requests of the changed world."""
    table = read("improve_loop")
    rows = []
    for seed, of_seed in table.groupby("seed"):
        old, new = (of_seed[of_seed["scheduler"] == name].iloc[0] for name in ("old policy", "after improve"))
        shown = [f"{one[f'{measure}_ratio']:.2f}" for one in (old, new) for measure in ("mean", "p99")]
        spread = [f" ({new[f'{measure}_low']:.2f}–{new[f'{measure}_high']:.2f})" for measure in ("mean", "p99")]
        rows.append([str(seed), f"`{new['verdict']}`", *shown[:2], shown[2] + spread[0], shown[3] + spread[1]])
    means = table.groupby("scheduler")[["mean_ratio", "p99_ratio"]].agg(["mean", "std"])
    last = [
        mean_sd(means.loc[name, (measure, "mean")], 2, means.loc[name, (measure, "std")])
        for name in ("old policy", "after improve")
        for measure in ("mean_ratio", "p99_ratio")
    ]
    rows.append(["mean ± sd", "", *last])
    return ["seed", "verdict", "old policy, mean", "old, p99", "after `improve`, mean", "after, p99"], rows
