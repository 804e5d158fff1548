"""The benchmark of the service runs and writes its page. Nothing is timed here."""

import pytest

from benchmarks import serving


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.extended
def test_the_benchmark_measures_every_path_and_writes_its_page(ray_cluster, tmp_path, capsys):
    assert serving.main(["--smoke", "--output", str(tmp_path)]) in (0, 1)
    page = (tmp_path / "serving.md").read_text()
    for path in ("direct call of an actor", "dispatcher in this process", "HTTP, ingress with a dispatcher"):
        assert f"| {path} |" in page
    assert "goal 10 ×" in page and capsys.readouterr().err == ""


def test_decisions_are_timed_for_a_rule_and_a_policy():
    rows = serving.decided(5, decisions=10)
    assert [row["what decides"] for row in rows] == ["least-work-left", "LAD-Dispatch"]
    assert all(0 < row["median ms"] <= row["p99 ms"] for row in rows)
