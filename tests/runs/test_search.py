"""Searches by Ray Tune: trials that are trained, lost, stopped, copied and gone on with."""

import itertools
import math
import signal
from pathlib import Path

import numpy as np
import pytest

from lad_rllib.envs import YardstickCallback
from lad_rllib.errors import ConfigurationError
from lad_rllib.runs.search import SearchPlan, exists, experiment_path, run_search
from lad_rllib.runs.search_results import episode_table, trial_table
from lad_rllib.runs.search_space import SearchSpace
from lad_rllib.runs.trial import SCORE, WINDOW, TuningTrial
from tests.algorithms import small
from tests.algorithms.small import curve

SPACE = SearchSpace({"actor_lr": ("loguniform", (1e-4, 1e-2)), "gamma": ("uniform", (0.5, 0.99))}, {})


def small_config(**changes):
    return small.small_config(**changes).callbacks(YardstickCallback)


def plan(**changes):
    return SearchPlan(**({"name": "test", "algorithm": small_config(), "space": SPACE, "trials": 2} | changes))


def trial(*seeds):
    return TuningTrial({"algorithm": small_config(), "training": {"actor_lr": 1e-3}, "seeds": list(seeds)})


def test_a_trial_is_what_its_algorithm_does_and_its_score_covers_the_last_iterations(no_cluster):
    one = trial(3)
    reports = [one.train() for _ in range(WINDOW + 2)]
    delays = curve(small_config(actor_lr=1e-3, seed=3).build_algo(), WINDOW + 2)
    assert [report["iteration_delay_s"] for report in reports] == delays
    assert reports[-1]["mean_service_delay_s"] == pytest.approx(np.mean(delays[-WINDOW:]))
    last = reports[-1]
    assert last[SCORE] == pytest.approx(last["mean_service_delay_s"] / last["oracle_delay_s"])
    assert last["episodes"] == WINDOW + 2
    one.stop()


def test_a_trial_of_a_case_is_a_trial_of_its_algorithm(no_cluster):
    slow, fast = small_config(actor_lr=1e-4), small_config(actor_lr=1e-2)
    space = plan(cases={"slow": slow, "fast": fast}, given=({},), seeds=(3, 4), seeds_as_grid=True).param_space()
    cases = space["case"]["grid_search"]
    assert [case["name"] for case in cases] == ["slow", "fast"] and space["seeds"] == {"grid_search": [3, 4]}
    of_case = TuningTrial({"case": cases[1], "training": {}, "seeds": 3})
    shared = TuningTrial({"algorithm": fast, "training": {}, "seeds": 3})
    delays = [[each.train()["iteration_delay_s"] for _ in range(3)] for each in (of_case, shared)]
    assert delays[0] == delays[1] == curve(small_config(actor_lr=1e-2, seed=3).build_algo(), 3)
    assert TuningTrial.default_resource_request(of_case.config) == TuningTrial.default_resource_request(shared.config)
    for each in (of_case, shared):
        each.stop()


def test_a_trial_of_several_seeds_reports_their_mean_and_spread(no_cluster):
    both, first, second = trial(3, 4), trial(3), trial(4)
    reports = [each.train() for each in (both, first, second)]
    ratios = [report[SCORE] for report in reports[1:]]
    assert reports[0][SCORE] == pytest.approx(np.mean(ratios))
    assert reports[0][f"{SCORE}_sd"] == pytest.approx(np.std(ratios, ddof=1)) and ratios[0] != ratios[1]
    for each in (both, first, second):
        each.stop()


def test_a_trial_goes_on_from_its_checkpoint_as_if_nothing_had_happened(no_cluster, tmp_path):
    whole, again = trial(3, 4), trial(3, 4)
    for _ in range(2):
        whole.train()
    whole.save_checkpoint(str(tmp_path))
    again.load_checkpoint(str(tmp_path))
    expected, got = whole.train(), again.train()
    for key in (SCORE, "iteration_delay_s", "episodes", "oracle_delay_s"):
        assert got[key] == expected[key]
    (tmp_path / "seed_1" / "algorithm_state.pkl").write_bytes(b"")
    with pytest.raises(ConfigurationError, match="seed_1/algorithm_state.pkl is damaged: it is not what was written"):
        again.load_checkpoint(str(tmp_path))
    whole.stop()
    again.stop()


def test_a_damaged_search_is_refused_in_one_line(tmp_path, monkeypatch):
    def restore(*arguments, **options):
        raise EOFError("Ran out of\ninput")

    monkeypatch.setattr("lad_rllib.runs.search.exists", lambda *where: True)
    monkeypatch.setattr("ray.tune.Tuner.restore", restore)
    with pytest.raises(ConfigurationError, match="test is damaged and cannot be resumed: Ran out of input; start the"):
        run_search(plan(), str(tmp_path), resume=True)


def test_resources_are_those_of_the_algorithm_with_runners_and_learners_for_each_seed():
    algorithm = small_config().env_runners(num_env_runners=2).learners(num_learners=1, num_gpus_per_learner=0.5)
    request = {"algorithm": algorithm, "training": {}}
    one = TuningTrial.default_resource_request(request | {"seeds": 0})
    assert one.bundles == algorithm.algo_class.default_resource_request(algorithm.to_dict()).bundles
    two = TuningTrial.default_resource_request(request | {"seeds": [0, 1]})
    assert len(two.bundles) - 1 == 2 * (len(one.bundles) - 1)
    assert two.required_resources["GPU"] == 2 * one.required_resources["GPU"] == 1.0


