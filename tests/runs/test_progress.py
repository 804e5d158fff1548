"""What a training run shows of itself."""

import logging

from lad_rllib import names
from lad_rllib.runs import progress
from lad_rllib.runs.command import show_remarks


def test_the_first_iteration_is_kept_out_of_the_estimate_of_the_time_left(monkeypatch, capsys):
    """It takes 100 s here, and every later one 2 s."""
    clock = iter([100.0, 102.0, 104.0, 106.0])
    monkeypatch.setattr(progress.time, "perf_counter", lambda: next(clock))
    display = progress.TrainingDisplay(total=4, done=0)
    for episode in range(1, 5):
        display.update({"episodes": episode, names.MEAN_DELAY: 5.0, names.DELAY_OVER_ORACLE: 1.0})
    endings = [line.rpartition(")")[2].split() for line in capsys.readouterr().out.splitlines()]
    assert endings == [[], ["left", "4", "s"], ["left", "2", "s"], ["left", "0", "s"]]


def test_remarks_of_the_package_go_to_standard_error_once(capsys):
    for _ in range(2):  # as many commands in one process
        show_remarks("lad_rllib.tested")
    logging.getLogger("lad_rllib.tested").info("compiling")
    assert capsys.readouterr().err == "compiling\n"


def test_bars_leave_nothing_where_no_terminal_is(capsys):
    with progress.bars() as shown:
        shown.advance(shown.add_task("images", total=2))
    assert capsys.readouterr() == ("", "")
