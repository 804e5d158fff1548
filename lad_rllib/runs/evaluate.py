"""Schedulers compared on the same fresh arrivals: trained policies, the greedy oracle and simple heuristics."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from lad_rllib import durable
from lad_rllib.envs.episodes import read_setting
from lad_rllib.errors import ConfigurationError
from lad_rllib.names import EVALUATION_PART, SHIPPED_POLICIES
from lad_rllib.runs import plots
from lad_rllib.runs.cluster import start_ray
from lad_rllib.runs.comparison import Measures, Played, bound_row, comparison_table, server_table
from lad_rllib.runs.configuration import part_of_log, request_setting_changes, setting_changes, setting_spec
from lad_rllib.runs.contest import Contest, contest_of_requests, contest_of_slots
from lad_rllib.runs.options import EvaluateOptions
from lad_rllib.runs.output_folder import writable_folder
from lad_rllib.runs.progress import bars
from lad_rllib.runs.run_folder import newest_policy, scheduler_of
from lad_rllib.runs.storage import SharedCopy
from lad_rllib.runs.tables import write_parquet
from lad_rllib.scheduling import HEURISTICS, Scheduler, heuristics_for, possible_heuristics
from lad_rllib.scheduling.by_name import make_scheduler
from lad_rllib.scheduling.request_scheduler import REQUEST_SCHEDULERS, RequestScheduler
from lad_rllib.simulator import Setting, TraceArrivals, override_spec, resolve_paths, sizes
from lad_rllib.simulator.requests import (
    RequestSetting,
    build_request_setting,
    is_request_spec,
    override_request_spec,
    refuse_random_fleets,
)

if TYPE_CHECKING:
    from lad_rllib.algorithms.common.policy_file import SavedPolicy

_REQUEST_BYTES = 300  # a request as it is asked for, and as it was served
FILES = ("evaluation.csv", "evaluation_servers.csv", "evaluation.png")


@dataclass(frozen=True)
class Evaluation:
    """A comparison that is on disk.

    Attributes:
        folder: Where its files are.
        table: One row for each scheduler and order, see :func:`~lad_rllib.runs.comparison.comparison_table`.
        title: Setting, numbers of episodes and tasks, load; empty for an evaluation of before.
        is_new: Whether it was made now; with ``resume``, one of the same command is taken as it is.
    """

    folder: Path
    table: pd.DataFrame
    title: str
    is_new: bool = True


def evaluate(options: EvaluateOptions, say: Callable[[str], None] = lambda line: None) -> Evaluation:
    """Play all schedulers on the same arrivals, and write tables and a picture.

    Args:
        options: What is compared, on which setting.
        say: Takes lines about what is played.

    Raises:
        ConfigurationError: for options that contradict one another, and for what cannot be played.
    """
    if options.greedy_actions and not options.checkpoint:
        raise ConfigurationError("--greedy-actions has no effect without --checkpoint; leave it out")
    saved = [newest_policy(path) for path in options.checkpoint or ()]
    policies = _policies(options.checkpoint or (), saved, explore=not options.greedy_actions)
    for name in options.schedulers or ():
        make_scheduler(name, one_by_one=True)  # refuses unknown names before anything is read
    if not policies and options.schedulers == []:
        raise ConfigurationError("nothing to evaluate; give --checkpoint or --schedulers")
    setting, own_order = _setting(options, saved)
    output = writable_folder(options.output or _default_output(options), alone=False)  # beside a run that goes on
    copy = SharedCopy(output, options.storage_path)
    command = shlex.join(["lad-rllib", "evaluate", *options.flags()])
    if options.resume and (before := _evaluated(copy, command)) is not None:
        return Evaluation(output, before, "", is_new=False)
    contest = _contest(options, setting, own_order, len(policies))
    if options.part or isinstance(setting, Setting) and isinstance(setting.arrivals, TraceArrivals):
        say(setting.summary())
    schedulers = policies | _without_training(options.schedulers, contest)
    if not schedulers:
        raise ConfigurationError("nothing to evaluate is left; give --checkpoint or other --schedulers")
    if options.address or options.wait_nodes:
        start_ray(options, num_cpus=1)
        rows = _play_on_cluster(schedulers, contest)
    else:
        rows = _play_all(schedulers, contest)
    table = _table(rows, contest, options.bounds)
    table.insert(0, "setting", setting.name)
    table["command"] = command
    first = table.iloc[0]
    title = f"{setting.name}: {first['episodes']} episodes, {first['tasks']} tasks, load {setting.load:.2f}"
    servers = server_table(rows, contest.capacity, contest.capacity_unit)
    servers.to_csv(output / "evaluation_servers.csv", index=False)
    if options.parquet:
        write_parquet(servers, output / "evaluation_servers.csv")
        write_parquet(table, output / "evaluation.csv")
    plots.plot_comparison(rows, contest.capacity, output / "evaluation.png", title)
    durable.write_file(output / "evaluation.csv", table.to_csv(index=False))  # last: --resume takes it for all results
    copy.push()
    return Evaluation(output, table, title)


def _setting(options: EvaluateOptions, saved: Sequence[SavedPolicy]) -> tuple[Setting | RequestSetting, Any]:
    """The setting that is asked for, of slots or of requests that come one by one, and its order of service."""
    spec = _setting_of_policy(saved[0].setting, options) if saved else setting_spec(options)
    if is_request_spec(spec):
        of_requests = build_request_setting(spec)
        if options.work is not None:
            of_requests = replace(of_requests, world=replace(of_requests.world, work=options.work))
        return part_of_log(options.part, of_requests, EVALUATION_PART), of_requests.world.order
    order = spec.pop("order", "fifo")  # of a policy that decides the tasks of slots one by one
    setting = read_setting(spec)
    if options.work is not None:
        raise ConfigurationError(
            f"--work has no effect on setting {setting.name}, which has slots; --work-shown is for request logs"
        )
    return part_of_log(options.part, setting, EVALUATION_PART), order


def _contest(options: EvaluateOptions, setting: Setting | RequestSetting, own_order: Any, policies: int) -> Contest:
    measures, orders = Measures(options.deadline, options.slo), options.order or (own_order,)
    if isinstance(setting, RequestSetting):
        requests = options.episodes * setting.num_requests
        sizes.check_fits(f"{requests:,} requests", requests * _REQUEST_BYTES, "--episodes")
        return contest_of_requests(setting, options.episodes, options.seed, orders, measures)
    heuristics = HEURISTICS if options.schedulers is None else options.schedulers
    _check_memory(setting, options.episodes, policies + len(heuristics))
    return contest_of_slots(setting, options.episodes, options.seed, orders, measures)


def _table(rows: Sequence[Played], contest: Contest, bounds: bool) -> pd.DataFrame:
    reference = [one for one in rows if (one.row["scheduler"], one.row["order"]) == (contest.reference, "fifo")]
    mean_s = reference[0].row["mean_s"] if reference else contest.reference_mean_s()
    table = comparison_table(rows, contest.over, mean_s)
    if bounds:
        tasks = contest.tasks
        bound = bound_row(contest.bounds_s(), tasks, contest.over, mean_s)
        table = pd.concat([table, pd.DataFrame([bound])], ignore_index=True)
    table.insert(2, "work", contest.work)
    return table


def _policies(
    paths: Sequence[str], saved: Sequence[SavedPolicy], *, explore: bool
) -> dict[str, Scheduler | RequestScheduler]:
    titles = [path if path in SHIPPED_POLICIES else one.title for path, one in zip(paths, saved, strict=True)]
    named = zip(numbered(titles), saved, strict=True)
    return {name: scheduler_of(policy, explore=explore) for name, policy in named}


def _without_training(asked: Sequence[str] | None, contest: Contest) -> dict[str, Scheduler | RequestScheduler]:
    """Those without training that are played: those asked for, or all, without what the setting does not allow."""
    say = partial(print, file=sys.stderr)
    if contest.slots is None:
        names = list(REQUEST_SCHEDULERS) if asked is None else asked
        for name in names:
            if name not in REQUEST_SCHEDULERS:
                say(f"left out: {name} decides for whole slots, and the requests of this setting come one by one")
        names = [name for name in names if name in REQUEST_SCHEDULERS]
    else:
        network = contest.slots.setting.network
        of_slots = possible_heuristics(network, contest.slots.arrivals, say)
        if asked is not None:
            of_slots = heuristics_for(network.home_server, [name for name in asked if name in HEURISTICS], say)
        names = [name for name in asked or of_slots if name in of_slots or name not in HEURISTICS]
    return {name: make_scheduler(name, contest.one_by_one) for name in names}


def _default_output(options: EvaluateOptions) -> Path:
    if not options.checkpoint or options.checkpoint[0] in SHIPPED_POLICIES:
        return Path("results/evaluate")
    return Path(os.path.expanduser(options.checkpoint[0])).resolve().parent


def numbered(titles: Sequence[str]) -> list[str]:
    """Names of policies in a comparison: their titles, numbered where they are the same."""
    return [
        name if titles.count(name) == 1 else f"{name}, {titles[: k + 1].count(name)}" for k, name in enumerate(titles)
    ]


def _setting_of_policy(trained: str | dict[str, Any], options: EvaluateOptions) -> dict[str, Any]:
    """The setting that the policy was trained on, with the options' changes on top."""
    if options.setting is not None:
        return setting_spec(options)
    base = {"preset": trained} if isinstance(trained, str) else trained
    refuse_random_fleets(base)
    if is_request_spec(base):
        changed = override_request_spec(base, request_setting_changes(options))
    else:
        changed = override_spec(base, setting_changes(options))
    return resolve_paths(changed, Path.cwd())


