"""What the experiments of several cases share, and what each of them leaves."""

import numpy as np
import pandas as pd
import pytest

from experiments import ablations, beyond, methods, sweeps, trace
from lad_rllib.errors import ConfigurationError
from lad_rllib.runs.cases import Case, CaseRuns, case_config, shared_configuration
from lad_rllib.simulator import build_setting, override_spec
from tests.runs.test_over_seeds import curves


def test_runs_that_have_not_converged_are_counted_and_left_out_of_the_mean():
    table = methods.compare(curves([np.r_[np.full(40, 20.0), np.full(160, 10.0)], np.linspace(100, 1, 200)])).iloc[0]
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
    assert methods.against(published, ours, sd) == verdict


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
    assert len(cases) == 2 * (len(ablations.MEANINGS) + 1) - 1
    assert cases["published_code", "nothing"].training == {"preset": "published_code"}
    assert cases["published_code", "latent_content"].training == {
        "preset": "published_code",
        "latent_content": "logits",
        "clip_denoised": 3.0,
    }
    assert cases["paper", "denoiser_output"].training == {"preset": "paper", "denoiser_output": "softmax"}


ALL = (["published_code", "paper"], list(ablations.MEANINGS))


def test_two_cases_of_one_name_are_refused(tmp_path):
    options = sweeps.main.parse(["--output", str(tmp_path)])
    with pytest.raises(ConfigurationError, match="one name"):
        CaseRuns(options, "x", [Case("a", "lad-ts"), Case("a", "sac-ts")])


@pytest.mark.parametrize("experiment", [methods, sweeps])
def test_methods_that_learn_from_their_own_delay_are_not_compared_with_one_that_optimises_total_delay(
    tmp_path, capsys, experiment
):
    with pytest.raises(SystemExit):
        experiment.main(["--smoke", "--output", str(tmp_path), "--methods", "lad-pmd"])
    assert "invalid choice: 'lad-pmd'" in capsys.readouterr().err


def test_a_case_that_optimises_total_delay_has_queues_in_slots_or_is_refused(tmp_path, capsys):
    arguments = ["--smoke", "--output", str(tmp_path)]
    for experiment, of_system in ((trace, ["--methods", "lad-ts", "dispatcher"]), (beyond, [])):
        assert experiment.main([*arguments, *of_system, "--queue-unit", "seconds"]) == 2
        assert "--queue-unit seconds does not go with" in capsys.readouterr().err
    cases = trace.cases_of([1.2], ["mean"], ["lad-ts", "lad-pmd", "dispatcher"], episodes=40)
    for unit, own in (("auto", "seconds"), ("slots", "slots")):
        options = sweeps.main.parse([*arguments, "--setting", "sample-trace", "--queue-unit", unit])
        configs = [case_config(shared_configuration(options, cases), case) for case in cases]
        assert [config.env_config["queue_unit"] for config in configs] == [own, "slots", "slots"]
    assert (configs[1].step_size_iterations, configs[1].draws, configs[1].gamma) == (40, "coordinated", 0.99)
    assert (configs[2].step_size_iterations, configs[2].in_slot_view, configs[2].gamma) == (40, "all", 0.99)
    assert (configs[0].title, configs[1].title, configs[0].draws) == ("LAD-TS", "LAD-PMD", "independent")


def test_an_estimate_is_printed_without_training(tmp_path, capsys):
    assert sweeps.main(["--estimate", "--output", str(tmp_path)]) == 0
    assert "CPU minutes" in capsys.readouterr().out and not list(tmp_path.glob("*.csv"))


@pytest.mark.extended
@pytest.mark.slow
@pytest.mark.cluster
def test_sweeps_leave_every_point_of_every_method_with_tables_and_pictures(ray_cluster, tmp_path):
    arguments = ["--smoke", "--points", "steps=1", "tasks=6", "--output", str(tmp_path)]
    assert sweeps.main(arguments) == 0
    table = pd.read_csv(tmp_path / "sweeps_summary.csv")
    assert table[["sweep", "value", "method"]].values.tolist() == [
        ["steps", 1, "lad-ts"],
        ["tasks", 6, "lad-ts"],
        ["tasks", 6, "sac-ts"],
    ]
    assert table["greedy_oracle_delay_s"].iloc[1] == table["greedy_oracle_delay_s"].iloc[2]
    episodes = pd.read_csv(tmp_path / "sweeps.csv")
    of_point = episodes[episodes["case"] == "tasks=6 sac-ts"]
    assert table["delay_s"].iloc[-1] == pytest.approx(of_point["mean_service_delay_s"].mean(), rel=1e-5)
    assert all((tmp_path / f"sweeps_{name}.png").stat().st_size > 10_000 for name in ("steps", "tasks"))
    assert "## most tasks" in (tmp_path / "sweeps.md").read_text()
    assert sweeps.main([*arguments, "--resume"]) == 0


@pytest.mark.extended
@pytest.mark.cluster
def test_ablations_leave_each_variant_beside_its_preset(ray_cluster, tmp_path):
    assert ablations.main(["--smoke", "--output", str(tmp_path)]) == 0
    table = pd.read_csv(tmp_path / "ablations_summary.csv")
    assert table["changed"].tolist() == ["nothing", "latent_start", "latent_content"]
    assert table["delay_s"].nunique() == 3
    text = (tmp_path / "ablations.md").read_text()
    assert "`latent_start=noise`" in text and "Command: `" in text
    assert (tmp_path / "ablations.png").stat().st_size > 10_000


@pytest.mark.extended
@pytest.mark.cluster
def test_methods_trained_on_a_log_are_evaluated_on_its_unseen_part_beside_heuristics(ray_cluster, tmp_path):
    assert trace.main(["--smoke", "--methods", "dqn-ts", "dispatcher", "--output", str(tmp_path)]) == 0
    evaluation = pd.read_csv(tmp_path / "trace_evaluation.csv")
    assert {"dqn-ts", "greedy-oracle", "shortest-expected-delay", "random"} <= set(evaluation["scheduler"])
    assert evaluation["tasks"].nunique() == 1 and set(evaluation["work"]) == {"mean"}
    assert evaluation.set_index("scheduler").loc["greedy-oracle", "over_oracle"] == 1.0
    text = (tmp_path / "trace.md").read_text()
    assert "**DQN-TS**" in text and "**LAD-PMD, one dispatcher**" in text
    assert (tmp_path / "trace.png").stat().st_size > 10_000
