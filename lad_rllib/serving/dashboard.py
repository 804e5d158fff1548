"""A Grafana dashboard of a service's metrics, made of their declared names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lad_rllib.serving.metrics import METRICS

SOURCE = {"type": "prometheus", "uid": "${source}"}
"""The data source that is chosen on the dashboard."""

WIDTH, PLOTS_A_ROW, NUMBERS_A_ROW = 24, 3, 6
"""Columns of Grafana's grid, and panels side by side."""

PLOT_HEIGHT, NUMBER_HEIGHT = 8, 4


@dataclass(frozen=True)
class Panel:
    """One panel.

    Attributes:
        title: What it shows.
        queries: Queries in PromQL by the legend of what they give; Ray puts ``ray_`` before a metric's name.
        unit: Grafana's name of the unit.
        kind: ``timeseries``, or ``stat``, a number.
        most: Greatest value of the scale; None: by the data.
    """

    title: str
    queries: Mapping[str, str]
    unit: str = "short"
    kind: Literal["timeseries", "stat"] = "timeseries"
    most: float | None = None

    def to_dict(self, number: int, place: Mapping[str, int]) -> dict[str, Any]:
        """The panel as Grafana has it."""
        limits = {"min": 0} | ({} if self.most is None else {"max": self.most})
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "datasource": SOURCE,
            "gridPos": dict(place),
            "fieldConfig": {"defaults": {"unit": self.unit, **limits}, "overrides": []},
            "targets": [
                {"refId": chr(ord("A") + index), "expr": query, "legendFormat": legend, "datasource": SOURCE}
                for index, (legend, query) in enumerate(self.queries.items())
            ],
        }


def _rate(metric: str, by: str = "", where: str = "") -> str:
    """How much a counter grows in a second, for each value of some labels."""
    return f"sum{f' by ({by})' if by else ''} (rate(ray_{metric}{where}[$__rate_interval]))"


def _quantiles(metric: str, *percents: int) -> dict[str, str]:
    """Percentiles of a histogram."""
    return {
        f"p{percent}": f"histogram_quantile({percent / 100:g}, {_rate(f'{metric}_bucket', 'le')})"
        for percent in percents
    }


_NOT_LEFT = '{error!="cancelled"}'
_IN_TIME = f"({_rate('lad_in_time_total')} or vector(0)) / {_rate('lad_requests_total', where=_NOT_LEFT)}"

PANELS: Sequence[Panel] = (
    Panel("Requests that ended, per second", {"all": _rate("lad_requests_total")}, "reqps", "stat"),
    Panel("95th percentile of the delay", _quantiles("lad_delay_seconds", 95), "s", "stat"),
    Panel("SLO attainment", {"in time": _IN_TIME}, "percentunit", "stat", 1),
    Panel("Refused, per second", {"refused": f"{_rate('lad_refusals_total')} or vector(0)"}, "reqps", "stat"),
    Panel("Servers up", {"up": 'max(ray_lad_servers{state="up"})'}, "short", "stat"),
    Panel(
        "Policy left for least work left",
        {"{{policy}}": "max by (policy) (ray_lad_policy_left)"},
        "bool_yes_no",
        "stat",
    ),
    Panel("Queues", {"{{server}}": "max by (server) (ray_lad_server_queue_seconds)"}, "s"),
    Panel("Delay", _quantiles("lad_delay_seconds", 50, 95, 99), "s"),
    Panel("Wait", _quantiles("lad_waiting_seconds", 50, 95, 99), "s"),
    Panel("SLO attainment", {"in time": _IN_TIME}, "percentunit", most=1),
    Panel("Images per second by server", {"{{server}}": _rate("lad_images_total", "server")}),
    Panel("Requests at each server", {"{{server}}": "max by (server) (ray_lad_server_tasks)"}),
    Panel(
        "Refusals and failures per second",
        {
            "refused: {{code}}": _rate("lad_refusals_total", "code"),
            "failed: {{error}}": _rate("lad_requests_total", "error", '{error!=""}'),
        },
        "reqps",
    ),
    Panel(
        "Sent to another server, per second",
        {"again": f"clamp_min({_rate('lad_attempts_total')} - {_rate('lad_requests_total')}, 0)"},
        "reqps",
    ),
    Panel("Measured over expected computing time", {"{{server}}": "max by (server) (ray_lad_server_over_expected)"}),
    Panel("Share of the policies", {"{{policy}}": "max by (policy) (ray_lad_policy_share)"}, "percentunit", most=1),
    Panel("What became of policies", {"{{event}}": "sum by (event) (increase(ray_lad_policy_events_total[1h]))"}),
    Panel(
        "Who decides",
        {
            "decisions of the policy": f"{_rate('lad_decision_seconds_count')}",
            "of them handed over to least work left": "sum(deriv(ray_lad_policy_handed_over[$__rate_interval]))",
        },
        "reqps",
    ),
    Panel("Time of a decision", _quantiles("lad_decision_seconds", 50, 99), "s"),
    Panel("Servers", {"{{state}}": "max by (state) (ray_lad_servers)"}),
)
"""The panels, numbers first."""


def _places() -> Sequence[dict[str, int]]:
    """Where each panel is."""
    places, x, y, height = [], 0, 0, 0
    for panel in PANELS:
        is_number = panel.kind == "stat"
        width = WIDTH // (NUMBERS_A_ROW if is_number else PLOTS_A_ROW)
        if x + width > WIDTH or height not in (0, NUMBER_HEIGHT if is_number else PLOT_HEIGHT):
            x, y = 0, y + height
        height = NUMBER_HEIGHT if is_number else PLOT_HEIGHT
        places.append({"x": x, "y": y, "w": width, "h": height})
        x += width
    return places


def dashboard() -> dict[str, Any]:
    """The dashboard, as Grafana imports it; it asks for the data source."""
    panels = zip(PANELS, _places(), strict=True)
    return {
        "title": "lad_rllib",
        "uid": "lad-rllib",
        "description": f"A service of lad_rllib: {len(METRICS)} metrics, durations in the fleet's seconds.",
        "schemaVersion": 39,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [{"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}]
        },
        "panels": [panel.to_dict(number, place) for number, (panel, place) in enumerate(panels, 1)],
    }