def _check_memory(setting: Setting, episodes: int, schedulers: int) -> None:
    """Refuse more episodes than this machine's memory holds."""
    if isinstance(setting.arrivals, TraceArrivals):
        episodes = min(episodes, setting.arrivals.num_slots // setting.num_slots)
    tasks, stations = setting.arrivals.max_tasks, setting.network.num_stations
    needed = sizes.evaluation_bytes(schedulers, episodes, setting.num_slots, stations, tasks)
    sizes.check_fits(f"{episodes:,} episodes, each played by {schedulers} schedulers,", needed, "--episodes")


def _play_all(schedulers: Mapping[str, Scheduler | RequestScheduler], contest: Contest) -> list[Played]:
    rows = []
    with bars() as progress:
        for name, scheduler in schedulers.items():
            task = progress.add_task(name, total=contest.steps(scheduler))

            def show(done: int, task: Any = task) -> None:
                progress.update(task, completed=done)

            rows += contest.play(name, scheduler, show)
    return _by_order(rows, contest)


def _play_on_cluster(schedulers: Mapping[str, Scheduler | RequestScheduler], contest: Contest) -> list[Played]:
    """The same, with a task on the cluster for each scheduler.

    Raises:
        ConfigurationError: if no node of the cluster has a CPU for one.
    """
    import ray

    from lad_rllib.algorithms.common.resources import require_room

    require_room([{"CPU": 1.0}])
    shared = ray.put(contest)

    @ray.remote(num_cpus=1)
    def play_one(name: str, scheduler: Any, contest: Contest) -> list[Played]:
        return contest.play(name, scheduler)

    asked = [play_one.remote(name, scheduler, shared) for name, scheduler in schedulers.items()]
    with bars() as progress:
        rows = [ray.get(answer) for answer in progress.track(asked, description="schedulers")]
    return _by_order(sum(rows, []), contest)


def _by_order(rows: Sequence[Played], contest: Contest) -> list[Played]:
    """All schedulers under the first order, then all under the next."""
    return [one for index in range(len(contest.orders)) for one in rows[index :: len(contest.orders)]]


def _evaluated(copy: SharedCopy, command: str) -> pd.DataFrame | None:
    """The results of the same command; None if there are none."""
    copy.fetch()
    try:
        table = pd.read_csv(copy.folder / "evaluation.csv")
        return table if table["command"].tolist()[:1] == [command] else None
    except (OSError, ValueError, KeyError):  # none, or damaged: evaluated anew
        return None
