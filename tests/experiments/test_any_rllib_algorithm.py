"""RLlib's own algorithms on the per-station environment: they run, and failures are told."""

import math

import pytest

from experiments.any_rllib_algorithm import main


@pytest.mark.cluster
@pytest.mark.parametrize("policy", ["--shared-policy", "--policy-per-station"])
@pytest.mark.parametrize("algorithm", ["ppo", "sac"])
def test_smoke_two_iterations_give_finite_delays_that_the_oracle_undercuts(algorithm, policy, ray_cluster, capsys):
    arguments = ["--algorithm", algorithm, policy, "--setting", "small", "--iterations", "2", "--decisions", "300"]
    assert main(arguments) == 0
    rows = [list(map(float, line.split())) for line in capsys.readouterr().out.splitlines()[-2:]]
    assert [row[0] for row in rows] == [1, 2]
    for _, _, delay_s, oracle_s, *yardsticks_s, ratio, _ in rows:
        assert math.isfinite(delay_s)
        assert 0 < oracle_s < delay_s
        assert ratio > 1
        assert len(yardsticks_s) == 2 and min(yardsticks_s) > 0
    assert rows[0][3] != rows[1][3]  # other arrivals in each iteration


def test_a_setting_that_does_not_exist_ends_with_an_error_status(capsys):
    assert main(["--setting", "nowhere"]) == 1
    assert "nowhere" in capsys.readouterr().err


def test_less_than_one_iteration_is_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["--iterations", "0"])
    assert "--iterations and --decisions must be at least 1" in capsys.readouterr().err
