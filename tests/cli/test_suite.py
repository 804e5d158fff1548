"""``lad-rllib bench-suite``: its rows, its leaderboard, and schedulers from elsewhere."""

import json
import shutil
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import lad_rllib
from lad_rllib import names
from lad_rllib.cli import main
from lad_rllib.runs.contest import Contest
from lad_rllib.runs.leaderboard import leaderboard, leaderboards
from lad_rllib.runs.over_windows import ratio_interval
from lad_rllib.runs.workloads import WORKLOADS, make_workload
from lad_rllib.scheduling.request_scheduler import REQUEST_SCHEDULERS, RequestScheduler

SMALL = {"--workloads": "unequal-8", "--loads": "0.7", "--episodes": "3", "--requests": "300", "--order": "fifo"}


def small(words):
    """A command line that plays little where the words say nothing else."""
    return ["bench-suite", *words, *(word for flag in SMALL.items() if flag[0] not in words for word in flag)]


def rows_of(capsys, folder, *words):
    assert main([*small(words), "--output", str(folder), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def plays(monkeypatch):
    """Names of the schedulers that are played."""
    found, play = [], Contest.play
    monkeypatch.setattr(Contest, "play", lambda self, name, *rest: found.append(name) or play(self, name, *rest))
    return found


def test_a_row_has_delays_intervals_swaps_and_a_bound_and_is_not_played_again(tmp_path, capsys, plays):
    words = ["--workloads", "bursty", "swap-heavy", "--schedulers", "random"]
    rows = rows_of(capsys, tmp_path, *words)
    assert [(row["workload"], row["work"]) for row in rows] == [
        (workload, work) for workload in ("bursty", "swap-heavy") for work in ("predicted", "known")
    ]
    for row in rows:
        assert row["bound_s"] < row["p50_s"] <= row["p95_s"] <= row["p99_s"] <= row["max_s"]
        assert row["over_same_order_low"] <= row["over_same_order"] <= row["over_same_order_high"]
        assert row["over_same_order"] == row["over_least_work_left"] > 1 and 0 < row["slo_attainment"] < 1
    assert all(0 < row["tenant_fairness"] <= 1 for row in rows[:2]) and all(0 < row["swaps"] < 1 for row in rows[2:])
    assert {path.name for path in tmp_path.iterdir()} == {"suite.csv", "leaderboard.md", "bursty.png", "swap-heavy.png"}
    plays.clear()
    again = rows_of(capsys, tmp_path, *words, "round-robin", "--resume")
    assert set(plays) == {"round-robin", "least-work-left"}  # the new one, and what it is compared with
    assert again[: len(rows)] == rows and [row["scheduler"] for row in again[len(rows) :]] == ["round-robin"] * 4


def test_slots_are_played_at_the_load_that_is_asked_for_by_both_kinds_of_scheduler(tmp_path, capsys):
    words = ["--workloads", "paper", "--episodes", "1", "--order", "shortest_first", "fifo"]
    rows = rows_of(capsys, tmp_path, *words, "--schedulers", "least-loaded", "card")
    assert [(row["scheduler"], row["order"]) for row in rows] == [
        (name, order) for name in ("least-loaded", "card") for order in ("shortest_first", "fifo")
    ]
    assert {row["work"] for row in rows} == {"known"} and rows[0]["mean_s"] < rows[1]["mean_s"]
    assert [make_workload("paper").at_load(load).load for load in (0.5, 1.2)] == pytest.approx([0.5, 1.2], abs=0.015)


def test_a_scheduler_of_another_package_takes_part(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(REQUEST_SCHEDULERS, "_registered", {})

    @REQUEST_SCHEDULERS.register("mine")
    class Mine(RequestScheduler):
        def choose(self, view, rng):
            return int(np.argmin(view.work_left_s))

    rows = rows_of(capsys, tmp_path, "--requests", "50")
    assert {row["scheduler"] for row in rows} == {*REQUEST_SCHEDULERS}
    mean = {row["scheduler"]: row["mean_s"] for row in rows if row["work"] == "predicted"}
    assert mean["mine"] == pytest.approx(mean["least-work-left"], rel=0.05)  # the same but for ties
    assert "| mine |" in (tmp_path / "leaderboard.md").read_text()


def test_the_interval_of_a_ratio_is_that_of_pairs():
    rng = np.random.default_rng(1)
    other = rng.lognormal(0.0, 1.0, 30)  # windows differ by far more than schedulers do
    low, high = ratio_interval(0.8 * other * rng.normal(1.0, 0.02, 30), other)
    assert 0.78 < low < 0.8 < high < 0.82
    assert np.isnan(ratio_interval(other[:1], other[:1])).all()


def test_a_leaderboard_has_mean_ranks_and_geometric_means_of_those_who_played_everything():
    cells = [("a", 0.5, 0.5, 2.0), ("a", 0.9, 2.0, 1.0), ("b", 0.5, 0.5, 4.0)]
    table = pd.DataFrame(
        [
            dict(workload=w, load=load, order="fifo", work="known", scheduler=name, mean_s=x, over_same_order=x)
            for w, load, *ratios in cells
            for name, x in zip(("one", "two"), ratios, strict=True)
        ]
    )
    table = pd.concat([table, table[:1].assign(scheduler="absent", mean_s=0.1)]).assign(slo_attainment=0.5)
    table["p99_over_same_order"] = table["over_same_order"] ** 2
    board = leaderboard(table, "fifo", "known").set_index("scheduler")
    assert board.index.tolist() == ["one", "two"] and list(leaderboards(table)) == ["fifo, work known"]
    assert board["rank"].tolist() == pytest.approx([4 / 3, 5 / 3]) and board["worst_over"].tolist() == [2.0, 4.0]
    assert board["over_same_order"].tolist() == pytest.approx([0.5 ** (1 / 3), 2.0])
    assert board["p99_over_same_order"].tolist() == pytest.approx([0.5 ** (2 / 3), 4.0])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--workloads", "gentd26"], "workload gentd26 needs the request log of that name; give --log PATH"),
        (["--log", "x.csv"], "--log has no effect without workload gentd26; leave it out"),
        (["--workloads", "papers"], "unknown workload 'papers'; choose from paper, paper-one-by-one, unequal-8"),
        (["--order", "last"], "'last'"),
        (["--schedulers", "best"], "unknown scheduler 'best'; choose from"),
        (["--schedulers"], "no scheduler to play; give --schedulers or --checkpoint"),
        (["--checkpoint", "bursty=any-fleet"], "--checkpoint bursty=any-fleet is for none of the workloads unequal-8"),
        (["--schedulers", "water-filling"], "none of the schedulers can play these workloads; give other ones"),
        (["--loads", "0"], "--loads"),
    ],
)
def test_options_that_cannot_be_played_are_one_line(words, message, tmp_path, capsys):
    assert main([*small(words), "--output", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_policy_plays_on_its_workload_alone_and_what_is_left_out_is_said(tmp_path, capsys):
    learned = trained_for("shortest_first", tmp_path / "learned")
    policies = [f"bursty={learned}", "any-fleet"]
    words = ["--workloads", "unequal-8", "bursty", "--order", "fifo", "shortest_first", "--work", "predicted"]
    words += ["--schedulers", "greedy-oracle", "random", "--checkpoint", *policies, "--output", str(tmp_path / "suite")]
    capsys.readouterr()
    assert main([*small(words), "--json"]) == 0
    printed = capsys.readouterr()
    rows = {(row["workload"], row["scheduler"], row["order"]) for row in json.loads(printed.out)}
    everywhere = product(("unequal-8", "bursty"), ("random", "any-fleet"), ("fifo", "shortest_first"))
    assert rows == {*everywhere, ("bursty", "LAD-Dispatch", "shortest_first")}
    assert [line for line in printed.err.splitlines() if line.startswith("left out")] == [
        "left out: greedy-oracle: they decide for slots, and the requests of unequal-8, bursty come one by one",
        "left out: LAD-Dispatch on bursty under fifo: it was trained for other orders of service",
    ]


def trained_for(order, folder):
    """The policy of the package, as if it had been trained for one order."""
    shutil.copytree(Path(lad_rllib.__file__).parent / "data/policies/any-fleet", folder)
    description = json.loads((folder / "policy.json").read_text())
    (folder / "policy.json").write_text(json.dumps(description | {"orders": [order]}))
    return folder


@pytest.mark.parametrize(
    ("words", "files"),
    [
        (["bench-suite", *small([])[1:], "--schedulers", "random"], ["suite"]),
        (["evaluate", "--setting", "small", "--episodes", "1"], ["evaluation", "evaluation_servers"]),
    ],
)
def test_tables_are_left_as_parquet_too_where_that_is_asked_for(words, files, tmp_path):
    assert main([*words, "--parquet", "--output", str(tmp_path)]) == 0
    assert sorted(path.stem for path in tmp_path.glob("*.parquet")) == files
    for file in files:
        table = pd.read_parquet(tmp_path / f"{file}.parquet")
        pd.testing.assert_frame_equal(table, pd.read_csv(tmp_path / f"{file}.csv"), check_dtype=False)


def test_rows_of_other_episodes_are_refused(tmp_path, capsys):
    rows_of(capsys, tmp_path, "--schedulers", "random")
    assert main([*small(["--requests", "200", "--resume"]), "--output", str(tmp_path)]) == 2
    assert "has rows of size 3 x 300, not 3 x 200" in capsys.readouterr().err


def test_help_offers_every_workload():
    assert names.SUITE_WORKLOADS == WORKLOADS
