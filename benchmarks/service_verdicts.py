"""What the delays of a service come to: the table, and how its rows stand to the goals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lad_rllib.runs.tables import mean_sd

YARDSTICK = "least-work-left"
"""What others are compared with."""

GOAL_SIMULATED, GOAL_SHADOW, GOAL_LOAD = 0.10, 0.05, 0.7
"""How far the service's mean may be from the simulator's, and the replayed mean from the measured one; load from which
on a policy should be better than the yardstick."""


def shown(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """The table: titles, and cells as text."""
    header = ["load", "scheduler", "mean, s", "simulated", "over simulated", "p99, s", "simulated"]
    header += ["replayed over measured", f"mean over {YARDSTICK}'s", "p99 over it"]
    header += ["HTTP adds, ms", "sent late, p99, ms", "processors busy", "failed"]
    return header, [
        [
            f"{row['load']:g}",
            row["scheduler"],
            f"{row['mean_s']:.2f}",
            mean_sd(row["simulated_mean_s"], 2, row["simulated_mean_sd"]),
            f"{row['over_simulated']:.3f} ({row['over_simulated_low']:.3f}–{row['over_simulated_high']:.3f})",
            f"{row['p99_s']:.1f}",
            mean_sd(row["simulated_p99_s"], 1, row["simulated_p99_sd"]),
            f"{row['shadow_over_measured']:.3f}",
            *(_ratio(row, measure) for measure in ("mean", "p99")),
            *(f"{row[name]:.1f}" for name in ("http_ms", "late_ms")),
            f"{row['busy']:.0%}",
            str(row["failed"]),
        ]
        for row in rows
    ]


def _ratio(row: Mapping[str, Any], measure: str) -> str:
    if row["scheduler"] == YARDSTICK:
        return "1"
    return f"{row[f'{measure}_ratio']:.3f} ({row[f'{measure}_low']:.3f}–{row[f'{measure}_high']:.3f})"


def verdicts(rows: Sequence[Mapping[str, Any]], late_ms: float, busy: float) -> list[str]:
    """How the rows stand to the goals, those alone that were measured while the machine had time for it.

    Args:
        rows: The rows.
        late_ms: Largest 99th percentile of how late requests were sent [ms].
        busy: Largest share of time in which the processors were busy.
    """
    found = []
    for row in rows:
        who = f"{row['scheduler']} at load {row['load']:g}"
        if row["late_ms"] > late_ms or row["busy"] > busy:
            found.append(
                f"not judged: {who}: the machine had too much else to do: one in a hundred requests was sent "
                f"{row['late_ms']:.0f} ms late or more, the processors were busy for {row['busy']:.0%} of the time"
            )
            continue
        off, replay_off = abs(row["over_simulated"] - 1), abs(row["shadow_over_measured"] - 1)
        goals = {
            f"the mean is within {GOAL_SIMULATED:.0%} of the simulator's ({off:.1%})": off <= GOAL_SIMULATED,
            f"the replay is within {GOAL_SHADOW:.0%} of what was measured ({replay_off:.1%})": replay_off
            <= GOAL_SHADOW,
        }
        if row["scheduler"] != YARDSTICK and row["load"] >= GOAL_LOAD:
            goals |= {
                f"the mean is below {YARDSTICK}'s ({_ratio(row, 'mean')})": row["mean_ratio"] < 1,
                f"the 99th percentile is not above {YARDSTICK}'s ({_ratio(row, 'p99')})": row["p99_ratio"] <= 1,
            }
        found += [f"{'reached' if is_met else 'missed'}: {who}: {goal}" for goal, is_met in goals.items()]
    return found
