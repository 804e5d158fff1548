"""Arguments that several commands and experiments share."""

from __future__ import annotations

import argparse
from typing import Any

from lad_rllib import names
from lad_rllib.plugins import installed


def add_setting_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that choose the edge network and its arrivals."""
    group = parser.add_argument_group("setting (later ones override earlier ones)")
    group.add_argument(
        "--setting",
        default="paper",
        metavar="NAME|FILE",
        help=f"preset ({', '.join(names.SETTING_PRESETS)}) or a YAML/JSON settings file (default: paper)",
    )
    group.add_argument("--stations", type=int, metavar="B", help="base stations")
    group.add_argument("--servers", type=int, metavar="A", help="edge servers (default: one per station)")
    group.add_argument(
        "--capacity",
        type=float,
        nargs="+",
        metavar="GCYCLE/S",
        help="capacity of the edge servers: one value for all, or one for each",
    )
    group.add_argument("--slots", type=int, metavar="T", help="slots per episode; the last is seen but not decided")
    group.add_argument("--slot-seconds", type=float, metavar="S", help="length of a slot (1; for traces 20)")
    group.add_argument(
        "--arrivals",
        metavar="uniform|poisson|NAME|FILE",
        help="where tasks come from: uniform draws as in the paper, Poisson, a source of another package by its name, "
        "or a request log (CSV or Parquet; --setting sample-trace plays a small made-up one)",
    )
    group.add_argument("--max-tasks", type=int, metavar="N", help="most tasks of a station in a slot")
    group.add_argument("--mean-tasks", type=float, metavar="X", help="Poisson: mean tasks of a station in a slot")
    group.add_argument("--load", type=float, metavar="X", help="request log: compress its time to this load (1.2)")
    group.add_argument(
        "--time-compression",
        type=float,
        metavar="X",
        help="request log: seconds of the log per second, instead of --load",
    )
    group.add_argument(
        "--work-shown",
        choices=("known", "mean"),
        help="request log: what schedulers are told of a task's work beforehand: the logged one, or the mean (known)",
    )


def add_algorithm_argument(parser: Any) -> None:
    """The argument that chooses the algorithm."""
    parser.add_argument(
        "--algorithm",
        choices=(*names.ALGORITHMS, *installed("lad_rllib.algorithms")),
        default=names.DEFAULT_ALGORITHM,
        help="what learns: LAD-TS (each task's own delay), LAD-PMD (the delay of all tasks), or a learned baseline of "
        f"the paper ({names.DEFAULT_ALGORITHM})",
    )


def add_learning_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that set hyperparameters."""
    learn = parser.add_argument_group("learning (defaults: the published settings)")
    learn.add_argument("--preset", choices=("published_code", "paper"), help="which reading of the paper")
    learn.add_argument(
        "--in-slot-view",
        choices=("none", "own", "all"),
        help="lad-pmd: what a decision knows of earlier ones in its slot: nothing (none), those of "
        "its own base station (own), or all (all: one dispatcher for all stations)",
    )
    learn.add_argument("--policy-denoising-steps", type=int, metavar="I", help="denoising steps of the actor (5)")
    learn.add_argument("--initial-alpha", type=float, metavar="X", help="temperature at the start (0.05)")
    learn.add_argument(
        "--actor-lr",
        type=float,
        metavar="X",
        help="learning rate of the actors (1e-4; lad-pmd: 1e-3)",
    )
    learn.add_argument("--critic-lr", type=float, metavar="X", help="learning rate of the critics (1e-3)")
    learn.add_argument("--alpha-lr", type=float, metavar="X", help="learning rate of the temperatures (3e-4)")
    learn.add_argument("--gamma", type=float, metavar="X", help="discount factor (0.95; lad-pmd: 0.99)")
    learn.add_argument("--updates-per-slot", type=float, metavar="X", help="updates for each slot played (1)")
    learn.add_argument(
        "--config", metavar="FILE", help="YAML/JSON file with arguments of training() of the algorithm's configuration"
    )
    learn.add_argument(
        "--queue-unit",
        choices=("auto", "gcycles", "seconds", "slots"),
        default="auto",
        help="what the agents see of the queues: work (published), or the waiting time that it means; auto is work, "
        "waiting time for request logs, whose queues are longer by orders of magnitude, and slots of waiting time for "
        "lad-pmd, which needs them",
    )


