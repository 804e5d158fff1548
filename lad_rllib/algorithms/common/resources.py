"""Whether a Ray cluster has room for actors and tasks; Ray itself lets those that fit nowhere wait silently."""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import ray

from lad_rllib.errors import ConfigurationError

NODE_GROUP_LABEL = "ray.io/node-group"
"""Label of nodes that Ray's cluster launcher or KubeRay has started."""
ROUNDING = 1e-6

logger = logging.getLogger(__name__)


def require_room(bundles: Sequence[Mapping[str, float]]) -> None:
    """Refuse actors that a cluster of fixed size can never hold; where nodes may be added, log what is waited for.

    Compares with what nodes have in total: what others use now may become free. Does nothing in a trial of Ray Tune,
    which has reserved room already.

    Args:
        bundles: Resources of each actor by Ray's names: CPU, GPU and custom ones.

    Raises:
        ConfigurationError: says what is asked and what is there.
    """
    if not bundles or ray.util.get_current_placement_group() is not None:
        return
    nodes = [node for node in ray.nodes() if node["Alive"]]
    if fit(bundles, [node["Resources"] for node in nodes]):
        return
    names = sorted({name for bundle in bundles for name, amount in bundle.items() if amount})
    asked = ", ".join(f"{count} x ({_amounts(kind)})" for kind, count in _kinds(bundles).items())
    there = ", ".join(
        f"{node['NodeManagerAddress']} ({_amounts({name: node['Resources'].get(name, 0) for name in names})})"
        for node in nodes
    )
    if may_grow(nodes):
        logger.warning("waiting for the cluster to add nodes: asked are %s; there are %s", asked, there)
        return
    raise ConfigurationError(
        f"the Ray cluster has no room for {asked}; its nodes are {there}; ask for less (fewer env runners or "
        f"learners, or less for each), or add nodes (--wait-nodes waits for those that are about to join)"
    )


def fit(bundles: Sequence[Mapping[str, float]], nodes: Sequence[Mapping[str, float]]) -> bool:
    """Whether all bundles fit into the nodes, each bundle into one of them.

    Fills the nodes first-fit, those without GPUs first, in each order of the kinds of bundles. With the few kinds that
    an algorithm has, that finds room where there is any.

    Args:
        bundles: Resources that each bundle takes, by name.
        nodes: Resources that each node has, by name.
    """
    by_gpus = sorted(nodes, key=lambda node: node.get("GPU", 0))
    kinds = _kinds(bundles)
    return any(
        _first_fit([dict(kind) for kind in order for _ in range(kinds[kind])], by_gpus)
        for order in itertools.permutations(kinds)
    )


def _first_fit(bundles: Sequence[Mapping[str, float]], nodes: Sequence[Mapping[str, float]]) -> bool:
    free = [dict(node) for node in nodes]
    for bundle in bundles:
        for node in free:
            if all(node.get(name, 0) >= amount - ROUNDING for name, amount in bundle.items()):
                break
        else:
            return False
        for name, amount in bundle.items():
            node[name] -= amount
    return True


def _kinds(bundles: Sequence[Mapping[str, float]]) -> Counter[tuple[tuple[str, float], ...]]:
    """Number of bundles of each kind, without resources of which they take nothing."""
    return Counter(tuple((name, amount) for name, amount in bundle.items() if amount) for bundle in bundles)


def _amounts(resources: Any) -> str:
    return ", ".join(f"{amount:g} {name}" for name, amount in dict(resources).items()) or "nothing"


def may_grow(nodes: Sequence[Mapping[str, Any]]) -> bool:
    """Whether an autoscaler may add nodes to these of ``ray.nodes()``."""
    launched = any(NODE_GROUP_LABEL in node["Labels"] for node in nodes)
    return launched or ray._private.state.state.get_cluster_config() is not None
