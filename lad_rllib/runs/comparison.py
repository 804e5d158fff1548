"""Tables of schedulers that served the same episodes: one row for each scheduler and order of service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lad_rllib.scheduling import EpisodeRecord, jain_index, schedule_quality
from lad_rllib.scheduling.quality import slowdown
from lad_rllib.simulator.requests import ServedRequests, slotted_world
from lad_rllib.simulator.requests.play import play_decisions
from lad_rllib.simulator.requests.requests import plain_requests

FloatArray = NDArray[np.float64]

LOWER_BOUND = "lower bound"
PARTS = ("upload_s", "waiting_s", "swap_s", "computing_s", "download_s")
SHARES = np.linspace(0, 1, 400)
"""Shares of the tasks at which :attr:`Played.quantiles_s` are taken."""


@dataclass(frozen=True)
class Measures:
    """What rows have besides delays and fairness.

    Attributes:
        deadline_s: Longest delay that is on time [s], for ``miss_rate``.
        slo: Longest delay over the one on the fastest server, idle, for ``slo_attainment``.
    """

    deadline_s: float | None = None
    slo: float | None = None


@dataclass(frozen=True)
class Played:
    """How a scheduler fared under one order of service.

    Attributes:
        row: Its row of the table.
        quantiles_s: Service delays at :data:`SHARES` [s].
        utilisation: Share of the time that each server was busy, mean over episodes, shape (A,).
        episode_mean_s: Mean service delay of each episode [s], shape (E,).
    """

    row: dict[str, Any]
    quantiles_s: FloatArray
    utilisation: FloatArray
    episode_mean_s: FloatArray

    @property
    def label(self) -> str:
        """Scheduler, and the order of service unless it is the usual one."""
        scheduler, order = self.row["scheduler"], self.row["order"]
        return scheduler if order == "fifo" else f"{scheduler}, {order}"


def played(
    scheduler: str,
    order: str,
    episodes: Sequence[ServedRequests],
    capacity: FloatArray,
    end_s: Sequence[float],
    measures: Measures = Measures(),  # noqa: B008  (immutable)
) -> Played:
    """Sum up how a scheduler served some episodes.

    Args:
        scheduler: Its name.
        order: The order of service.
        episodes: How it served them.
        capacity: Weight of each server in the mean utilisation, shape (A,).
        end_s: End of each episode, for utilisation [s].
        measures: What rows have besides.
    """
    delay = np.concatenate([one.delay_s for one in episodes])
    means = np.array([one.delay_s.mean() if len(one.delay_s) else 0.0 for one in episodes])
    row: dict[str, Any] = {
        "scheduler": scheduler,
        "order": order,
        "episodes": len(episodes),
        "tasks": len(delay),
        "episode_sd_s": float(means.std(ddof=1)) if len(means) > 1 else float("nan"),
    }
    row |= schedule_quality(episodes, measures.deadline_s)
    row |= {part: _mean([getattr(one, part) for one in episodes]) for part in PARTS}
    row["swaps"] = _mean([one.swap_s > 0 for one in episodes])
    row |= _on_time(episodes, measures.slo) | _of_tenants(episodes)
    busy = np.mean([_busy(one, len(capacity), end) for one, end in zip(episodes, end_s, strict=True)], axis=0)
    row["utilisation"] = float(np.average(busy, weights=capacity))
    quantiles = np.quantile(delay, SHARES) if delay.size else np.zeros(len(SHARES))
    return Played(row, quantiles, busy, means)


def _on_time(episodes: Sequence[ServedRequests], slo: float | None) -> dict[str, float]:
    """Share of the requests within a multiple of their delay alone, and of those with a deadline within that."""
    shares = {}
    if slo is not None:
        shares["slo_attainment"] = _mean([one.delay_s <= slo * one.solo_s for one in episodes])
    due = [np.isfinite(one.requests.deadline_s) for one in episodes]
    if any(each.any() for each in due):
        within = [(o.delay_s <= o.requests.deadline_s)[d] for o, d in zip(episodes, due, strict=True)]
        shares["deadline_met"] = _mean(within)
    return shares


def _of_tenants(episodes: Sequence[ServedRequests]) -> dict[str, float]:
    """Mean delay of each tenant, and Jain's index of their mean slowdowns; nothing if there is one alone."""
    tenants = episodes[0].requests.tenants
    if len(tenants) < 2:
        return {}
    delay, fastest = (np.concatenate([getattr(one, name) for one in episodes]) for name in ("delay_s", "fastest_s"))
    tenant = np.concatenate([one.requests.tenant for one in episodes])
    present = [index for index in range(len(tenants)) if (tenant == index).any()]
    row = {f"tenant_{tenants[index]}_s": float(delay[tenant == index].mean()) for index in present}
    slowdowns = [slowdown(delay[tenant == index], fastest[tenant == index]).mean() for index in present]
    return row | {"tenant_fairness": jain_index(np.array(slowdowns))}