def test_a_search_whose_trial_fits_nowhere_is_refused_with_what_all_its_seeds_ask_for(monkeypatch, tmp_path):
    node = {"Alive": True, "NodeManagerAddress": "10.0.0.1", "Resources": {"CPU": 4.0}, "Labels": {}}
    monkeypatch.setattr("ray.nodes", lambda: [node])
    monkeypatch.setattr("ray.util.get_current_placement_group", lambda: None)
    monkeypatch.setattr("ray._private.state.state.get_cluster_config", lambda: None)
    algorithm = small_config().env_runners(num_env_runners=2)
    with pytest.raises(ConfigurationError, match=r"no room for 5 x \(1 CPU\); its nodes are 10.0.0.1 \(4 CPU\)"):
        run_search(plan(algorithm=algorithm, seeds=(0, 1)), str(tmp_path))


@pytest.mark.extended
@pytest.mark.slow
@pytest.mark.cluster
def test_a_grid_of_values_and_seeds_has_a_trial_for_each_and_a_wrong_value_fails_alone_and_once(ray_cluster, tmp_path):
    space = SearchSpace({"gamma": ("choice", (0.5, 2.0))}, {"actor_lr": 1e-3})
    grid = plan(space=space, search="grid", scheduler="none", seeds=(3, 4), seeds_as_grid=True, episodes=3)
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGUSR1)]
    results = run_search(grid, str(tmp_path))
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGUSR1)] == handlers
    table = trial_table(results, ["gamma"], 3)
    assert table["status"].tolist() == ["done", "done", "failed", "failed"]
    assert table["gamma"].tolist() == [0.5, 0.5, 2.0, 2.0] and sorted(table["seeds"]) == ["3", "3", "4", "4"]
    attempts = [(Path(path) / "error.txt").read_text().count("Failure #") for path in table["path"][2:]]
    assert attempts == [1, 1]
    assert "gamma" in table["error"].iloc[-1] and "of at least 0 and of at most 1" in table["error"].iloc[-1]
    for _, row in table[table["status"] == "done"].iterrows():
        by_hand = curve(small_config(actor_lr=1e-3, gamma=0.5, seed=int(row["seeds"])).build_algo(), 3)
        assert row["mean_service_delay_s"] == pytest.approx(np.mean(by_hand))


@pytest.mark.extended
@pytest.mark.slow
@pytest.mark.cluster
def test_population_based_training_lets_bad_trials_go_on_from_good_ones_and_keeps_what_it_needs(ray_cluster, tmp_path):
    # Learning rates of nought and of too much: the worse one copies the better one.
    space = SearchSpace({"actor_lr": ("choice", (1e-12, 3e-3, 0.5))}, {})
    population = plan(space=space, scheduler="pbt", trials=2, episodes=3 * WINDOW, checkpoint_every=1)
    results = run_search(population, str(tmp_path))
    assert [outcome.error for outcome in results] == [None] * 2
    assert trial_table(results, ["actor_lr"], 3 * WINDOW)["episodes"].tolist() == [3 * WINDOW] * 2
    copies = list((tmp_path / "test").glob("pbt_policy_*.txt"))
    assert copies, "no trial ever copied another one"


@pytest.mark.cluster
@pytest.mark.parametrize("search", [pytest.param("random", marks=pytest.mark.extended), "optuna"])
def test_successive_halving_stops_bad_trials(ray_cluster, tmp_path, search):
    # A temperature that stays so high that nothing is learned, or one that does not.
    space = SearchSpace(
        {"initial_alpha": ("choice", (0.01, 100.0)), "gamma": ("uniform", (0.5, 0.9))}, {"alpha_lr": 1e-9}
    )
    halving = plan(space=space, search=search, trials=3, episodes=4 * WINDOW, max_concurrent=1, search_seed=1)
    outcomes = run_search(halving, str(tmp_path))
    table = trial_table(outcomes, list(space.ranges), 4 * WINDOW)
    spans = sorted((o.reports["timestamp"].min(), o.reports["timestamp"].max()) for o in outcomes)
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(spans))  # one at a time, as asked
    assert set(table["initial_alpha"]) == {0.01, 100.0}
    assert table["episodes"].iloc[0] == 4 * WINDOW and len(table) == 3
    assert (table["status"] == "stopped early").any() and not (table["status"] == "failed").any()


@pytest.mark.cluster
def test_a_search_that_is_there_is_gone_on_with_or_refused(ray_cluster, tmp_path):
    short = plan(scheduler="none", trials=1, episodes=2)
    first = run_search(short, str(tmp_path))
    assert exists(str(tmp_path), "test") and not exists(str(tmp_path), "other")
    with pytest.raises(ConfigurationError, match="holds a search already; give --resume"):
        run_search(short, str(tmp_path))
    again = run_search(short, str(tmp_path), resume=True)
    assert trial_table(again, list(SPACE.ranges), 2).equals(trial_table(first, list(SPACE.ranges), 2))
    with pytest.raises(ConfigurationError, match="holds no search to resume"):
        run_search(plan(name="other"), str(tmp_path), resume=True)
    assert len(episode_table(again)) == 2 and not math.isnan(episode_table(again)[SCORE].iloc[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"search": "optuna", "seeds_as_grid": True}, "have all seeds in each trial"),
        ({"search": "grid", "scheduler": "pbt"}, "choose --search random"),
    ],
)
def test_what_does_not_go_together_is_refused(changes, message):
    with pytest.raises(ConfigurationError, match=message):
        plan(**changes).check()


def test_an_experiment_on_storage_is_named_before_the_query():
    assert experiment_path("s3://bucket/a/?endpoint_override=x", "run") == "s3://bucket/a/run?endpoint_override=x"
    assert experiment_path("/shared", "run") == "/shared/run"
