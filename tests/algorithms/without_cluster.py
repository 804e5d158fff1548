"""An algorithm with local runner and learner, built without a Ray cluster."""

from unittest import mock

from lad_rllib.algorithms.lad_ts import LADTS, LADTSConfig


def build_without_cluster(config: LADTSConfig) -> LADTS:
    """Build the algorithm; RLlib starts a cluster only to share the configuration with remote runners."""
    with mock.patch("ray.put"):
        return config.build_algo()
