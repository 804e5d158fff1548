"""Service delay of a text-to-image task, part by part, and the queue of an edge server.

The rest of the project calls these functions rather than repeating a formula. They broadcast over NumPy arrays and work
in the precision of their arguments.

Source: the system model of arXiv 2412.18212 (service delay = transmission + waiting + computing).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


def workload_gcycles(
    density_gcycles_per_step: ArrayLike, denoising_steps: ArrayLike, overhead_steps: ArrayLike = 0.0
) -> FloatArray:
    """Work of a task: computing density times the number of denoising steps, ``w = rho * (z + z0)``.

    Args:
        density_gcycles_per_step: Computing density ``rho`` [Gcycle per denoising step].
        denoising_steps: Denoising steps of the image model ``z`` (the quality demand).
        overhead_steps: What an image costs besides its steps (encoding, decoding) ``z0``, in denoising steps. 0 in
            arXiv 2412.18212; real pipelines have some.

    Returns:
        Workload [Gcycle], broadcast shape of the arguments.

    >>> float(workload_gcycles(0.25, 8)), float(workload_gcycles(0.25, 8, overhead_steps=4))
    (2.0, 3.0)
    """
    return np.multiply(density_gcycles_per_step, np.add(denoising_steps, overhead_steps))


def upload_delay_s(task_mbit: ArrayLike, link_rate_mbit_per_s: ArrayLike, is_local: ArrayLike) -> FloatArray:
    """Time to send a task's input to its server; zero if the server stands at the task's own station.

    >>> float(upload_delay_s(4.0, 400.0, False)), float(upload_delay_s(4.0, 400.0, True))
    (0.01, 0.0)
    """
    return np.where(is_local, 0.0, np.divide(task_mbit, link_rate_mbit_per_s))


def waiting_delay_s(
    queue_gcycles: ArrayLike, work_before_gcycles: ArrayLike, capacity_gcycles_per_s: ArrayLike
) -> FloatArray:
    """Time until a first-in-first-out server has finished all work ahead of the task.

    Args:
        queue_gcycles: Work in the server's queue at the start of the slot, ``q`` [Gcycle].
        work_before_gcycles: Work sent to the server earlier in the same slot, ``q_before`` [Gcycle].
        capacity_gcycles_per_s: Computing capacity of the server, ``f`` [Gcycle/s].

    >>> float(waiting_delay_s(30.0, 10.0, 20.0))
    2.0
    """
    return np.divide(np.add(queue_gcycles, work_before_gcycles), capacity_gcycles_per_s)


def computing_delay_s(workload: ArrayLike, capacity_gcycles_per_s: ArrayLike) -> FloatArray:
    """Time that the server works on the task itself, ``w / f``.

    >>> float(computing_delay_s(2.0, 20.0))
    0.1
    """
    return np.divide(workload, capacity_gcycles_per_s)


def download_delay_s(result_mbit: ArrayLike, link_rate_mbit_per_s: ArrayLike) -> FloatArray:
    """Time to send the image back over the server's link.

    >>> float(download_delay_s(0.8, 400.0))
    0.002
    """
    return np.divide(result_mbit, link_rate_mbit_per_s)


def next_queue_gcycles(
    queue_gcycles: ArrayLike,
    work_sent_gcycles: ArrayLike,
    capacity_gcycles_per_s: ArrayLike,
    slot_s: float,
) -> FloatArray:
    """Queue at the start of the next slot: the old queue plus the work sent, less what one slot can do; at least 0.

    >>> next_queue_gcycles([10.0, 1.0], [5.0, 0.0], [10.0, 10.0], 1.0).tolist()
    [5.0, 0.0]
    """
    done = np.multiply(capacity_gcycles_per_s, slot_s)
    return np.maximum(np.add(queue_gcycles, work_sent_gcycles) - done, 0.0)


def work_before_in_slot_gcycles(
    workload: FloatArray, action: NDArray[np.integer], num_servers: int
) -> tuple[FloatArray, FloatArray]:
    """Work sent earlier in the same slot to each task's server, and to each server in all.

    Tasks are served in the order of the last axis (base station 0's tasks first, then station 1's, ...).

    Args:
        workload: Work of each task in order [Gcycle], shape (E, K); 0 where there is no task.
        action: Server of each task, shape (E, K); any valid index where there is no task.
        num_servers: Number of servers A.

    Returns:
        ``(work_before, work_sent)`` [Gcycle], shapes (E, K) and (E, A).
    """
    sent = np.zeros((*workload.shape, num_servers))
    np.put_along_axis(sent, action[..., None], workload[..., None], axis=-1)
    np.cumsum(sent, axis=-2, out=sent)
    through = np.take_along_axis(sent, action[..., None], axis=-1)[..., 0]
    return through - workload, sent[..., -1, :]
