"""The benchmark of decisions runs. Nothing is timed here."""

from benchmarks.decisions import measured, schedulers


def test_every_scheduler_is_measured_beside_least_work_left():
    rows = measured(4, requests=50)
    assert [row["scheduler"] for row in rows] == [*schedulers()]
    assert all(0 < row["median, µs"] <= row["99th percentile, µs"] for row in rows)
