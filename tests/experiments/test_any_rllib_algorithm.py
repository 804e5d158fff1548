"""RLlib's own algorithms on the per-station environment: they run, and failures are told."""

import math

import pandas as pd
import pytest

from experiments.any_rllib_algorithm import main


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("algorithm", "policy"),
    [
        ("ppo", "--policy-per-station"),
        ("sac", "--shared-policy"),
        pytest.param("ppo", "--shared-policy", marks=pytest.mark.extended),
        pytest.param("sac", "--policy-per-station", marks=pytest.mark.extended),
    ],
)
def test_smoke_two_iterations_give_finite_delays_that_the_oracle_undercuts(
    algorithm, policy, ray_cluster, tmp_path, capsys
):
    arguments = ["--algorithm", algorithm, policy, "--smoke", "--output", str(tmp_path)]
    assert main(arguments) == 0
    rows = [list(map(float, line.split())) for line in capsys.readouterr().out.splitlines()[-2:]]
    assert [row[0] for row in rows] == [1, 2]
    for _, _, delay_s, oracle_s, *yardsticks_s, ratio, _ in rows:
        assert math.isfinite(delay_s)
        assert 0 < oracle_s < delay_s
        assert ratio > 1
        assert len(yardsticks_s) == 2 and min(yardsticks_s) > 0
    assert rows[0][3] != rows[1][3]  # other arrivals in each iteration


@pytest.mark.extended
@pytest.mark.cluster
def test_a_run_goes_on_from_its_checkpoint_and_keeps_its_rows(ray_cluster, tmp_path, capsys):
    arguments = ["--smoke", "--algorithm", "ppo", "--output", str(tmp_path / "run")]
    assert main([*arguments, "--storage-path", str(tmp_path / "shared")]) == 0
    again = ["--resume", "--iterations", "3", "--decisions", "300", "--output", str(tmp_path / "elsewhere" / "run")]
    assert main([*again, "--storage-path", str(tmp_path / "shared")]) == 0
    rows = pd.read_csv(tmp_path / "elsewhere" / "run" / "progress.csv")
    assert rows["iteration"].tolist() == [1, 2, 3]
    before = pd.read_csv(tmp_path / "run" / "progress.csv")
    assert rows["mean_service_delay_s"].tolist()[:2] == before["mean_service_delay_s"].tolist()
    assert main(arguments) == 2
    assert "holds a run already" in capsys.readouterr().err


def test_a_setting_that_does_not_exist_is_one_line(tmp_path, capsys):
    assert main(["--setting", "nowhere", "--output", str(tmp_path)]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_less_than_one_iteration_is_refused(capsys):
    assert main(["--iterations", "0"]) == 2
    assert "--iterations must be a whole number of at least 1" in capsys.readouterr().err
