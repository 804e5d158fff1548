"""Tasks that arrived together, as the slot of the simulator that schedulers know."""

from __future__ import annotations

import logging
import operator
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lad_rllib.edge.task import ImageTask
from lad_rllib.errors import ConfigurationError
from lad_rllib.scheduling import Scheduler
from lad_rllib.service.work_model import WorkModel
from lad_rllib.simulator import EdgeNetwork, SlotTasks

_LOG = logging.getLogger("lad_rllib.service")


def rounds_of(
    tasks: Sequence[ImageTask], num_stations: int, max_per_station: int | None
) -> list[list[tuple[int, int, int]]]:
    """Split tasks into decision rounds with at most ``max_per_station`` tasks of one station.

    Returns:
        For each round, ``(position in tasks, station, index at the station)`` of each of its tasks.
    """
    counts = [0] * num_stations
    rounds: list[list[tuple[int, int, int]]] = []
    for position, task in enumerate(tasks):
        number, index = divmod(counts[task.station], max_per_station or len(tasks))
        counts[task.station] += 1
        while len(rounds) <= number:
            rounds.append([])
        rounds[number].append((position, task.station, index))
    return rounds


def slot_tasks(
    tasks: Sequence[ImageTask],
    places: Sequence[tuple[int, int, int]],
    slot: int,
    network: EdgeNetwork,
    work: WorkModel,
    queue_s: NDArray[np.float64],
) -> SlotTasks:
    """The observation of a decision round, with one episode (E = 1).

    Args:
        tasks: All tasks.
        places: Those of the round, from :func:`rounds_of`.
        slot: Number of the round.
        network: The fleet in the simulator's units.
        work: Work of a task.
        queue_s: Predicted time until each server is done with what it has [s], shape (A,).
    """
    counts = np.zeros((1, network.num_stations), dtype=np.int64)
    for _, station, _ in places:
        counts[0, station] += 1
    shape = (1, network.num_stations, int(counts.max()))
    task_mbit, workload = np.zeros(shape), np.zeros(shape)
    for position, station, index in places:
        task_mbit[0, station, index] = tasks[position].upload_mbit
        workload[0, station, index] = work.workload_gcycles(tasks[position].denoising_steps)
    return SlotTasks(
        slot=slot,
        network=network,
        queue_gcycles=(queue_s * network.capacity_gcycles_per_s)[None],
        task_counts=counts,
        mask=np.arange(shape[2]) < counts[..., None],
        task_mbit=task_mbit,
        workload_gcycles=workload,
        result_mbit=np.full(shape, work.result_mbit),
    )


def warm_up(scheduler: Scheduler, network: EdgeNetwork, work: WorkModel) -> None:
    """Let a scheduler decide for a made-up slot, so that the first task does not wait for what it loads or compiles.

    The slot is as large as the largest that the scheduler gets. It has randomness of its own, and the scheduler is
    reset afterwards, so later decisions are the same as without.

    Args:
        scheduler: The scheduler. If it fails here, it will fail for real tasks, too, and they end with its error.
        network: The fleet in the simulator's units.
        work: Work of a task.

    Raises:
        ConfigurationError: if the scheduler was made for another fleet.
    """
    stations, per_station = network.num_stations, getattr(scheduler, "num_tasks", 1)
    tasks = [ImageTask(f"warm-up-{i}", "warm-up", 1, station=i % stations) for i in range(per_station * stations)]
    [places] = rounds_of(tasks, stations, per_station)
    observed = slot_tasks(tasks, places, 0, network, work, np.zeros(network.num_servers))
    scheduler.reset(1)
    try:
        scheduler.decide(observed, np.random.default_rng(0))
    except ConfigurationError:
        raise
    except (Exception, SystemExit):  # foreign code
        _LOG.debug("the scheduler failed in its warm-up", exc_info=True)
    scheduler.reset(1)


def checked_decision(decision: object, places: Sequence[tuple[int, int, int]], tasks: SlotTasks) -> list[int]:
    """The server that a scheduler chose for each task of a round.

    Args:
        decision: What the scheduler returned; should be whole numbers of shape (1, B, N).
        places: Tasks of the round, from :func:`rounds_of`.
        tasks: What the scheduler saw.

    Raises:
        ValueError: for another shape, other numbers than whole ones, or a server that does not exist.
    """
    chosen, expected = np.asarray(decision), tasks.mask.shape
    if chosen.shape != expected:
        raise ValueError(f"it chose servers of shape {chosen.shape} for tasks of shape {expected}")
    if not np.issubdtype(chosen.dtype, np.integer):
        raise ValueError(f"servers must be whole numbers, it chose {chosen.dtype}")
    servers = [int(chosen[0, station, index]) for _, station, index in places]
    return existing(servers, tasks.network.num_servers)


def existing(servers: list[int], number: int) -> list[int]:
    """The servers that a scheduler chose.

    Raises:
        ValueError: if one is none of the fleet's.
    """
    wrong = [server for server in servers if not 0 <= server < number]
    if wrong:
        raise ValueError(f"it chose server {wrong[0]}; the fleet has servers 0 to {number - 1}")
    return servers


def checked_servers(servers: Sequence[int], num_tasks: int, num_servers: int) -> list[int]:
    """The server named for each task, if there is one for each and all of them exist.

    Raises:
        ConfigurationError: if not.

    >>> checked_servers([2, 0], num_tasks=2, num_servers=3)
    [2, 0]
    """
    if len(servers) != num_tasks:
        raise ConfigurationError(f"{len(servers)} servers were named for {num_tasks} tasks; name one for each task")
    try:
        indices = [operator.index(server) for server in servers]
    except TypeError:
        raise ConfigurationError(f"servers must be whole numbers, got {list(servers)}") from None
    wrong = [index for index in indices if not 0 <= index < num_servers]
    if wrong:
        raise ConfigurationError(f"server {wrong[0]} does not exist; the fleet has servers 0 to {num_servers - 1}")
    return indices
