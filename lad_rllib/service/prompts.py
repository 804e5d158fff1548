"""Prompts from text files, and the image tasks that they become."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import numpy as np

from lad_rllib.edge.task import ImageTask
from lad_rllib.errors import ConfigurationError
from lad_rllib.simulator import Arrivals


def read_prompts(path: str | Path | None = None) -> list[str]:
    """Read prompts, one per line; empty lines and lines that begin with ``#`` are left out.

    Args:
        path: Text file in UTF-8; None: the package's own list, within reach of the embedded model. The prototype of
            arXiv 2412.18212 took the captions of Flickr8k, which do not come along.

    Raises:
        ConfigurationError: if the file cannot be read or holds no prompt.
    """
    file = resources.files("lad_rllib").joinpath("data/prompts.txt") if path is None else Path(path).expanduser()
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read prompts from {path}: {' '.join(str(error).split())}") from None
    prompts = [line for line in lines if line and not line.startswith("#")]
    if not prompts:
        raise ConfigurationError(f"{path} holds no prompt; write one per line")
    return prompts


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
    least, most = denoising_steps
    if not 1 <= least <= most:
        raise ConfigurationError(f"denoising steps must be a range of at least 1, got {least} to {most}")
    stations = rng.integers(num_stations, size=number).tolist()
    steps = rng.integers(least, most, size=number, endpoint=True).tolist()
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
