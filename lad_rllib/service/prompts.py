"""Prompts from text files, and the image tasks that they become."""

from __future__ import annotations

import codecs
import os
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import numpy as np

from lad_rllib.edge.task import MAX_DENOISING_STEPS, ImageTask
from lad_rllib.errors import ConfigurationError
from lad_rllib.simulator import Arrivals
from lad_rllib.simulator.requests import Requests

MAX_PROMPT_FILE_BYTES = 64_000_000
"""About five times all captions of COCO; nobody has a longer list of prompts."""

BYTE_ORDER_MARK = "\ufeff"

_OTHER_ENCODINGS = (
    ((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE), "UTF-32"),  # first: UTF-32's mark begins with that of UTF-16
    ((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE), "UTF-16"),
)


def read_prompts(path: str | Path | None = None) -> list[str]:
    r"""Read prompts, one per line; empty lines and lines that begin with ``#`` are left out.

    A line ends with ``\n``, ``\r\n`` or ``\r``. Other characters that Unicode counts as ends of lines, such as U+2028,
    NEL and form feed, belong to a prompt.

    Args:
        path: Text file in UTF-8, with or without a byte-order mark; None: the package's own list, which the embedded
            model can draw. The prototype of arXiv 2412.18212 took the captions of Flickr8k, which are not included.

    Raises:
        ConfigurationError: if the file cannot be read, is no UTF-8 text, is too large, or holds no prompt.
    """
    file = resources.files("lad_rllib").joinpath("data/prompts.txt") if path is None else Path(os.path.expanduser(path))
    try:
        with file.open("rb") as stream:
            text = _decoded(stream.read(MAX_PROMPT_FILE_BYTES + 1))
    except OSError as error:
        raise ConfigurationError(f"cannot read prompts from {path}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigurationError(f"cannot read prompts from {path}: {error}") from None
    lines = [line.strip(BYTE_ORDER_MARK).strip() for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    prompts = [line for line in lines if line and not line.startswith("#")]
    if not prompts:
        raise ConfigurationError(f"{path} holds no prompt; write one per line")
    return prompts


def _decoded(content: bytes) -> str:
    """The text of a file; ``ValueError`` says what it is instead."""
    if len(content) > MAX_PROMPT_FILE_BYTES:
        raise ValueError(f"it has more than {MAX_PROMPT_FILE_BYTES:,} bytes; split it")
    for marks, name in _OTHER_ENCODINGS:
        if content.startswith(marks):
            raise ValueError(f"it is {name}; save it as UTF-8")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8; save it as UTF-8") from None
    if "\0" in text:
        raise ValueError("it holds NUL characters, so it is no text in UTF-8 (maybe UTF-16); save it as UTF-8")
    return text


def image_tasks(
    prompts: Sequence[str],
    number: int,
    rng: np.random.Generator,
    *,
    num_stations: int,
    denoising_steps: tuple[int, int] = (10, 19),
    size: tuple[int, int] | None = None,
    deadline_s: float | None = None,
    name: str = "task",
) -> list[ImageTask]:
    """Tasks that ask for the prompts in turn, at random base stations, with random denoising steps.

    Args:
        prompts: What to draw.
        number: How many tasks; prompts are repeated if there are fewer, each time with another seed.
        rng: Draws stations and steps.
        num_stations: Base stations, each equally likely.
        denoising_steps: Fewest and most steps, each number equally likely; 10 to 19 in the prototype of arXiv
            2412.18212.
        size: Width and height [pixel]; None: the server's own.
        deadline_s: See :class:`~lad_rllib.edge.task.ImageTask` [s].
        name: What task ids begin with.

    Returns:
        Tasks; the image's seed is the number of the task.
    """
    low, high = denoising_steps
    if not 1 <= low <= high <= MAX_DENOISING_STEPS:
        raise ConfigurationError(
            f"denoising steps must be a range within 1 to {MAX_DENOISING_STEPS}, got {low} to {high}"
        )
    stations = rng.integers(num_stations, size=number).tolist()
    steps = rng.integers(low, high, size=number, endpoint=True).tolist()
    width, height = size or (None, None)
    return [
        ImageTask(
            f"{name}-{i}",
            prompts[i % len(prompts)],
            steps[i],
            width,
            height,
            seed=i,
            deadline_s=deadline_s,
            station=stations[i],
        )
        for i in range(number)
    ]


def tasks_of_arrivals(
    arrivals: Arrivals, slot: int, prompts: Sequence[str], first: int = 0, name: str = "task"
) -> list[ImageTask]:
    """The image tasks that arrive in a slot, in the order of ``np.argwhere(arrivals.mask[slot])``.

    Args:
        arrivals: Arrivals of one episode, without the leading axis.
        slot: The slot.
        prompts: What to draw, in turn.
        first: Number of the first task; the image's seed is the number of the task.
        name: What task ids begin with.
    """
    return [
        ImageTask(
            f"{name}-{number}",
            prompts[number % len(prompts)],
            int(arrivals.denoising_steps[slot, station, index]),
            seed=number,
            station=int(station),
            input_mbit=float(arrivals.task_mbit[slot, station, index]),
        )
        for number, (station, index) in enumerate(np.argwhere(arrivals.mask[slot]), start=first)
    ]


def tasks_of_episode(
    arrivals: Arrivals, prompts: Sequence[str], num_slots: int | None = None, name: str = "task"
) -> list[list[ImageTask]]:
    """The image tasks of each slot, numbered through; see :func:`tasks_of_arrivals`.

    Args:
        arrivals: Arrivals of one episode, without the leading axis.
        prompts: What to draw, in turn.
        num_slots: The first slots only; None: all.
        name: What task ids begin with.
    """
    masks = arrivals.mask[:num_slots]
    first = np.cumsum([0, *(int(mask.sum()) for mask in masks)]).tolist()
    return [tasks_of_arrivals(arrivals, slot, prompts, first[slot], name) for slot in range(len(masks))]


def tasks_of_requests(requests: Requests, prompts: Sequence[str], name: str = "task") -> list[ImageTask]:
    """The image tasks that requests of the simulator stand for, in their order.

    A request with guidance takes the server's own. The model of requests that know one model only is the server's.

    Args:
        requests: The requests.
        prompts: What to draw, in turn.
        name: What task ids begin with.
    """
    has_models = len(requests.models) > 1
    return [
        ImageTask(
            f"{name}-{i}",
            prompts[i % len(prompts)],
            max(1, round(float(requests.steps[i]))),
            int(requests.width[i]),
            int(requests.height[i]),
            seed=i,
            guidance=None if requests.guided[i] else 1.0,
            deadline_s=float(requests.deadline_s[i]) if np.isfinite(requests.deadline_s[i]) else None,
            station=int(requests.station[i]),
            input_mbit=float(requests.upload_mbit[i]),
            images=int(requests.images[i]),
            model=requests.models[requests.model[i]] if has_models else None,
            loras=tuple(requests.lora_sets[requests.loras[i]].split()),
            priority=int(requests.priority[i]),
            tenant=requests.tenants[requests.tenant[i]],
        )
        for i in range(len(requests))
    ]
