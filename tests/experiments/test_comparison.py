"""What the experiments of several cases share, and what each of them leaves."""

import math

import numpy as np
import pandas as pd
import pytest

from experiments import ablations, beyond, learning, sweeps, trace
from experiments.comparison import tables
from experiments.comparison.methods import compare
from experiments.comparison.runs import Case, CaseRuns, case_config, shared_configuration
from lad_rllib.errors import ConfigurationError
from lad_rllib.runs.command import run_command
from lad_rllib.simulator import build_setting, override_spec


def curves(delays_by_seed, case="lad-ts"):
    """Curves of one case; every yardstick has 10 s."""
    rows = [
        {"case": case, "seed": seed, "episodes": episode, "mean_service_delay_s": delay}
        | dict.fromkeys(("greedy_oracle_delay_s", "water_filling_delay_s", "capacity_proportional_delay_s"), 10.0)
        | {"delay_over_oracle": delay / 10.0}
        for seed, delays in enumerate(delays_by_seed)
        for episode, delay in enumerate(delays, start=1)
    ]
    return pd.DataFrame(rows)


def test_the_last_episodes_count_as_means_of_each_seed_and_their_spread_over_seeds():
    row = tables.last_episodes(curves([[99.0, 10.0, 12.0], [99.0, 13.0, 17.0]]), window=2).iloc[0]
    assert (row["episodes"], row["seeds"]) == ("2-3", 2)
    assert (row["delay_s"], row["delay_sd_s"]) == (13.0, pytest.approx(math.sqrt(8)))
    assert (row["over_oracle"], row["over_oracle_sd"]) == (pytest.approx(1.3), pytest.approx(math.sqrt(0.08)))


def test_a_run_has_converged_where_the_rolling_mean_has_come_to_stay():
    falling = np.r_[np.linspace(30, 10, 100), np.full(100, 10.0)]
    rolling = pd.Series(falling).rolling(10).mean()
    by_hand = rolling[rolling > 11.0].index.max() + 2  # the episode after the last one above, counted from 1
    assert tables.converged_at(falling) == by_hand
    relapsed = np.r_[falling[:150], np.full(10, 30.0), np.full(40, 10.0)]
    assert tables.converged_at(relapsed) > 160
    assert tables.converged_at(np.full(100, 5.0)) == 10
    assert math.isnan(tables.converged_at([5.0] * 19))
    assert math.isnan(tables.converged_at(np.linspace(100, 1, 100)))


def test_runs_that_have_not_converged_are_counted_and_left_out_of_the_mean():
    table = compare(curves([np.r_[np.full(40, 20.0), np.full(160, 10.0)], np.linspace(100, 1, 200)])).iloc[0]
    assert table["converged_seeds"] == 1 and table["converged_at"] == 49


@pytest.mark.parametrize(
    ("published", "ours", "sd", "verdict"),
    [
        (1.04, 1.07, 0.0, "agrees"),
        (60, 100, 25.0, "agrees"),
        (60, 120, 10.0, "100% above the paper's"),
        (1.2, 1.0, float("nan"), "17% below the paper's"),
        (1.0, float("nan"), 0.1, "not measured"),
    ],
)
def test_a_verdict_says_how_far_we_are_from_the_paper(published, ours, sd, verdict):
    assert tables.against(published, ours, sd) == verdict


def test_every_point_of_every_sweep_is_a_setting_that_can_be_and_changes_what_it_says():
    paper = build_setting({"preset": "paper"})
    for case in sweeps.cases_of(list(sweeps.SWEEPS), None, ["lad-ts"]):
        setting = build_setting(override_spec(paper.spec, case.setting))
        name, value = case.columns["sweep"], case.columns["value"]
        if name == "tasks":
            assert setting.arrivals.max_tasks == value
        if name == "servers":
            assert setting.network.num_servers == setting.network.num_stations == value
        if name == "capacity":
            assert setting.network.capacity_gcycles_per_s.min() >= 10
            assert value * 0.8 < setting.network.capacity_gcycles_per_s.max() <= value
        if name == "quality":
            draw = setting.arrivals.draw(np.random.default_rng(0), 2)
            assert value * 0.8 < draw.denoising_steps.max() <= value
        if name in ("steps", "temperature"):
            assert setting.spec == paper.spec and list(case.training.values()) == [value]


