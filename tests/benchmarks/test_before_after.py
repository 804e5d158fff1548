"""The benchmark before and after a change runs both sides and compares them. Nothing is timed here."""

import pytest

from benchmarks import before_after

SIDE = """
import sys
print("slow", "even", sep="\\t", flush=True)
for line in sys.stdin:
    print({speed} if line == "slow\\n" else 1.0, flush=True)
"""


@pytest.fixture
def sides(tmp_path, monkeypatch):
    """Two checkouts whose cases take a stated time."""
    (tmp_path / "side.py").write_text("import os, runpy; runpy.run_path(os.path.join(os.getcwd(), 'cases.py'))")
    for name, speed in (("before", 2.0), ("after", 3.0)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cases.py").write_text(SIDE.format(speed=speed))
    monkeypatch.setattr(before_after, "CASES", tmp_path / "side.py")
    monkeypatch.setattr(before_after, "ROOT", tmp_path / "after")
    return tmp_path


def test_a_case_that_has_become_slower_is_named_and_fails(sides, capsys):
    flags = ["--before", str(sides / "before"), "--rounds", "3", "--output", str(sides / "out")]
    assert before_after.main(flags) == 1
    assert "MISSED: goal at most 1.05; the most is 1.500, slow" in capsys.readouterr().out
    page = (sides / "out" / "before_after.md").read_text()
    assert "| slow | 2 | 3 | 1.5 | 1.5 |" in page and "| even | 1 | 1 | 1 | 1 |" in page


def test_a_side_that_cannot_run_ends_the_benchmark(sides):
    (sides / "before" / "cases.py").write_text("raise SystemExit(3)")
    with pytest.raises(SystemExit, match="a side ended with status 3"):
        before_after.measured(sides / "before", sides / "after", 1)
