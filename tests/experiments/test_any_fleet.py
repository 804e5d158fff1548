"""The experiment on any fleet: it goes on where it stopped, keeps the best policy, and judges it on other fleets."""

import numpy as np
import pandas as pd
import pytest
import torch

from experiments.any_fleet import FAMILIES, PRIOR, UNCAPPED, YARDSTICK, describe, main
from lad_rllib.algorithms.lad_dispatch import DispatchPolicy

SMALL = ("--smoke", "--iterations", "3")


@pytest.mark.slow
def test_a_run_in_pieces_ends_where_one_in_a_piece_does_and_leaves_a_policy(tmp_path):
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    assert main([*SMALL, "--output", str(whole)]) == 0
    for _ in range(3):
        assert main([*SMALL, "--resume", "--seconds", "1e-6", "--output", str(pieces)]) == 0
    one, other = (torch.load(folder / "state.pt", weights_only=True) for folder in (whole, pieces))
    assert one["schedule"]["iteration"] == other["schedule"]["iteration"] == 3
    torch.testing.assert_close(one["average"]["weights"], other["average"]["weights"], rtol=0, atol=0)
    rows = pd.read_csv(pieces / "any_fleet.csv")
    assert rows["iteration"].tolist() == [1, 2, 3] and (rows["held_out"] <= rows["held_out_worst"]).all()
    best = rows.loc[rows["held_out"].idxmin(), "iteration"]
    kept = DispatchPolicy.from_checkpoint(pieces / "policy").weights
    assert np.array_equal(kept, other["average"]["weights"].numpy()) == (best == 3)


def test_a_smoke_run_judges_the_policy_and_the_prior_over_least_work_left(tmp_path, capsys):
    assert main(["--smoke", "--judge", "--output", str(tmp_path)]) == 0
    rows = pd.read_csv(tmp_path / "judged.csv")
    assert rows["scheduler"].tolist() == [YARDSTICK, PRIOR, UNCAPPED, "any-fleet"] * len(FAMILIES)
    assert (rows["p99_s"] > rows["mean_s"]).all()
    assert "| fifo | 0.7 | any-fleet |" in capsys.readouterr().out


def test_ratios_are_over_least_work_left_on_the_same_fleet():
    cells = [(5, "equal"), (5, "four classes")]
    rows = [
        {"servers": a, "speeds": s, "load": 0.7, "order": "fifo", "scheduler": name, "mean_s": mean, "p99_s": 9.0}
        for (a, s), means in zip(cells, ((2.0, 1.0), (4.0, 8.0)), strict=True)
        for name, mean in zip((YARDSTICK, "any-fleet"), means, strict=True)
    ]
    text = describe(pd.DataFrame(rows), main.parse(["--episodes", "3"]))
    assert "| fifo | 0.7 | any-fleet | 1.000 | 1.000 | 2.000 | 2 |" in text  # of 0.5 and 2
