"""Rows of results that survive a kill and are gone on with."""

import pytest

from lad_rllib.errors import ConfigurationError
from lad_rllib.runs.rows import ResultRows


def test_rows_are_on_disk_as_they_come_and_kept_by_a_resumed_run(tmp_path):
    file = tmp_path / "rows.csv"
    rows = ResultRows(file, resume=False, fleet="two")
    rows.add({"tasks": 1, "delay_s": 0.5})
    rows.add({"tasks": 2, "delay_s": 0.7})
    again = ResultRows(file, resume=True, fleet="two")
    assert again.has(tasks=2) and not again.has(tasks=3) and again.has(tasks=1, delay_s=0.5)
    again.drop(tasks=1)
    again.add({"tasks": 3, "delay_s": 0.9})
    assert ResultRows(file, resume=True, fleet="two").frame["tasks"].tolist() == [2, 3]
    assert ResultRows(file, resume=False).frame.empty


def test_rows_of_something_else_are_refused(tmp_path):
    file = tmp_path / "rows.csv"
    ResultRows(file, resume=False, fleet="two").add({"tasks": 1})
    with pytest.raises(ConfigurationError, match="has rows of fleet two, not three; leave --resume out"):
        ResultRows(file, resume=True, fleet="three")
    with pytest.raises(ConfigurationError, match="has rows of seed none, not 1"):
        ResultRows(file, resume=True, seed=1)


@pytest.mark.parametrize("content", [b"\x00\xff: [}\n", b"a,b\n1,2\n1,2,3\n", b"\n"])
def test_damaged_rows_are_refused_in_one_line(content, tmp_path):
    (tmp_path / "rows.csv").write_bytes(content)
    with pytest.raises(ConfigurationError, match="rows.csv is damaged: .*leave --resume out") as error:
        ResultRows(tmp_path / "rows.csv", resume=True)
    assert "\n" not in str(error.value)
