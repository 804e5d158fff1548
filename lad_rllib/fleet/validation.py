"""The same schedule on a fleet and in the simulator of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

from lad_rllib.fleet.fleet import Fleet
from lad_rllib.fleet.model import FleetModel
from lad_rllib.scheduling import make_heuristic, play
from lad_rllib.service import Dispatcher, read_prompts, serve, tasks_of_episode
from lad_rllib.simulator import Setting, stack_arrivals


def compare_schedules(
    fleet: Fleet,
    setting: Setting,
    schedules: Iterable[str] = ("capacity-proportional", "round-robin"),
    *,
    seed: int = 0,
    slots: int | None = None,
    report: Callable[[str, int, int], None] | None = None,
) -> pd.DataFrame:
    """Play fixed schedules in the simulator and on the fleet, and compare the mean delays.

    A schedule is what a heuristic decides in the simulator; the fleet gets the same tasks in the same slots for the
    same servers, by the clock.

    Args:
        fleet: A running fleet that is idle.
        setting: The simulator's setting of it, from a calibration.
        schedules: Names of heuristics.
        seed: Seed of arrivals and decisions.
        slots: Slots to play; None: all of an episode.
        report: Called with the schedule, the number of images that are there, and that of all.

    Returns:
        One row for each schedule: tasks, failed ones, those that had to go elsewhere, mean and p95 delay live and
        simulated [s], and live over simulated mean.

    Raises:
        ConfigurationError: if the setting is of another fleet, or a heuristic is unknown.
    """
    model = FleetModel.from_setting(setting)
    model.check_fleet(fleet.spec)
    prompts = read_prompts()
    number_of_slots = setting.num_slots if slots is None else min(slots, setting.num_slots)
    arrivals = setting.arrivals.draw(np.random.default_rng(seed), setting.num_slots)
    rows = []
    for name in schedules:
        rng = np.random.default_rng(seed)
        record = play(make_heuristic(name), setting.network, stack_arrivals([arrivals]), rng, number_of_slots)
        servers = [record.action[0, slot][record.mask[0, slot]].tolist() for slot in range(number_of_slots)]
        tasks = tasks_of_episode(arrivals, prompts, number_of_slots, name)
        came = 0

        def count(_: object, name: str = name, total: int = sum(map(len, servers))) -> None:
            nonlocal came
            came += 1
            if report is not None:
                report(name, came, total)

        with Dispatcher(fleet.servers, model.network, model.work, None, time_scale=fleet.spec.time_scale) as dispatcher:
            run = serve(dispatcher, tasks, setting.network.slot_s, count, servers)
        live = run.summary()
        rows.append(
            {
                "schedule": name,
                "tasks": int(live["tasks"]),
                "failed": int(live["failed"]),
                "elsewhere": sum(delivery.attempts > 1 for delivery in run.deliveries),
                "live_mean_s": live["mean_s"],
                "simulated_mean_s": record.mean_delay_s,
                "live_over_simulated": live["mean_s"] / record.mean_delay_s,
                "live_p95_s": live["p95_s"],
                "simulated_p95_s": record.percentile_s(95),
                "live_waiting_s": live["waiting_s"],
                "simulated_waiting_s": float(record.waiting_s[record.mask].mean()),
            }
        )
    return pd.DataFrame(rows)
