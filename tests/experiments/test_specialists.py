"""The policy for any fleet against specialists: all play the same episodes, ratios are over the specialists' mean."""

import pandas as pd

from experiments.pages.fleets import specialists
from experiments.specialists import NO_SEED, SPECIALIST, main


def test_a_smoke_run_trains_a_specialist_beside_what_needs_no_training(tmp_path, capsys):
    assert main(["--smoke", "--output", str(tmp_path)]) == 0
    rows = pd.read_csv(tmp_path / "specialists.csv")
    assert list(zip(rows["scheduler"], rows["seed"], strict=True)) == [
        ("least-work-left", NO_SEED),
        ("any-fleet", NO_SEED),
        ("any-fleet, no cap", NO_SEED),
        (SPECIALIST, 0),
    ]
    assert (rows["p99_s"] > rows["mean_s"]).all() and rows["mean_s"].nunique() > 1
    assert main(["--smoke", "--resume", "--seeds", "1", "--output", str(tmp_path)]) == 0
    again = pd.read_csv(tmp_path / "specialists.csv")
    assert again[:4].equals(rows) and again["seed"].tolist() == [NO_SEED] * 3 + [0, 1]
    assert "| unequal-8 | 0.7 | `fifo` | 2 |" in capsys.readouterr().out


def test_ratios_are_over_the_mean_of_the_specialists():
    cases = [("least-work-left", -1, 4.0), ("any-fleet", -1, 3.0), ("specialist", 0, 2.0), ("specialist", 1, 3.0)]
    cell = {"fleet": "one", "load": 0.7, "order": "fifo"}
    rows = [cell | {"scheduler": name, "seed": seed, "mean_s": s, "p99_s": 2 * s} for name, seed, s in cases]
    header, [row] = specialists(pd.DataFrame(rows))
    # 0.5 and 0.75 of least work left; 3 over the mean of 2 and 3
    assert row == ["one", "0.7", "`fifo`", "2", "0.625 ± 0.177 / 0.625 ± 0.177", "1.200 / 1.200"]
    assert header[-1] == "any-fleet over specialist, mean / p99"
