"""Smoke test: the benchmark of reading logs runs. Nothing is timed here."""

from benchmarks import log_reading


def test_the_benchmark_has_a_row_for_each_file_and_way(tmp_path):
    rows = log_reading.measure(log_reading.write_logs(tmp_path, rows=500, characters=60), repeats=1)
    assert {(row["file"], row["way"]) for row in rows} == {
        (ending, way) for ending in (".csv", ".parquet") for way in ("read_trace", "pandas")
    }
    assert all(row["cpu_s"] > 0 for row in rows)
