"""The loop of a running service: from its decision log to a better policy, or to the verdict that there is none."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import yaml

from lad_rllib import durable
from lad_rllib.errors import ConfigurationError
from lad_rllib.fleet import FleetSpec, load_fleet
from lad_rllib.runs.fine_tune import fine_tune
from lad_rllib.runs.improve_options import ANY_FLEET, ImproveOptions
from lad_rllib.runs.output_folder import writable_folder
from lad_rllib.runs.plots_of_improvement import plot_improvement
from lad_rllib.runs.recalibration import MeasuredServer, measure_servers, read_decisions, recalibrated_spec
from lad_rllib.runs.run_folder import newest_policy, scheduler_of
from lad_rllib.runs.service_client import ServiceClient
from lad_rllib.runs.tables import json_rows, markdown_page, markdown_table, summary_table
from lad_rllib.scheduling.by_name import make_scheduler
from lad_rllib.scheduling.judgement import Replayed, Verdict, judge, replay, replay_resampled
from lad_rllib.scheduling.request_scheduler import REQUEST_SCHEDULERS, RequestScheduler, player
from lad_rllib.service.decision_log import SERVED
from lad_rllib.simulator.order import order_text
from lad_rllib.simulator.requests import Requests, RequestSetting, build_request_setting, override_request_spec

GUARD = "least-work-left"
"""The heuristic that no recommended policy is worse than."""
RIVALS = ("shortest-expected-delay", "first-policy-iteration", "join-shortest-queue")
"""Heuristics that are replayed, too."""
NEW, PRESENT = "new policy", "present policy"
MIN_REQUESTS = 100
"""Least held-out requests of a verdict."""
BOUNDED_PERCENTILE, BOUND_OVER_BEST = 99.0, 0.9
"""Training keeps this percentile below so many times the better one of the present scheduler and the heuristic there.
"""
BUSIER, MOST_OF_EPISODE = 1.1, 4000
"""Training has so many times the log's traffic, and what is better must be so with that, too: a tail is made in the
busiest hours, and a log may have few; and most requests of an episode that is judged."""
EPISODES_OF_BOUND = 8
"""Episodes of training over which the percentile of its bound is taken."""
RECORD, PAGE, PICTURE = "improve.json", "improve.md", "improve.png"
LOG, SETTING = "decisions.parquet", "setting.yaml"


@dataclass(frozen=True)
class Improvement:
    """What became of it.

    Attributes:
        folder: Where the record, the picture and the new policy are.
        verdict: Who is to decide from now on.
        why: Reasons of the verdict.
        recommended: The new policy's folder, the heuristic's name, or None for the present scheduler.
        table: A row for each scheduler that was replayed.
        swapped: What decides now, as the service says; None: it was not told.
    """

    folder: Path
    verdict: Verdict
    why: list[str]
    recommended: str | None
    table: pd.DataFrame
    swapped: str | None


def improve(options: ImproveOptions, say: Callable[[str], None] = lambda line: None) -> Improvement:
    """Recalibrate, train, judge, write the record, and tell the service if that is wanted.

    Args:
        options: The log, the fleet, and who decides at present.
        say: Takes lines about what happens.

    Raises:
        ConfigurationError: for a log that is too short or of another fleet, and for a policy of slots.
    """
    if options.log is None:
        raise ConfigurationError("--log is missing: give the folder of the service's decision log")
    if options.swap and options.serve:
        raise ConfigurationError(
            "--swap and --serve contradict each other: --serve tries a policy before it is swapped in"
        )
    if options.background:
        give_way()
    service = ServiceClient(options.serve) if options.serve else None
    log_folder = options.log
    spec, options = _asked(service, options) if service else (load_fleet(options.fleet), options)
    present_name, present = _present(options)
    output = writable_folder(options.output)
    if not options.overwrite and (output / RECORD).exists():
        raise ConfigurationError(f"{output} holds an improvement already; give --overwrite or another --output")
    rows = read_decisions(log_folder, options.hours)
    log = output.resolve() / LOG
    rows.to_parquet(log, index=False)
    servers = measure_servers(log, rows, spec, options.latest_images)
    setting, requests = _settings(log, recalibrated_spec(log, spec, servers, f"{spec.name}, recalibrated"), options)
    durable.write_file(output / SETTING, yaml.safe_dump(setting.spec, sort_keys=False))
    say(setting.summary())
    contest = Contest(setting, requests, options, (present_name, present))
    found = _search(options, output, contest, say)
    rivals = {name: _of_requests(name) for name in RIVALS if name != present_name} | {ANY_FLEET: _policy(ANY_FLEET)}
    replayed = {NEW: contest.judged(NEW, found.policy)} | contest.deciders
    replayed |= {name: contest.judged(name, scheduler) for name, scheduler in rivals.items()}
    recommended = {"better": str(found.checkpoint.resolve()), "heuristic": GUARD}.get(found.verdict)
    table = pd.DataFrame([one.row(replayed[present_name]) for one in replayed.values()])
    record = {
        "verdict": found.verdict,
        "why": found.why,
        "recommended": recommended,
        "present": options.checkpoint or present_name,
        "order": order_text(setting.world.order),
        "log": _about_log(options, rows, setting),
        "model": _about_model(rows, replayed[present_name]),
        "servers": [asdict(server) | {"service": server.service.model_dump()} for server in servers],
        "training": {
            "rounds": found.rounds,
            "iterations": options.iterations,
            "p99_bound_s": contest.bound_s,
            "seed": options.seed,
        },
        "episodes": found.episodes,
        "replay": json_rows(table),
        "swapped": None,
    }
    plot_improvement(list(replayed.values()), table, output / PICTURE, f"{spec.name}: {found.verdict}")
    durable.write_file(output / PAGE, _page(spec.name, record, table, servers))
    durable.write_file(output / RECORD, json.dumps(record, indent=2))
    swapped = None
    if options.swap and recommended:
        swapped = ServiceClient(options.swap).swap(recommended)
        durable.write_file(output / RECORD, json.dumps(record | {"swapped": swapped}, indent=2))
    if service is not None:
        service.try_policy(recommended, f"{found.verdict}: {'; '.join(found.why)}")
    return Improvement(output, found.verdict, found.why, recommended, table, swapped)


class Contest:
    """The held-out requests of a log, and how schedulers fare with them.

    Args:
        setting: Where they are served, and what a service knew of its traffic before.
        requests: All requests of the log.
        options: How many windows are judged, and how many episodes where these leave a verdict open.
        present: Name of who decides at present, and the scheduler.

    Attributes:
        setting: See above.
        deciders: How the present scheduler and the heuristic fare, by name.
        training: What is trained on: the setting with more traffic.
        bound_s: What training keeps the 99th percentile below [s].
    """

    def __init__(
        self,
        setting: RequestSetting,
        requests: Requests,
        options: ImproveOptions,
        present: tuple[str, RequestScheduler],
    ) -> None:
        self.setting, self._requests, self._options = setting, requests, options
        self._before = math.ceil(options.windows / options.held_out) - options.windows  # windows that are not judged
        self._held_out = requests[round(len(requests) * (1.0 - options.held_out)) :]
        self._present_name = present[0]
        self._schedulers = dict([present]) | {GUARD: _of_requests(GUARD)}
        parts = {name: self._parts(name, scheduler) for name, scheduler in self._schedulers.items()}
        self.deciders = {name: judged for name, (_, judged) in parts.items()}
        self.training = build_request_setting(
            override_request_spec(setting.spec, {"traffic": {"load": BUSIER * setting.load}})
        )
        self.bound_s = BOUND_OVER_BEST * min(map(self._percentile_in_training_s, self._schedulers.values()))
        self._busy_number = max(len(self._held_out), min(len(requests), MOST_OF_EPISODE))
        self._resampled: dict[float, dict[str, Replayed]] = {}

    def judged(self, name: str, scheduler: RequestScheduler) -> Replayed:
        """How a scheduler fares with the held-out requests; all of the log are served in one go."""
        return self._parts(name, scheduler)[1]

    def verdict(self, policy: RequestScheduler) -> tuple[Verdict, list[str], int]:
        """The verdict on a new policy, its reasons, and the episodes that it took beyond the log; 0: none."""
        present, guard = self.deciders[self._present_name], self.deciders[GUARD]
        (verdict, why), episodes = judge(self.judged(NEW, policy), present, guard), 0
        if verdict == "undecided":
            verdict, why, episodes = *self._judged_again(policy, 1.0), self._options.episodes
        if verdict == "better":
            verdict, busy_why = self._judged_again(policy, BUSIER)
            why = why if verdict == "better" else [f"with {BUSIER:g} times the traffic, {one}" for one in busy_why]
            episodes += self._options.episodes
        return verdict, why, episodes

    def _judged_again(self, policy: RequestScheduler, busier: float) -> tuple[Verdict, list[str]]:
        """The final verdict by episodes of so many times the log's traffic, and its reasons."""
        if busier not in self._resampled:
            self._resampled[busier] = {name: self._again(name, one, busier) for name, one in self._schedulers.items()}
        known = self._resampled[busier]
        return judge(self._again(NEW, policy, busier), known[self._present_name], known[GUARD], is_final=True)

    def _percentile_in_training_s(self, scheduler: RequestScheduler) -> float:
        play, seed = player(scheduler, self.training.world, self.training.history()), self._options.seed
        rngs = [np.random.default_rng([seed, 4, episode]) for episode in range(EPISODES_OF_BOUND)]
        delay_s = np.concatenate([play(self.training.draw(rng), rng).delay_s for rng in rngs])
        return float(np.percentile(delay_s, BOUNDED_PERCENTILE))

    def _parts(self, name: str, scheduler: RequestScheduler) -> tuple[Replayed, Replayed]:
        windows = self._before + self._options.windows
        return replay(name, scheduler, self.setting, self._requests, windows, self._options.seed).parts(self._before)

    def _again(self, name: str, scheduler: RequestScheduler, busier: float) -> Replayed:
        options, number = self._options, self._busy_number if busier > 1.0 else None
        episodes = (self._held_out, options.episodes, options.seed)
        return replay_resampled(name, scheduler, self.setting, *episodes, number=number, busier=busier)


