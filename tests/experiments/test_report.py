"""The page of all results: what is there is shown beside the paper's, what is missing is named."""

import pandas as pd

from experiments import report
from lad_rllib.cli.main import run_command

METHODS = pd.DataFrame(
    {
        "case": ["lad-ts", "sac-ts"],
        "over_oracle": [1.05, 1.0],
        "over_oracle_sd": [0.01, 0.02],
        "converged_at": [60.0, 400.0],
        "converged_at_sd": [5.0, 10.0],
    }
)
SWEEP = pd.DataFrame(
    {
        "sweep": ["tasks"] * 4,
        "value": [10, 10, 50, 50],
        "method": ["lad-ts", "sac-ts"] * 2,
        "over_oracle": [1.1, 1.2, 1.2, 1.1],
    }
)


def page_of(folder):
    assert run_command(report.run, report.parse(["--results", str(folder)])) == 0
    return (folder / "report.md").read_text()


def test_an_empty_folder_gives_a_page_that_says_how_to_make_each_result(tmp_path):
    text = page_of(tmp_path)
    assert text.count("Not run yet") == len(report.SECTIONS) == 11 and "python experiments/sweeps.py" in text


def test_numbers_stand_beside_the_papers_with_a_verdict(tmp_path):
    METHODS.to_csv(tmp_path / "methods_summary.csv", index=False)
    SWEEP.to_csv(tmp_path / "sweeps_summary.csv", index=False)
    text = page_of(tmp_path)
    assert "| LAD-TS, final delay over the greedy oracle's | 1.041 | 1.050 ± 0.010 | agrees |" in text
    assert "| SAC-TS, episodes to convergence | about 200 | 400 ± 10 | 100% above the paper's |" in text
    assert (
        "| SAC-TS's final delay above LAD-TS's | 14.3% | -4.8% | the other way round; 17% below the paper's |" in text
    )
    assert "| LAD-TS least of the learned methods, sweep of tasks | at every point | 1 of 2 | holds in part |" in text


def test_texts_go_one_level_down_with_their_pictures(tmp_path):
    (tmp_path / "trace.md").write_text("# Log\n\n## Load 1\n\ntext\n")
    (tmp_path / "trace.png").touch()
    text = page_of(tmp_path)
    assert "## Log\n\n### Load 1" in text and "![trace](trace.png)" in text


def test_a_folder_that_is_not_there_is_told_in_one_line(tmp_path, capsys):
    assert run_command(report.run, report.parse(["--results", str(tmp_path / "none")])) == 2
    assert "there is no folder" in capsys.readouterr().err