def test_methods_are_left_out_of_sweeps_of_what_they_do_not_have():
    cases = sweeps.cases_of(["steps", "temperature"], ["steps=3", "temperature=0.1"], ["lad-ts", "sac-ts", "dqn-ts"])
    assert [case.name for case in cases] == ["steps=3 lad-ts", "temperature=0.1 lad-ts", "temperature=0.1 sac-ts"]
    with pytest.raises(ConfigurationError, match="SWEEP=VALUE"):
        sweeps.cases_of(["steps"], ["stepps=3"], ["lad-ts"])
    with pytest.raises(ConfigurationError, match="nothing to train"):
        sweeps.cases_of(["steps"], None, ["dqn-ts"])


def test_each_ablation_changes_one_thing_and_what_it_needs():
    cases = {(case.columns["base"], case.columns["changed"]): case for case in ablations.cases_of(*ALL)}
    assert len(cases) == 2 * (len(ablations.VARIANTS) + 1) - 1
    assert cases["published_code", "nothing"].training == {"preset": "published_code"}
    assert cases["published_code", "latent_content"].training == {
        "preset": "published_code",
        "latent_content": "logits",
        "clip_denoised": 3.0,
    }
    assert cases["paper", "denoiser_output"].training == {"preset": "paper", "denoiser_output": "softmax"}


ALL = (["published_code", "paper"], list(ablations.VARIANTS))


def test_two_cases_of_one_name_are_refused(tmp_path):
    parsed = sweeps.parse(["--output", str(tmp_path)])
    with pytest.raises(ConfigurationError, match="one name"):
        CaseRuns(parsed, "x", [Case("a", "lad-ts"), Case("a", "sac-ts")])


@pytest.mark.filterwarnings("error")
def test_a_ratio_over_windows_has_the_interval_that_its_windows_allow():
    means = {"greedy-oracle": [2.0, 1.0, 2.0], "random": [1.0, 1.0, 3.0]}
    windows = pd.DataFrame(
        {"load": 0.6, "work": "mean", "scheduler": name, "seed": seed, "window": window, "tasks": 10, "mean_s": mean}
        for seed in (0, 1)
        for name in means
        for window, mean in enumerate(means[name])
    )
    table = trace.over_windows(windows).set_index("scheduler")
    assert table.loc["random", ["windows", "better_windows"]].tolist() == [3, 1]
    interval = ["over_oracle_low", "over_oracle_high"]
    assert table.loc["random", interval].tolist() == [0.5, 1.5]  # the same window three times
    assert table.loc["greedy-oracle", interval].tolist() == [1.0, 1.0]
    alone = trace.over_windows(windows[windows["window"] == 0])
    assert alone[interval].isna().all(axis=None)


@pytest.mark.parametrize("experiment", [learning, sweeps])
def test_methods_that_learn_for_their_own_delay_are_not_compared_with_one_for_all(tmp_path, capsys, experiment):
    with pytest.raises(SystemExit):
        experiment.parse(["--smoke", "--output", str(tmp_path), "--methods", "lad-pmd"])
    assert "invalid choice: 'lad-pmd'" in capsys.readouterr().err


