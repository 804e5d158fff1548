"""Rows of results that survive a kill and are gone on with."""

import pytest

from lad_rllib.cli.rows import ResultRows
from lad_rllib.errors import ConfigurationError


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
