"""The experiment on any fleet: it goes on where it stopped, keeps the best policy, and judges it on other fleets."""

import numpy as np
import pandas as pd
import pytest
import torch

from experiments.any_fleet import FAMILIES, LEARNED, PRIOR, UNCAPPED, YARDSTICK, describe, main
from lad_rllib.algorithms.lad_dispatch import DispatchPolicy

SMALL = ("--smoke", "--iterations", "3")


@pytest.mark.slow
def test_a_run_in_pieces_ends_where_one_in_a_piece_does_and_leaves_a_policy(tmp_path):
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    assert main([*SMALL, "--output", str(whole)]) == 0
    for _ in range(3):
        assert main([*SMALL, "--resume", "--seconds", "1e-6", "--output", str(pieces)]) == 0
    one, other = (torch.load(folder / "seed-0" / "state.pt", weights_only=True) for folder in (whole, pieces))
    assert one["schedule"]["iteration"] == other["schedule"]["iteration"] == 3
    torch.testing.assert_close(one["average"]["weights"], other["average"]["weights"], rtol=0, atol=0)
    rows = pd.read_csv(pieces / "seed-0" / "any_fleet.csv")
    assert rows["iteration"].tolist() == [1, 2, 3] and (rows["held_out"] <= rows["held_out_worst"]).all()
    best = rows.loc[rows["held_out"].idxmin(), "iteration"]
    kept = DispatchPolicy.from_checkpoint(pieces / "policy").weights
    assert np.array_equal(kept, other["average"]["weights"].numpy()) == (best == 3)


def test_a_smoke_run_judges_every_seed_and_the_prior_over_least_work_left_and_keeps_the_best(tmp_path, capsys):
    assert main(["--smoke", "--seeds", "3", "4", "--judge", "--output", str(tmp_path)]) == 0
    rows = pd.read_csv(tmp_path / "judged.csv", dtype={"seed": str})
    of_cell = [
        (YARDSTICK, "-"),
        (PRIOR, "-"),
        *((name, seed) for seed in "34" for name in (f"{LEARNED}{UNCAPPED}", f"{LEARNED}, cap 1.2", LEARNED)),
    ]
    assert list(zip(rows["scheduler"], rows["seed"], strict=True)) == of_cell * len(FAMILIES)
    assert (rows["p99_s"] > rows["mean_s"]).all()
    own = ["--policies", "any-fleet", "--caps", "--only-capped", "--output", str(tmp_path / "own")]
    assert main(["--smoke", "--judge", *own]) == 0
    capped = pd.read_csv(tmp_path / "own" / "judged.csv")["scheduler"]
    assert capped.tolist() == [YARDSTICK, PRIOR, LEARNED] * len(FAMILIES)
    scores = {seed: pd.read_csv(tmp_path / f"seed-{seed}" / "any_fleet.csv")["held_out"].min() for seed in "34"}
    best = min(scores, key=scores.get)
    weights = [DispatchPolicy.from_checkpoint(tmp_path / name / "policy").weights for name in ("", f"seed-{best}")]
    np.testing.assert_array_equal(*weights)
    said = capsys.readouterr().out
    assert "| fifo | 0.7 | any-fleet |" in said and f"the best policy is that of seed-{best}" in said


def test_ratios_are_over_least_work_left_on_the_same_fleet_and_their_spread_is_over_seeds():
    cells = [(5, "equal"), (5, "four classes")]
    rows = [
        {"servers": a, "speeds": s, "load": 0.7, "order": "fifo", "scheduler": name, "seed": seed, "mean_s": mean}
        for (a, s), means in zip(cells, ((2.0, 1.0, 1.0), (4.0, 8.0, 2.0)), strict=True)
        for (name, seed), mean in zip(((YARDSTICK, "-"), (LEARNED, "0"), (LEARNED, "1")), means, strict=True)
    ]
    text = describe(pd.DataFrame(rows).assign(p99_s=9.0), main.parse(["--episodes", "3"]))
    # seeds have the geometric means of 0.5 and 2, and of 0.5 and 0.5
    assert "| fifo | 0.7 | any-fleet | 0.750 ± 0.354 | 1.000 | 2.000 | 4 |" in text
