"""Dockerfiles: the versions in them, and that what they copy is there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import PurePosixPath

from .findings import ROOT, Document, Finding
from .pins import loose_installs, wrong_pins

DOCKERFILE = ROOT / "cluster" / "Dockerfile"


def is_dockerfile(document: Document) -> bool:
    """Whether it is a Dockerfile."""
    return document.name.rsplit("/", 1)[-1].startswith("Dockerfile")


def instructions(text: str) -> Iterator[tuple[int, str, str]]:
    """Line, instruction and the rest of each instruction, continued lines joined."""
    lines = iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        whole = line
        while whole.rstrip().endswith("\\"):
            whole = whole.rstrip()[:-1] + " " + next(lines, (0, ""))[1]
        word, _, rest = whole.strip().partition(" ")
        yield number, word.upper(), rest.strip()


def check(document: Document) -> Iterator[Finding]:
    """All mistakes of a Dockerfile."""
    found = list(instructions(document.text))
    bases = [rest for _, word, rest in found if word == "FROM"]
    if not any(base.startswith("rayproject/ray:") for base in bases):
        yield document.mistake("FROM", f"must start from rayproject/ray, the version in constraints.txt, not {bases}")
    for number, word, rest in found:
        place = f"line {number}"
        for problem in wrong_pins(re.sub(r"\$\{?\w+\}?", "cpu", rest) if word == "FROM" else rest):
            yield document.mistake(place, problem)
        if word == "RUN":
            for problem in loose_installs(rest):
                yield document.mistake(place, problem)
        if word == "COPY":
            for source in _sources(rest):
                if not list(document.root.glob(source)):
                    yield document.mistake(place, f"there is no {source} to copy; docker build runs beside setup.cfg")


def _sources(rest: str) -> list[str]:
    words = [word for word in shlex.split(rest) if not word.startswith("--")]
    return words[:-1]


def path_in_image(path: str) -> str | None:
    """The file of the repository that our image has at a path; None if it has none there.

    Args:
        path: As an entrypoint names it.
    """
    folder = PurePosixPath("/")
    for _, word, rest in instructions(DOCKERFILE.read_text(encoding="utf-8")):
        if word == "WORKDIR":
            folder = folder / rest
        elif word == "COPY":
            target = shlex.split(rest)[-1]
            for source in _sources(rest):
                single = (ROOT / source).is_dir() or not target.endswith("/")
                copied = folder / target if single else folder / target / PurePosixPath(source).name
                if PurePosixPath(path).is_relative_to(copied):
                    inside = PurePosixPath(source) / PurePosixPath(path).relative_to(copied)
                    if (ROOT / inside).is_file():
                        return str(inside)
    return None
