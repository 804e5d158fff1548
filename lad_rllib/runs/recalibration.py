"""A setting of requests from a service's decision log: its traffic again, on servers as fast as they were measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lad_rllib.errors import ConfigurationError
from lad_rllib.fleet import FleetSpec
from lad_rllib.service.decision_log import COLUMNS, SERVED
from lad_rllib.simulator.order import make_order, order_spec
from lad_rllib.simulator.requests import read_log
from lad_rllib.simulator.requests.fitted_service import MIN_REQUESTS, FittedService, fit_service
from lad_rllib.simulator.requests.traffic import Sent

MIN_OWN_IMAGES = 3
"""A server with fewer images is taken to be as fast as all together."""


@dataclass(frozen=True)
class MeasuredServer:
    """A server as it was measured.

    Attributes:
        name: The server.
        images: Images that its service model is fitted to.
        service: Its service model.
        swap_s: Median time of a swap [s]; 0: there was none.
        over_predicted: Median of measured over predicted service time; None: nothing was predicted.
    """

    name: str
    images: int
    service: FittedService
    swap_s: float
    over_predicted: float | None


def read_decisions(path: str | Path, hours: float) -> pd.DataFrame:
    """The rows of a decision log's last hours, in order of arrival.

    Args:
        path: Its folder, or one file.
        hours: Hours before the last row, by the wall clock.

    Raises:
        ConfigurationError: if there is no log, or a file of it cannot be read.
    """
    path = Path(path).expanduser()
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    try:
        parts = [pd.read_parquet(file, columns=_columns_of(file)) for file in files]
    except (OSError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigurationError(f"decision log {path} cannot be read: {reason}") from None
    rows = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COLUMNS))
    if rows.empty:
        raise ConfigurationError(f"decision log {path} has no rows; name the folder that the service writes")
    since = rows["arrived"].max() - pd.Timedelta(hours=hours)
    return rows[rows["arrived"] >= since].sort_values("arrival_s", kind="stable", ignore_index=True)


def _columns_of(file: Path) -> list[str]:
    """The log's columns that a file has: those of an earlier version have fewer."""
    import pyarrow.parquet as pq

    return [name for name in pq.read_schema(file).names if name in COLUMNS]


def measure_servers(log: Path, rows: pd.DataFrame, spec: FleetSpec, latest: int) -> list[MeasuredServer]:
    """Each server of a fleet as its latest images were, by :func:`fit_service`.

    A server with fewer than 20 images takes the model of all servers together, made slower or faster by what its own
    images took.

    Args:
        log: File of the rows.
        rows: The rows.
        spec: The fleet.
        latest: Images of each server that count.

    Raises:
        ConfigurationError: if all together have fewer than 20 images, or none is of this fleet.
    """
    warm = rows[(rows["outcome"] == SERVED) & ~rows["cold_start"].fillna(True).astype(bool)]
    names = [server.name for server in spec.servers]
    if not warm["server"].isin(names).any():
        raise ConfigurationError(
            f"no image of the log is of a server of fleet {spec.name} ({', '.join(names[:3])}, …); give its own --fleet"
        )
    together = _measured(log, names)
    if len(together.requests) < MIN_REQUESTS:
        raise ConfigurationError(f"the log has {len(together.requests)} images, and at least {MIN_REQUESTS} are needed")
    of_all = fit_service(*_latest(together, latest * len(names)))
    return [_measured_server(log, warm[warm["server"] == name], name, of_all, latest) for name in names]


def _measured_server(log: Path, rows: pd.DataFrame, name: str, of_all: FittedService, latest: int) -> MeasuredServer:
    service, images = of_all, min(len(rows), latest)
    if len(rows) >= MIN_OWN_IMAGES:
        requests, seconds = _latest(_measured(log, [name]), latest)
        if len(requests) >= MIN_REQUESTS:
            service = fit_service(requests, seconds)
        else:
            slower = float(np.median(np.log(seconds / of_all.seconds(requests))))
            service = of_all.model_copy(update={"intercept": of_all.intercept + slower})
    swaps_s = rows["swap_s"][rows["swap_s"] > 0]
    ratio = (rows["drawing_s"] / rows["predicted_service_s"]).dropna().tail(latest)
    return MeasuredServer(
        name,
        images,
        service,
        float(swaps_s.median()) if len(swaps_s) else 0.0,
        float(ratio.median()) if len(ratio) else None,
    )


def _measured(log: Path, servers: Sequence[str]) -> Sent:
    """Requests that these servers served warm, with their service times."""
    keep = {"outcome": [SERVED], "cold_start": ["false"], "server": list(servers)}
    return read_log(log, "decisions", {"service_s": "drawing_s"}, keep).sent


def _latest(sent: Sent, number: int) -> tuple[Any, Any]:
    assert sent.measured_s is not None  # a column was named for them
    last = slice(max(0, len(sent.requests) - number), None)
    return sent.requests[last], sent.measured_s[last]


def recalibrated_spec(log: Path, spec: FleetSpec, servers: Sequence[MeasuredServer], name: str) -> dict[str, Any]:
    """Settings dictionary of the log's traffic on the measured servers.

    Args:
        log: File of the rows.
        spec: The fleet; the order of service is that of its first server.
        servers: Its servers as they were measured.
        name: Name in results.
    """
    return {
        "name": name,
        "servers": [
            {
                "name": measured.name,
                "service": {"kind": "fitted", **measured.service.model_dump()},
                "link_rate_mbit_per_s": server.link_rate_mbit_per_s,
                "stations": [station for station, home in enumerate(spec.home_server) if home == index],
                "models_in_memory": getattr(server, "models_in_memory", 1) if measured.swap_s else 0,
                "swap_s": measured.swap_s,
            }
            for index, (server, measured) in enumerate(zip(spec.servers, servers, strict=True))
        ],
        "order": order_spec(make_order(spec.servers[0].order)),
        "traffic": {"kind": "recorded", "format": "decisions", "path": str(log)},
    }
