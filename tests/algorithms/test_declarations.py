"""A hyperparameter is declared once; the command line and editors take it from there."""

import json

import pytest

from lad_rllib import names
from lad_rllib.algorithms import CONFIGS
from lad_rllib.algorithms.declarations import FLAGS, HYPERPARAMETERS, training_schema
from lad_rllib.cli.flags import read
from lad_rllib.cli.main import parser
from lad_rllib.runs.configuration import resolve
from lad_rllib.runs.options import HyperparameterOptions, LearnOptions, Options, TrainOptions


def options(*words):
    return read(TrainOptions, parser().parse_args(["train", *words]))


def test_what_is_read_without_torch_is_what_each_algorithm_declares():
    assert set(HYPERPARAMETERS) == set(names.ALGORITHMS)
    assert {name: CONFIGS[name].hyperparameters for name in HYPERPARAMETERS} == HYPERPARAMETERS


def test_no_option_is_a_hyperparameter_that_is_declared_again():
    declared = set().union(*(group.model_fields for group in HYPERPARAMETERS.values()))
    groups = [group for group in TrainOptions.__mro__ if issubclass(group, Options)]
    for group in groups:
        if group is not HyperparameterOptions:
            assert not declared & group.__dict__.get("__annotations__", {}).keys(), group
    assert HyperparameterOptions in groups and FLAGS.keys() <= declared


def test_help_says_what_each_hyperparameter_means_for_which_algorithm():
    train = parser()._subparsers._group_actions[0].choices["train"]
    text = " ".join(train.format_help().split())
    for part in (
        "--gamma X Discount factor of later rewards (lad-ts, d2sac-ts, sac-ts, dqn-ts: 0.95; lad-pmd: 0.99)",
        "--in-slot-view {none,own,all} What a decision knows",
        "make stations herd (lad-pmd: none)",
        "--max-staleness N Most updates",
        "results depend on the clock (0)",
    ):
        assert part in text, part


def test_a_flag_sets_the_hyperparameter_and_one_that_is_not_given_sets_nothing():
    given = options("--algorithm", "lad-pmd", "--gamma", "0.5", "--penalty", "tail:threshold_s=14,strength=4")
    penalty = {"name": "tail", "threshold_s": 14, "strength": 4}
    assert resolve(given)["training"] == {"gamma": 0.5, "penalty": penalty}
    assert all(LearnOptions.model_fields[name].default is None for name in FLAGS)


def test_the_cap_of_the_policy_that_a_run_starts_from_can_be_changed_by_its_flag():
    words = ("--algorithm", "lad-dispatch", "--setting", "equal-3", "--init-from", "any-fleet")
    assert resolve(options(*words))["training"]["wait_cap"] == 0.5
    assert resolve(options(*words, "--wait-cap", "2"))["training"]["wait_cap"] == 2.0


@pytest.mark.parametrize("name", sorted(HYPERPARAMETERS))
def test_an_editor_is_told_every_hyperparameter_with_its_meaning(name):
    schema = json.loads(json.dumps(training_schema(name)))
    assert set(schema["properties"]) == set(HYPERPARAMETERS[name].model_fields)
    assert all(one["description"] for one in schema["properties"].values())
