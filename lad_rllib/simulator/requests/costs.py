"""Marginal cost of a request on each server: its own delay, and the delay that it adds to all others there.

Servers are independent of one another once requests are assigned, so a request that goes elsewhere changes two servers
only. What each would have done is replayed, from the request's arrival until the server does again what it did: exact
under every order of service, with models in memory, and with service times other than predicted. Requests one by one
and slots are the same here (arrivals at the starts of slots).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from lad_rllib.simulator.penalties import DelayPenalty, MeanDelay
from lad_rllib.simulator.requests import loop
from lad_rllib.simulator.requests.fair_replays import fair_costs, fair_queue, play_fair
from lad_rllib.simulator.requests.record import record_of
from lad_rllib.simulator.requests.replays import LOSS, Changes, scratch_of, server_costs
from lad_rllib.simulator.requests.world import Timing

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_BUFFER = 1 << 20


def marginal_costs_s(
    timing: Timing,
    servers: IntArray,
    sample: IntArray | None = None,
    penalty: DelayPenalty | None = None,
    weight: FloatArray | None = None,
    horizon_s: float | None = None,
    discount: float = 1.0,
) -> FloatArray:
    """Cost of requests on every server, all other decisions as they were.

    On the server that a request was sent to, the cost is what would be saved without it; on any other, what would be
    added if it were sent there instead. ``cost[m, a] - cost[m, servers[sample[m]]]`` is exactly the change of the sum
    of all losses if this request alone moves to ``a``.

    Args:
        timing: Times of the K requests of an episode, see
            :meth:`~lad_rllib.simulator.requests.world.RequestWorld.timing`.
        servers: Server of each, shape (K,).
        sample: The M requests whose costs are asked for; None: all.
        penalty: Loss of a request by its delay; None: the delay itself, which is the fastest. Losses with a ``hinge``
            are compiled, others take several times as long.
        weight: Weight of each request's loss, shape (K,); None: 1.
        horizon_s: Others count if they arrive at most this much later than the request [s]; None: all.
        discount: Weight of another request for each second that it arrives later, in (0, 1].

    Returns:
        Costs [s, or the penalty's unit], shape (M, A).

    Raises:
        ValueError: for a ``discount`` or ``horizon_s`` that cannot be used.
        IndexError: for a server or a sampled request that does not exist.
    """
    if horizon_s is not None and not horizon_s >= 0:
        raise ValueError(f"horizon_s must be at least 0, got {horizon_s}")
    if not 0 < discount <= 1:
        raise ValueError(f"discount must be in (0, 1], got {discount}")
    count, num_servers = timing.predicted_s.shape
    chosen = np.asarray(servers, np.int64)
    asked = np.arange(count) if sample is None else np.asarray(sample, np.int64)
    for name, values, end in (("servers", chosen, num_servers), ("sample", asked, count)):
        if len(values) and not 0 <= values.min() <= values.max() < end:
            raise IndexError(f"{name} must be in 0..{end - 1}, got {values.min()}..{values.max()}")
    by_arrival = np.argsort(asked, kind="stable")
    asked = asked[by_arrival]
    weights = np.ones(count) if weight is None else np.ascontiguousarray(weight, np.float64)
    queues = loop.empty_queues(timing)
    loop.replay(queues, timing, chosen)
    loss = _Loss(timing, queues, penalty or MeanDelay(), weights, horizon_s, discount)
    cost = np.empty((len(asked), num_servers))
    in_order = np.lexsort((np.arange(count), queues.requests["tag"], queues.requests["start_s"]))
    for server in range(num_servers):
        served = in_order[chosen[in_order] == server]
        room = 0 if loss.is_compiled else max(_BUFFER, len(served))
        changes = Changes(np.empty(room, np.int64), np.empty(room), np.zeros(1, np.int64), loss.compiled)
        costs = _replays(queues, timing, weights, changes, server, served)
        own_s, change = np.empty(len(asked)), np.empty(len(asked))
        behind = np.zeros(len(asked), np.int64)
        done: int = 0
        while done < len(asked):
            first, done = done, costs(asked, done, own_s, change, behind)
            if not loss.is_compiled:
                change[first:done] = loss.changes(asked[first:done], changes, behind[first:done])
        sign = np.where(chosen[asked] == server, -1.0, 1.0)
        cost[by_arrival, server] = weights[asked] * loss.value(own_s) + sign * change
    return cost


def _replays(
    queues: loop.Queues, timing: Timing, weight: FloatArray, changes: Changes, server: int, served: IntArray
) -> Callable[[IntArray, int, FloatArray, FloatArray, IntArray], int]:
    """What computes costs on one server, whose requests are given in order of service."""
    if len(timing.weights) > 0:
        state, other = (fair_queue(timing, weight, np.sort(served)) for _ in range(2))
        rooms = len(state.resident)
        resident, loras = np.zeros((len(served), rooms), np.int64), np.zeros(len(served), np.int64)
        play_fair(state, timing, changes, server, resident, loras)
        other = other._replace(items=state.items)
        return partial(fair_costs, state, other, resident, loras, queues, timing, changes, server)
    place_in_record = np.zeros(len(queues.requests), np.int64)
    place_in_record[served] = np.arange(len(served))
    record = record_of(queues, timing, weight, server, served)
    return partial(server_costs, record, queues, timing, scratch_of(record), changes, server, place_in_record)


class _Loss:
    """Losses of an episode's requests, and how they change; ``compiled`` in replays themselves, if ``is_compiled``."""

    def __init__(
        self,
        timing: Timing,
        queues: loop.Queues,
        penalty: DelayPenalty,
        weight: FloatArray,
        horizon_s: float | None,
        discount: float,
    ) -> None:
        hinge = penalty.hinge
        self.is_compiled, self.compiled = hinge is not None, np.zeros(1, LOSS)
        self.compiled["slope"], self.compiled["further_slope"], self.compiled["corner_s"] = hinge or (1.0, 0.0, 0.0)
        self.compiled["decay_per_s"] = -np.log(discount)
        self.compiled["horizon_s"] = np.inf if horizon_s is None else horizon_s
        self.compiled["is_plain"] = hinge == (1.0, 0.0, 0.0) and discount == 1.0 and horizon_s is None
        served = queues.requests
        every = np.arange(len(served)), served["server"]
        finish_s = served["start_s"] + served["swap_s"] + timing.actual_s[every]
        self._delay_s = finish_s - timing.arrival_s + timing.upload_s[every] + timing.download_s[every]
        self.value, self._loss = penalty.value, penalty.value(self._delay_s)
        self._arrival_s, self._weight, self._horizon_s, self._discount = timing.arrival_s, weight, horizon_s, discount

    def changes(self, request: IntArray, changes: Changes, behind: IntArray) -> FloatArray:
        """Sum of the changes that each of some requests makes; ``behind`` are the ends of its changes."""
        count = int(changes.filled[0])
        other = changes.request[:count]
        cause = np.repeat(np.arange(len(request)), np.diff(behind, prepend=0))
        change = self.value(self._delay_s[other] + changes.by_s[:count]) - self._loss[other]
        later_s = self._arrival_s[other] - self._arrival_s[request[cause]]
        change *= self._weight[other] * self._discount ** np.maximum(later_s, 0.0)
        if self._horizon_s is not None:
            change[later_s > self._horizon_s] = 0.0
        return np.bincount(cause, change, minlength=len(request)).astype(np.float64)