class _Found(NamedTuple):
    """The policy that training came to, and the verdict on it.

    Attributes:
        checkpoint: Its folder.
        policy: The policy.
        verdict, why: See :func:`judge`.
        episodes: Episodes that the verdict took beyond the log.
        rounds: Rounds of training.
    """

    checkpoint: Path
    policy: RequestScheduler
    verdict: Verdict
    why: list[str]
    episodes: int
    rounds: int


def _search(options: ImproveOptions, output: Path, contest: Contest, say: Callable[[str], None]) -> _Found:
    """Train from the present policy, and on where the new one is not better yet."""
    checkpoint: str | Path = options.checkpoint or ANY_FLEET
    for number in range(1, options.rounds + 1):
        say(f"training, round {number} of at most {options.rounds}: {options.iterations} iterations")
        checkpoint = _train(checkpoint, options, output / f"training-{number}", contest)
        policy = _policy(str(checkpoint))
        found = _Found(checkpoint, policy, *contest.verdict(policy), number)
        say(f"round {number}: {found.verdict} ({'; '.join(found.why)})")
        if found.verdict == "better":
            break
    return found


def give_way() -> None:
    """Have this process, and those that it starts, take only time of the processors that nobody else wants."""
    os.nice(19)
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def _asked(service: ServiceClient, options: ImproveOptions) -> tuple[FleetSpec, ImproveOptions]:
    """The service's fleet, and the options with who decides there, where they do not say these themselves."""
    given = options.model_fields_set
    spec = load_fleet(options.fleet if "fleet" in given else service.fleet_file())
    if {"checkpoint", "scheduler"} & given:
        return spec, options
    policy = service.policies()["policy"]
    return spec, options.model_copy(update={"scheduler" if policy in REQUEST_SCHEDULERS else "checkpoint": policy})