def test_a_case_for_the_delay_of_all_has_queues_in_slots_or_is_refused(tmp_path, capsys):
    arguments = ["--smoke", "--output", str(tmp_path)]
    for experiment, of_system in ((trace, ["--methods", "lad-ts", "dispatcher"]), (beyond, [])):
        parsed = experiment.parse([*arguments, *of_system, "--queue-unit", "seconds"])
        assert run_command(experiment.run, parsed) == 2
        assert "--queue-unit seconds does not go with" in capsys.readouterr().err
    cases = trace.cases_of([1.2], ["mean"], ["lad-ts", "system-delay", "dispatcher"], episodes=40)
    for unit, own in (("auto", "seconds"), ("slots", "slots")):
        parsed = sweeps.parse([*arguments, "--setting", "sample-trace", "--queue-unit", unit])
        configs = [case_config(shared_configuration(parsed, cases), case) for case in cases]
        assert [config.env_config["queue_unit"] for config in configs] == [own, "slots", "slots"]
    assert (configs[1].step_size_iterations, configs[1].draws, configs[1].gamma) == (40, "coordinated", 0.99)
    assert (configs[2].step_size_iterations, configs[2].in_slot_view, configs[2].gamma) == (40, "all", 0.99)
    assert (configs[0].title, configs[1].title, configs[0].draws) == ("LAD-TS", "LAD-PMD", "independent")


def test_an_estimate_is_printed_without_training(tmp_path, capsys):
    assert run_command(sweeps.run, sweeps.parse(["--estimate", "--output", str(tmp_path)])) == 0
    assert "CPU minutes" in capsys.readouterr().out and not list(tmp_path.glob("*.csv"))


@pytest.mark.slow
@pytest.mark.cluster
def test_sweeps_leave_every_point_of_every_method_with_tables_and_pictures(ray_cluster, tmp_path):
    arguments = ["--smoke", "--output", str(tmp_path)]
    assert run_command(sweeps.run, sweeps.parse(arguments)) == 0
    table = pd.read_csv(tmp_path / "sweeps_summary.csv")
    assert table[["sweep", "value", "method"]].values.tolist() == [
        ["steps", 1, "lad-ts"],
        ["tasks", 3, "lad-ts"],
        ["tasks", 3, "sac-ts"],
        ["tasks", 6, "lad-ts"],
        ["tasks", 6, "sac-ts"],
    ]
    assert table["greedy_oracle_delay_s"].iloc[1] < table["greedy_oracle_delay_s"].iloc[3]
    episodes = pd.read_csv(tmp_path / "sweeps.csv")
    of_point = episodes[episodes["case"] == "tasks=6 sac-ts"]
    assert table["delay_s"].iloc[-1] == pytest.approx(of_point["mean_service_delay_s"].mean(), rel=1e-5)
    assert all((tmp_path / f"sweeps_{name}.png").stat().st_size > 10_000 for name in ("steps", "tasks"))
    assert "## most tasks" in (tmp_path / "sweeps.md").read_text()
    assert run_command(sweeps.run, sweeps.parse([*arguments, "--resume"])) == 0


@pytest.mark.extended
@pytest.mark.cluster
def test_ablations_leave_each_variant_beside_its_preset(ray_cluster, tmp_path):
    assert run_command(ablations.run, ablations.parse(["--smoke", "--output", str(tmp_path)])) == 0
    table = pd.read_csv(tmp_path / "ablations_summary.csv")
    assert table["changed"].tolist() == ["nothing", "latent_start", "latent_content"]
    assert table["delay_s"].nunique() == 3
    text = (tmp_path / "ablations.md").read_text()
    assert "`latent_start=noise`" in text and "Command: `" in text
    assert (tmp_path / "ablations.png").stat().st_size > 10_000


@pytest.mark.cluster
def test_methods_trained_on_a_log_are_judged_on_its_unseen_part_beside_heuristics(ray_cluster, tmp_path):
    assert run_command(trace.run, trace.parse(["--smoke", "--output", str(tmp_path)])) == 0
    judged = pd.read_csv(tmp_path / "trace_evaluation.csv")
    assert {"lad-ts", "dqn-ts", "greedy-oracle", "shortest-expected-delay", "random"} <= set(judged["scheduler"])
    assert judged["tasks"].nunique() == 1 and set(judged["work"]) == {"mean"}
    assert judged.set_index("scheduler").loc["greedy-oracle", "over_oracle"] == 1.0
    text = (tmp_path / "trace.md").read_text()
    assert "**DQN-TS**" in text and "**LAD-TS, system delay, one dispatcher**" in text
    assert (tmp_path / "trace.png").stat().st_size > 10_000