def add_scale_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that say how many runners and learners there are, and on which cluster."""
    scale = parser.add_argument_group("scale and cluster")
    scale.add_argument("--num-env-runners", type=int, default=0, metavar="N", help="remote environment runners (0)")
    scale.add_argument(
        "--rollout-fragment-length",
        type=int,
        metavar="N",
        help="slots between two sets of weights for the runners (local runner: 1; remote ones: an episode)",
    )
    scale.add_argument("--num-envs-per-env-runner", type=int, default=1, metavar="N", help="episodes in lockstep (1)")
    scale.add_argument("--num-learners", type=int, default=0, metavar="N", help="remote learners (0)")
    scale.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="where the learner computes; auto is the CPU, which is faster for networks this small",
    )
    scale.add_argument(
        "--num-gpus-per-learner", type=float, metavar="X", help="GPUs of each learner, also a part of one (0; cuda: 1)"
    )
    add_cluster_arguments(scale)
    add_storage_argument(scale)


def add_fleet_arguments(parser: argparse.ArgumentParser, default: str = "digits") -> None:
    """Arguments that choose a fleet of edge servers and where it runs."""
    group = parser.add_argument_group("fleet")
    group.add_argument(
        "--fleet",
        default=default,
        metavar="NAME|FILE",
        help=f"shipped fleet ({', '.join(names.SHIPPED_FLEETS)}) or a YAML file (default: {default})",
    )
    group.add_argument("--shared-fleet", action="store_true", help="use the fleet that 'lad-rllib fleet up' started")
    group.add_argument("--in-process", action="store_true", help="servers in this process instead of Ray actors")
    add_cluster_arguments(group)


def without_fleet(parser: argparse.ArgumentParser) -> None:
    """Have a command that only simulates resolve to a configuration, too."""
    parser.set_defaults(fleet=None, shared_fleet=False, in_process=False, prompts=None, init_from=None)


def add_cluster_arguments(parser: Any) -> None:
    """Arguments that choose the Ray cluster.

    Args:
        parser: A parser or a group of arguments.
    """
    parser.add_argument(
        "--address",
        metavar="ADDR",
        help="Ray cluster: host:port, ray://host:port, or 'auto' for the one that runs here "
        "(default: RAY_ADDRESS, which 'ray job submit' sets; else Ray starts here)",
    )
    parser.add_argument(
        "--wait-nodes",
        type=int,
        default=0,
        metavar="N",
        help="begin when the cluster has so many nodes, the head among them; 'ray up' returns before workers have "
        "joined (0: do not wait)",
    )
    parser.add_argument(
        "--wait-timeout", type=float, default=300.0, metavar="S", help="longest wait for --wait-nodes [s] (300)"
    )


def add_storage_argument(parser: Any) -> None:
    """Where results are kept besides the output folder.

    Args:
        parser: A parser or a group of arguments.
    """
    parser.add_argument(
        "--storage-path",
        metavar="DIR|URI",
        help="keep a copy of the output folder here, under its name, as it grows: a folder that all nodes share, or "
        "s3://, gs://, abfs://; --resume takes it from there when this machine has none",
    )


def add_smoke_argument(parser: argparse.ArgumentParser, **values: Any) -> None:
    """``--smoke``: small values for options that the user has not given.

    Args:
        parser: The parser that has the options already.
        values: Option (as in the namespace) and value.
    """

    class Smoke(argparse.Action):
        def __call__(self, parser: Any, namespace: Any, *_: Any) -> None:
            setattr(namespace, self.dest, True)
            for name, value in values.items():
                if getattr(namespace, name) == parser.get_default(name):
                    setattr(namespace, name, value)

    told = ", ".join(f"--{name.replace('_', '-')} {_shown(value)}" for name, value in values.items())
    parser.add_argument("--smoke", action=Smoke, nargs=0, default=False, help=f"does it run? The same as {told}")


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