def _present(options: ImproveOptions) -> tuple[str, RequestScheduler]:
    """Name and scheduler of who decides at present."""
    if options.checkpoint is None:
        return options.scheduler, _of_requests(options.scheduler)
    return PRESENT, _policy(options.checkpoint)


def _of_requests(name: str) -> RequestScheduler:
    """A scheduler without training that decides request by request."""
    scheduler = make_scheduler(name, one_by_one=True)
    if not isinstance(scheduler, RequestScheduler):
        raise ConfigurationError(f"scheduler {name} decides slot by slot; give one that decides request by request")
    return scheduler


def _policy(checkpoint: str) -> RequestScheduler:
    """The policy of a checkpoint."""
    policy = scheduler_of(newest_policy(checkpoint))
    if not isinstance(policy, RequestScheduler):
        raise ConfigurationError(f"the policy of {checkpoint} decides slot by slot; give one of lad-dispatch")
    return policy


def _settings(log: Path, spec: dict[str, Any], options: ImproveOptions) -> tuple[RequestSetting, Requests]:
    """The setting that is trained on, the log's first part, and all requests of the log."""
    whole = build_request_setting(spec | {"requests": 2})
    number = len(whole.traffic.typical().requests)
    split = 1.0 - options.held_out
    held_out = number - round(number * split)
    if held_out < MIN_REQUESTS:
        raise ConfigurationError(
            f"the log's last {options.hours:g} hours have {number:,} requests, {held_out:,} of them held out, and a "
            f"verdict takes {MIN_REQUESTS}; give more --hours, or try again later"
        )
    changes = {"requests": min(options.requests, number - held_out), "traffic": {"part": [0.0, split]}}
    [requests] = build_request_setting(spec | {"requests": number}).windows()
    return build_request_setting(override_request_spec(spec, changes)), requests


