"""Commands of jobs: is it ours or a script of the image, does it know its options, and would it ever begin?"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, NoReturn

from lad_rllib.declared import suggestion

from .findings import Document, Finding
from .images import path_in_image

PLACE = "spec.entrypoint"
NOT_CHECKED = ("fleet",)
"""Commands with actions of their own."""


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
    program = PurePosixPath(words[0]).name if len(words) > 1 else ""
    if program in ("python", "python3"):
        yield _of_script(document, words[1:])
    elif program != "lad-rllib":
        yield document.mistake(PLACE, "must be 'lad-rllib' and a command, or 'python' and a script of the image")
    elif words[1] not in NOT_CHECKED:
        yield from _of_command(document, words[1], words[2:], cluster)
    else:
        yield document.note(PLACE, f"options of lad-rllib {words[1]} were not checked")


def _of_script(document: Document, words: Sequence[str]) -> Finding:
    """What is to be said of a script or a module."""
    if words[0] == "-m":
        return document.note(PLACE, f"options of {' '.join(words[1:2])} were not checked")
    if (script := path_in_image(words[0])) is None:
        return document.mistake(PLACE, f"cluster/Dockerfile puts nothing at {words[0]}")
    return document.note(PLACE, f"options of {script} were not checked")


def _of_command(
    document: Document, name: str, arguments: Sequence[str], cluster: Mapping[str, Any]
) -> Iterator[Finding]:
    from lad_rllib.cli.commands import COMMANDS

    if name not in COMMANDS:
        yield document.mistake(
            PLACE, f"lad-rllib has no command {name!r}; {suggestion(name, [*COMMANDS, *NOT_CHECKED])}"
        )
        return
    try:
        options = parser_of(name).parse_args(arguments)
    except ValueError as error:
        yield document.mistake(PLACE, f"lad-rllib {name}: {error}")
        return
    yield from _can_begin(document, options, cluster)


def parser_of(name: str) -> argparse.ArgumentParser:
    """The parser of one of our commands; it raises ValueError for arguments that it does not know."""
    from lad_rllib.cli.commands import COMMANDS
    from lad_rllib.cli.flags import add_options

    command = COMMANDS[name]
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