def _mean(values: Sequence[NDArray[Any]]) -> float:
    together = np.concatenate(values)
    return float(together.mean()) if together.size else 0.0


def _busy(served: ServedRequests, servers: int, end_s: float) -> FloatArray:
    """Share of the time until an episode's end that each server worked or loaded."""
    worked_s = np.minimum(served.finish_s, end_s) - np.minimum(served.start_s, end_s)
    busy: FloatArray = np.bincount(served.server, worked_s, minlength=servers) / max(end_s, 1e-12)
    return busy


def as_requests(record: EpisodeRecord) -> list[ServedRequests]:
    """Episodes of slots as requests, served first in, first out as they were there."""
    world, served = slotted_world(record.network), []
    for episode, mask in enumerate(record.mask):
        slot, station, _ = np.nonzero(mask)
        names = {"density": "workload_gcycles", "upload_mbit": "task_mbit", "result_mbit": "result_mbit"}
        values = {name: getattr(record, array)[episode][mask] for name, array in names.items()}
        requests = plain_requests(slot * record.network.slot_s, station=station, steps=1.0, **values)
        served.append(play_decisions(record.action[episode][mask], world, requests))
    return served


def table_of_slots(records: Mapping[str, EpisodeRecord]) -> pd.DataFrame:
    """One row for each scheduler that played the same episodes of slots, over the greedy oracle if it is there."""
    rows = []
    for name, record in records.items():
        end_s = [record.network.slot_s * record.mask.shape[1]] * len(record.mask)
        rows.append(played(name, "fifo", as_requests(record), record.network.capacity_gcycles_per_s, end_s))
    oracle = records.get("greedy-oracle")
    return comparison_table(rows, "over_oracle", oracle.mean_delay_s if oracle else float("nan"))


def comparison_table(rows: Sequence[Played], over: str, reference_mean_s: float) -> pd.DataFrame:
    """One row for each scheduler and order: mean delay, its ratio to a reference, quality, parts, utilisation.

    Args:
        rows: How they fared.
        over: Column of the ratio.
        reference_mean_s: Mean delay of the reference [s].
    """
    table = pd.DataFrame([one.row for one in rows])
    if not table["swaps"].any():
        table = table.drop(columns=["swaps", "swap_s"])
    mean_s = table.pop("mean_s")
    table.insert(4, "mean_s", mean_s)
    table.insert(5, over, mean_s / reference_mean_s)
    return table


def bound_row(
    bounds_s: FloatArray, tasks: NDArray[np.int64], over: str = "", reference_mean_s: float = 1.0
) -> dict[str, Any]:
    """Row of the lower bound in a comparison; it has a mean and nothing else.

    Args:
        bounds_s: Bound of each episode's mean delay [s].
        tasks: Tasks of each episode.
        over: Column of the ratio to the reference; empty: none.
        reference_mean_s: Mean delay of the reference [s].
    """
    mean = float((bounds_s * tasks).sum() / max(tasks.sum(), 1))
    row: dict[str, Any] = {
        "scheduler": LOWER_BOUND,
        "order": "any",
        "episodes": len(bounds_s),
        "tasks": int(tasks.sum()),
    }
    row |= {"mean_s": mean, over: mean / reference_mean_s} if over else {"mean_s": mean}
    return row | {"episode_sd_s": float(bounds_s.std(ddof=1)) if len(bounds_s) > 1 else float("nan")}


def server_table(rows: Sequence[Played], capacity: FloatArray, unit: str) -> pd.DataFrame:
    """One row for each scheduler, order and server: capacity and the share of time that it was busy."""
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "scheduler": one.row["scheduler"],
                    "order": one.row["order"],
                    "server": np.arange(len(capacity)),
                    unit: capacity,
                    "utilisation": one.utilisation,
                }
            )
            for one in rows
        ],
        ignore_index=True,
    )
