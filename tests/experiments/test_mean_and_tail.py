"""The picture of mean against tail: rules under each order, and what was learned before."""

import pandas as pd

from experiments.mean_and_tail import dominating, main
from experiments.one_by_one import LEARNED

POINTS = pd.DataFrame(
    [("rule", "fifo", 1.0, 1.0), ("rule", "aged", 0.6, 1.5), (LEARNED, "aged", 0.7, 1.6), (LEARNED, "fifo", 0.7, 1.4)],
    columns=["scheduler", "order", "mean", "p99"],
)


def test_a_rule_dominates_what_is_worse_in_both():
    assert [dominating(point, POINTS) for _, point in POINTS.iterrows()] == ["-", "-", "rule aged", "-"]


def test_a_run_plays_the_rules_and_takes_what_was_learned(tmp_path, capsys):
    learned, output = tmp_path / "learned", tmp_path / "output"
    learned.mkdir()
    flags = ["--smoke", "--learned", str(learned), "--output", str(output)]
    assert main(flags) == 2 and "run experiments.one_by_one --workloads paper first" in capsys.readouterr().err
    row = {"workload": "paper", "load": 1.24, "order": "fifo", "bound": "-", "scheduler": LEARNED}
    summary = pd.DataFrame([row | {"over_mean_s": 0.6, "over_p99_s": 3.0}])
    summary.to_csv(learned / "one_by_one_summary.csv", index=False)
    assert main(flags) == 0
    points = pd.read_csv(output / "mean_and_tail.csv").set_index("scheduler")
    assert points.loc["greedy-oracle", "mean"] == points.loc["greedy-oracle", "p99"] == 1.0
    assert points.loc[LEARNED, "p99"] == 3.0 and "p99 bounded" in set(points.loc["lad-pmd", "bound"])
    assert (output / "mean_and_tail.png").exists()
