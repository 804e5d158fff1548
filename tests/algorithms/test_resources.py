"""Whether a cluster has room for what an algorithm asks for, and what is said if it does not."""

import logging

import pytest

from lad_rllib.algorithms.common.resources import NODE_GROUP_LABEL, fit, require_room
from lad_rllib.errors import ConfigurationError
from tests.algorithms.small import small_config

RUNNER, LEARNER, GPU_LEARNER = {"CPU": 1.0}, {"CPU": 2.0}, {"CPU": 1.0, "GPU": 0.5}


@pytest.mark.parametrize(
    ("bundles", "nodes", "is_room"),
    [
        ([], [], True),
        ([RUNNER] * 4, [{"CPU": 4.0}], True),
        ([RUNNER] * 5, [{"CPU": 4.0}], False),
        ([RUNNER] * 5, [{"CPU": 4.0}, {"CPU": 1.0}], True),
        ([LEARNER], [{"CPU": 1.0}, {"CPU": 1.0}], False),  # one actor runs on one node
        ([RUNNER, RUNNER, LEARNER], [{"CPU": 2.0}, {"CPU": 2.0}], True),
        ([RUNNER, RUNNER, RUNNER, LEARNER], [{"CPU": 2.0}, {"CPU": 2.0}], False),
        ([GPU_LEARNER], [{"CPU": 8.0}], False),
        ([GPU_LEARNER, GPU_LEARNER], [{"CPU": 2.0, "GPU": 1.0}], True),
        ([GPU_LEARNER] * 3, [{"CPU": 8.0, "GPU": 1.0}], False),
        ([RUNNER, RUNNER, GPU_LEARNER], [{"CPU": 1.0, "GPU": 1.0}, {"CPU": 2.0}], True),  # in whatever order they are
        ([{"CPU": 0.1}] * 10, [{"CPU": 1.0}], True),  # 10 x 0.1 is more than 1 in floating point
        ([{"CPU": 1.0, "GPU": 0.0}], [{"CPU": 1.0}], True),
        ([{"edge": 1.0}], [{"CPU": 1.0}], False),
    ],
)
def test_bundles_fit_if_each_finds_a_node_with_enough_left(bundles, nodes, is_room):
    assert fit(bundles, nodes) is is_room


@pytest.fixture
def nodes(monkeypatch):
    """A cluster of two nodes: 4 CPUs, and 2 CPUs with one GPU."""
    nodes = [
        {"Alive": True, "NodeManagerAddress": "10.0.0.1", "Resources": {"CPU": 4.0, "memory": 1e9}, "Labels": {}},
        {"Alive": True, "NodeManagerAddress": "10.0.0.2", "Resources": {"CPU": 2.0, "GPU": 1.0}, "Labels": {}},
        {"Alive": False, "NodeManagerAddress": "10.0.0.3", "Resources": {"CPU": 99.0, "GPU": 9.0}, "Labels": {}},
    ]
    monkeypatch.setattr("ray.nodes", lambda: nodes)
    monkeypatch.setattr("ray.util.get_current_placement_group", lambda: None)
    monkeypatch.setattr("ray._private.state.state.get_cluster_config", lambda: None)
    return nodes


def test_too_many_runners_and_learners_are_refused_before_any_of_them_starts(nodes):
    config = small_config().env_runners(num_env_runners=3).learners(num_learners=2, num_gpus_per_learner=1)
    config.evaluation(evaluation_interval=1, evaluation_num_env_runners=1)
    with pytest.raises(ConfigurationError) as refused:
        config.build_algo()
    assert (
        "no room for 4 x (1 CPU), 2 x (1 GPU); its nodes are 10.0.0.1 (4 CPU, 0 GPU), 10.0.0.2 (2 CPU, 1 GPU);"
        in str(refused.value)
    )


def test_a_cluster_that_may_grow_is_waited_for_aloud(nodes, caplog):
    nodes[1]["Labels"][NODE_GROUP_LABEL] = "edge-gpu"
    with caplog.at_level(logging.WARNING):
        require_room([{"CPU": 16.0}])
    assert caplog.messages == [
        "waiting for the cluster to add nodes: asked are 1 x (16 CPU); there are 10.0.0.1 (4 CPU), 10.0.0.2 (2 CPU)"
    ]


def test_what_ray_tune_has_reserved_is_not_looked_for_again(nodes, monkeypatch):
    monkeypatch.setattr("ray.util.get_current_placement_group", lambda: "the trial's")
    require_room([{"CPU": 99.0}])
