"""Offline search with full knowledge of an episode of requests: how much there is to be had under an order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from lad_rllib.scheduling.bounds import speeds
from lad_rllib.scheduling.offline_search import draw_from_logits
from lad_rllib.simulator.requests import Requests, RequestWorld, ServedRequests, Timing
from lad_rllib.simulator.requests.costs import marginal_costs_s
from lad_rllib.simulator.requests.play import play_decisions

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_MIN_GAIN_S = 1e-9
_TRIES = 60
"""Times that requests are moved for once that costs are computed."""


def offline_requests(
    world: RequestWorld,
    requests: Requests,
    rng: np.random.Generator,
    iterations: int = 200,
    rounds: int = 60,
    learning_rate: tuple[float, float] = (0.25, 0.03),
    start: IntArray | None = None,
    timing: Timing | None = None,
    progress: Callable[[int], None] | None = None,
) -> ServedRequests:
    """Look for the decisions that make the sum of all delays least, under the world's order of service.

    First decisions settle, as in :func:`~lad_rllib.scheduling.offline_search.settle`: each request has a row of logits,
    draws its server, learns what it would have cost on every one, and draws again. Then rounds of moves: requests that
    would lower the sum by going elsewhere go there, some at a time, and go back where the sum has not become less. What
    is found is an upper bound of the least possible mean; it knows all that is to come, and actual service times.

    Args:
        world: Where the requests are served.
        requests: The K requests of an episode.
        rng: Randomness of draws and of the order of moves.
        iterations: Times that the episode is played while decisions settle.
        rounds: Times that costs are computed for moves.
        learning_rate: Step size of settling at the start and at the end, relative to the mean delay of the first time.
        start: Decisions to begin moves from, shape (K,); they do not settle then.
        timing: Times of the requests, if they are known already.
        progress: Called with the number of iterations and rounds done so far.

    Returns:
        The best that was found.
    """
    search = _Search(world, requests, world.timing(requests) if timing is None else timing)
    if start is None:
        steps = search.settle(rng, np.geomspace(*learning_rate, iterations))
    else:
        search.consider(np.asarray(start, np.int64))
        steps = iter(())
    for done, _ in enumerate(chain(steps, search.move(rng, rounds)), 1):
        if progress is not None:
            progress(done)
    return search.best


class _Search:
    """The best decisions so far."""

    def __init__(self, world: RequestWorld, requests: Requests, timing: Timing) -> None:
        self._episode, self._timing = (world, requests, timing), timing
        self.best = self.last = play_decisions(np.zeros(len(requests), np.int64), *self._episode)

    def consider(self, servers: IntArray) -> bool:
        """Play some decisions; returns whether they are better."""
        self.last = play_decisions(servers, *self._episode)
        better = bool(self.last.delay_s.sum() < self.best.delay_s.sum())
        if better:
            self.best = self.last
        return better

    def settle(self, rng: np.random.Generator, rates: FloatArray) -> Iterator[None]:
        """Draw decisions and learn what others would have cost, at each of the rates."""
        logits, scale_s = np.tile(np.log(speeds(self._timing)), (len(self.best.server), 1)), 0.0
        for rate in rates:
            self.consider(draw_from_logits(logits, rng))
            scale_s = scale_s or float(self.last.delay_s.sum()) / max(len(logits), 1) or 1.0
            logits -= rate / scale_s * marginal_costs_s(self._timing, self.last.server)
            yield None
        self.consider(logits.argmax(axis=1))

    def move(self, rng: np.random.Generator, rounds: int) -> Iterator[None]:
        """Let requests go where they cost least, some at a time; back where the sum does not become less."""
        together = max(len(self.best.server) // 50, 1)
        for _ in range(rounds):
            cost = marginal_costs_s(self._timing, self.best.server)
            cheapest = cost.argmin(axis=1)
            gain = np.take_along_axis(cost, self.best.server[:, None], axis=1)[:, 0] - cost.min(axis=1)
            movable = rng.permutation(np.flatnonzero(gain > _MIN_GAIN_S))
            if not len(movable):
                return
            for _ in range(_TRIES):
                moved, movable = movable[:together], movable[together:]
                servers = self.best.server.copy()
                servers[moved] = cheapest[moved]
                together = together * 3 // 2 + 1 if self.consider(servers) else max(together // 2, 1)
                if not len(movable):
                    break
            yield None
