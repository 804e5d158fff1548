"""Versions in the files against constraints.txt, which says what was tested."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from .findings import ROOT

IMAGE = re.compile(r"\brayproject/ray(?:-\w+)?:([\w.+-]+)")
PIN = re.compile(r"\b([A-Za-z][\w.-]*)(?:\[[\w,-]+\])?==([\w.+!]+)")
PYTHONS = ("py311", "py312")
"""Parts of image tags that have a Python which the package runs on, see setup.cfg."""
VALUED_OPTIONS = {"-c", "-r", "-i", "-f", "--constraint", "--requirement", "--index-url", "--extra-index-url"}


@cache
def pins(root: Path = ROOT) -> dict[str, str]:
    """Name (lower case, with dashes) and version of everything in constraints.txt."""
    lines = (root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==", 1) for line in lines if "==" in line and not line.startswith("#"))
    return {_canonical(name): version.strip() for name, version in pairs}


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.strip().lower())


def wrong_pins(text: str) -> Iterator[str]:
    """Versions in a text that constraints.txt contradicts, and images of Ray that do not fit.

    Args:
        text: A command, an image or any other text.
    """
    known = pins()
    for tag in IMAGE.findall(text):
        if not re.match(re.escape(known["ray"]) + r"(-|$)", tag):
            yield f"rayproject/ray:{tag}: constraints.txt has ray {known['ray']}; the versions must be the same"
        elif not any(python in tag.split("-") for python in PYTHONS):
            yield f"rayproject/ray:{tag}: the package needs Python 3.11 or 3.12; take {known['ray']}-py311-cpu or -gpu"
    for name, version in PIN.findall(text):
        tested = known.get(_canonical(name))
        if tested and version.split("+")[0] != tested:
            yield f"{name}=={version}: constraints.txt has {tested}; the versions must be the same"


def loose_installs(command: str) -> Iterator[str]:
    """Packages that a shell command has pip install in whatever version is the newest.

    Args:
        command: As in setup_commands or a Dockerfile's RUN.
    """
    for part in re.split(r"&&|\|\||;|\n", command):
        try:
            words = shlex.split(part, comments=True)
        except ValueError:
            continue  # the shell will say so
        if "pip" not in words[:4] or "install" not in words:
            continue
        arguments = words[words.index("install") + 1 :]
        if any(word in ("-c", "--constraint", "-r", "--requirement") for word in arguments):
            continue
        names = [
            word
            for before, word in zip(["", *arguments], arguments, strict=False)
            if not word.startswith("-") and before not in VALUED_OPTIONS
        ]
        for name in names:
            if "==" not in name and "--no-deps" not in arguments:
                yield f"pip install {name} takes whatever version is the newest; add -c constraints.txt, or =="
