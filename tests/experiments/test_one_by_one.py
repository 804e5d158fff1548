"""The experiment on requests one by one: every cell has the rules and a trained policy, over least work left."""

import pandas as pd
import pytest

from experiments.one_by_one import LEARNED, RULES, Goal, main, slots_of
from lad_rllib.runs.tables import over_first


def test_a_smoke_run_leaves_rows_a_table_and_a_picture_and_is_not_repeated(tmp_path, capsys):
    assert main(["--smoke", "--output", str(tmp_path)]) == 0
    rows = pd.read_csv(tmp_path / "one_by_one.csv")
    assert rows["scheduler"].tolist() == [*RULES, LEARNED] and (rows["p99_s"] >= rows["mean_s"]).all()
    assert (tmp_path / "one_by_one.png").exists() and "| lad-dispatch | 1 |" in capsys.readouterr().out
    assert main(["--smoke", "--resume", "--output", str(tmp_path)]) == 0
    assert pd.read_csv(tmp_path / "one_by_one.csv").equals(rows)


def test_bounds_can_be_chosen_on_episodes_that_are_not_the_test_s(tmp_path, capsys):
    delays = {}
    for seed in (1_000_000, 3_000_000):
        folder = tmp_path / str(seed)
        assert main(["--smoke", "--requests", "100", "--test-seed", str(seed), "--output", str(folder)]) == 0
        rows = pd.read_csv(folder / "one_by_one.csv").set_index("scheduler")
        delays[seed] = rows.loc[RULES[0], "mean_s"]
    assert len(set(delays.values())) == 2
    assert main(["--smoke", "--requests", "100", "--resume", "--output", str(folder)]) == 2
    assert "has rows of test_seed 3000000, not 1000000" in capsys.readouterr().err


def test_ratios_are_over_the_first_scheduler_of_the_same_cell_and_seed():
    cell = {"workload": "w", "load": 0.5, "order": "fifo", "bound": "-"}
    rows = [
        cell | {"seed": seed, "scheduler": name, "mean_s": mean, "p95_s": 1.0, "p99_s": 1.0}
        for seed, name, mean in ((0, RULES[0], 2.0), (0, LEARNED, 1.0), (1, RULES[0], 4.0), (1, LEARNED, 3.0))
    ]
    ratios = over_first(pd.DataFrame(rows), [*cell, "seed"], ["mean_s"])
    assert ratios["over_mean_s"].tolist() == pytest.approx([1.0, 0.5, 1.0, 0.75])


def test_each_order_says_what_is_bounded():
    assert Goal.of("aged:service_weight=100/p95=0.97") == ("aged:service_weight=100", 95.0, 0.97, None)
    assert Goal.of("fifo/cap=0.6") == ("fifo", None, 1.0, 0.6) and Goal.of("fifo/cap=0.6").bound == "cap 0.6"
    assert Goal.of("aged:service_weight=100/p95=0.97").bound == "p95 0.97" and Goal.of("fifo").bound == "-"


def test_a_workload_of_slots_says_its_tasks():
    assert slots_of("paper/20").arrivals.max_tasks == 20 and slots_of("paper").arrivals.max_tasks == 50


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--orders", "fifo/99"],
            "an order must be ORDER, ORDER/pPERCENTILE=SHARE or ORDER/cap=CAP, such as fifo/p99=0.95",
        ),
        (["--orders", "fastest/p99=1"], "fastest"),
        (["--workloads", "paper/few"], "a workload must be NAME or NAME/TASKS, such as paper/20"),
    ],
)
def test_what_cannot_be_run_is_said_in_one_line(flags, message, tmp_path, capsys):
    assert main([*flags, "--output", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err
