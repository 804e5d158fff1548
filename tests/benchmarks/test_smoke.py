"""Smoke test: the benchmark runs and writes its tables. Nothing is timed here."""

import csv

import pytest

from benchmarks import speed


@pytest.mark.extended  # as the smoke runs of the other long benchmarks
@pytest.mark.cluster
@pytest.mark.slow
def test_the_quick_benchmark_writes_both_tables(ray_cluster, tmp_path, capsys):
    assert speed.main(["--quick", "--output", str(tmp_path)]) == 0
    with (tmp_path / "speed.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["table"] for row in rows} == {"paths", "growth"}
    assert {row["row"][:3] for row in rows if row["table"] == "paths"} == {"(a)", "(b)", "(c)", "(d)"}
    assert all(row["command"] and row["commit"] and row["machine"] and row["versions"] for row in rows)
    assert "(c) LADTS.train()" in (tmp_path / "speed.md").read_text()
    assert "times (b), goal at most 1.3" in capsys.readouterr().out