def _train(start: str | Path, options: ImproveOptions, folder: Path, contest: Contest) -> Path:
    """Learn on from a policy; returns the new one's folder."""
    return fine_tune(
        start,
        contest.training,
        folder,
        options.seed,
        step_size_iterations=options.iterations,
        sampled_requests=contest.training.num_requests,
        bounded_percentile=BOUNDED_PERCENTILE,
        percentile_bound_s=contest.bound_s,
    )


def _about_log(options: ImproveOptions, rows: pd.DataFrame, setting: RequestSetting) -> dict[str, Any]:
    """What was learned from, and what was judged on."""
    return {
        "path": str(Path(os.path.expanduser(str(options.log))).absolute()),
        "first": rows["arrived"].min().isoformat(),
        "last": rows["arrived"].max().isoformat(),
        "rows": len(rows),
        "outcomes": rows["outcome"].value_counts().to_dict(),
        "held_out": options.held_out,
        "windows": options.windows,
        "load": setting.load,
    }


def _about_model(rows: pd.DataFrame, present: Replayed) -> dict[str, float]:
    """The model's own error: what the present scheduler's requests took, and what they take replayed [s]."""
    measured_s = rows["service_delay_s"][rows["outcome"] == SERVED].tail(len(present.delay_s))
    return {"measured_mean_s": float(measured_s.mean()), "replayed_mean_s": present.mean_s}


def _page(fleet: str, record: dict[str, Any], table: pd.DataFrame, servers: Sequence[MeasuredServer]) -> str:
    """The record for a person."""
    log, model, training = record["log"], record["model"], record["training"]
    asks = {"better": "Swap the new policy in", "heuristic": f"Let {GUARD} decide", "keep": "Keep the present one"}
    verdict = f"**{asks[record['verdict']]}.** {'; '.join(record['why'])}."
    about = (
        f"From {log['first']} to {log['last']}: {log['rows']:,} requests, load {log['load']:.2f}, order "
        f"{record['order']}. The last {log['held_out']:.0%} were held out. All were replayed in one go, and "
        f"those judged, in {log['windows']} windows. Ratios are to the present scheduler's, with 95 % intervals over "
        f"windows. The new policy learned in {training['rounds']} rounds of {training['iterations']} iterations, with "
        f"{BUSIER:g} times the traffic and a bound of {training['p99_bound_s']:.3g} s on the 99th percentile."
    )
    if record["episodes"]:
        about += (
            f" Then came {record['episodes']} more episodes, put together from blocks of the held-out requests, those "
            f"for the last word with {BUSIER:g} times as many a second."
        )
    error = (
        f"The model's own error: measured mean {model['measured_mean_s']:.3g} s in the held-out part, the present "
        f"scheduler replayed {model['replayed_mean_s']:.3g} s. They agree as far as it decided all the time, and no "
        f"server failed."
    )
    shown = {name: name.removesuffix("_s") + (" [s]" if name.endswith("_s") else "") for name in table}
    cells = [
        [one.name, one.images, f"{one.service.spread:.2f}", "" if (r := one.over_predicted) is None else f"{r:.2f}"]
        for one in servers
    ]
    fits = markdown_table(["server", "images", "spread", "measured over predicted"], cells)
    picture = f"![Mean and tail of each scheduler]({PICTURE})"
    return markdown_page(f"Improving {fleet}", verdict, about, summary_table(table, shown), error, fits, picture)
