"""Smoke test: the benchmark of dispatch runs and writes its tables. Nothing is timed here."""

import csv

import pytest

from benchmarks import dispatch


@pytest.mark.extended
@pytest.mark.cluster
def test_the_smoke_run_measures_every_path_and_writes_both_files(ray_cluster, tmp_path, capsys):
    assert dispatch.main(["--smoke", "--output", str(tmp_path)]) == 0
    with (tmp_path / "dispatch.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    paths = {table: {row["path"] for row in rows if row["table"] == table} for table in ("latency", "throughput")}
    assert len(paths["latency"]) == 4 and len(paths["throughput"]) == 3
    assert all(float(row["value"]) > 0 for row in rows if row["figure"].startswith("waits"))
    assert all(float(row["value"]) > 10 for row in rows if row["figure"].startswith("MiB each"))
    assert all(row["command"] and row["commit"] and row["machine"] and row["versions"] for row in rows)
    assert "dispatcher, edge servers as actors" in (tmp_path / "dispatch.md").read_text()
    assert "goal under 5 ms" in capsys.readouterr().out
