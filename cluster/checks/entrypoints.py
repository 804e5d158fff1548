"""Commands of jobs: is the script in the image, does it know its options, and would it ever begin?"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, NoReturn

from .findings import Document, Finding
from .images import path_in_image

PLACE = "spec.entrypoint"


class _Parser(argparse.ArgumentParser):
    """A parser that raises where it would end the process."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong."""
        raise ValueError(message)


def check(document: Document, command: str, cluster: Mapping[str, Any]) -> Iterator[Finding]:
    """Mistakes of the command of a RayJob.

    Args:
        document: Its file.
        command: The entrypoint.
        cluster: The specification of the job's cluster.
    """
    words = shlex.split(command)
    if len(words) < 2 or PurePosixPath(words[0]).name not in ("python", "python3"):
        yield document.mistake(PLACE, "must be 'python' and a script of the image")
        return
    script = path_in_image(words[1])
    if script is None:
        yield document.mistake(PLACE, f"cluster/Dockerfile puts nothing at {words[1]}")
        return
    parser = _parser_of(script)
    if parser is None:
        yield document.note(PLACE, f"options of {script} were not checked")
        return
    try:
        options = parser.parse_args(words[2:])
    except ValueError as error:
        yield document.mistake(PLACE, f"{script}: {error}")
        return
    yield from _can_begin(document, options, cluster)


def _parser_of(script: str) -> argparse.ArgumentParser | None:
    """The parser of a script that is one of our commands."""
    from lad_rllib.cli.commands import COMMANDS
    from lad_rllib.cli.flags import add_options

    path = PurePosixPath(script)
    command = COMMANDS.get(path.stem) if path.parent == PurePosixPath("experiments") else None
    if command is None:
        return None
    parser = _Parser(allow_abbrev=False)
    add_options(parser, command.options_class(), **command.smoke)
    return parser


def _can_begin(document: Document, options: argparse.Namespace, cluster: Mapping[str, Any]) -> Iterator[Finding]:
    groups = cluster.get("workerGroupSpecs") or []
    sure = 1 + sum(_pods({**group, "maxReplicas": group.get("minReplicas", 0)}) for group in groups)
    wanted = getattr(options, "wait_nodes", 0)
    if wanted > sure:
        yield document.mistake(
            PLACE,
            f"--wait-nodes {wanted}, but only {sure} {'is' if sure == 1 else 'are'} sure to come (the head and "
            f"minReplicas): nothing asks for more before the script begins; leave it out",
        )
    yield from _gpus(document, options, groups)
    storage = getattr(options, "storage_path", None)
    if storage and "://" not in storage:
        pods = {"headGroupSpec": cluster.get("headGroupSpec") or {}}
        pods |= {f"workerGroupSpecs[{number}]": group for number, group in enumerate(groups)}
        for place, group in pods.items():
            containers = ((group.get("template") or {}).get("spec") or {}).get("containers") or [{}]
            mounts = [mount.get("mountPath", "/") for mount in containers[0].get("volumeMounts") or []]
            if not any(PurePosixPath(storage).is_relative_to(mount) for mount in mounts):
                yield document.mistake(
                    f"spec.rayClusterSpec.{place}.template.spec",
                    f"mounts nothing at {storage}, the job's --storage-path",
                )


def _gpus(document: Document, options: argparse.Namespace, groups: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Learners that wait for GPUs which no number of pods would bring."""
    learners = getattr(options, "num_learners", 0)
    each = getattr(options, "num_gpus_per_learner", None)
    if each is None:
        each = 1 if getattr(options, "device", "") == "cuda" else 0
    there = sum(_pods(group) * _gpus_of(group) for group in groups)
    if learners * each > there:
        yield document.mistake(
            PLACE,
            f"--num-learners {learners} with {each:g} GPU each ask for {learners * each:g} GPU, but the groups bring "
            f"at most {there}; lower it, or raise maxReplicas",
        )


def _pods(group: Mapping[str, Any]) -> int:
    most, hosts = group.get("maxReplicas", 0), group.get("numOfHosts", 1)
    return most * hosts if type(most) is int and type(hosts) is int else 0


def _gpus_of(group: Mapping[str, Any]) -> int:
    """GPUs of a pod, in its first container, where Ray runs."""
    containers = ((group.get("template") or {}).get("spec") or {}).get("containers") or [{}]
    limits = (containers[0].get("resources") or {}).get("limits") or {}
    number = str(limits.get("nvidia.com/gpu", 0))
    return int(number) if number.isdigit() else 0
