"""The loop of a running service: from its decision log to a better policy, or to the verdict that there is none."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from lad_rllib import durable
from lad_rllib.errors import ConfigurationError
from lad_rllib.fleet import load_fleet
from lad_rllib.runs.improve_options import ANY_FLEET, ImproveOptions
from lad_rllib.runs.judgement import Replayed, Verdict, judge, replay
from lad_rllib.runs.options import TrainOptions
from lad_rllib.runs.output_folder import writable_folder
from lad_rllib.runs.plots_of_improvement import plot_improvement
from lad_rllib.runs.recalibration import MeasuredServer, measure_servers, read_decisions, recalibrated_spec
from lad_rllib.runs.run_folder import newest_policy, scheduler_of
from lad_rllib.runs.service_client import ServiceClient
from lad_rllib.runs.tables import json_rows, markdown_page, markdown_table, summary_table
from lad_rllib.runs.train import train
from lad_rllib.scheduling.by_name import make_scheduler
from lad_rllib.scheduling.request_scheduler import RequestScheduler
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
BOUNDED_PERCENTILE, BOUND_OVER_BEST = 99.0, 0.95
"""Training keeps this percentile below so many times the better one of the present scheduler and the heuristic."""
RECORD, PAGE, PICTURE = "improve.json", "improve.md", "improve.png"
LOG, SETTING, LEARNING, TRAINING = "decisions.parquet", "setting.yaml", "learning.yaml", "training"


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
    spec, present_name, present = load_fleet(options.fleet), *_present(options)
    output = writable_folder(options.output)
    if not options.overwrite and (output / RECORD).exists():
        raise ConfigurationError(f"{output} holds an improvement already; give --overwrite or another --output")
    rows = read_decisions(options.log, options.hours)
    log = output.resolve() / LOG
    rows.to_parquet(log, index=False)
    servers = measure_servers(log, rows, spec, options.latest_images)
    setting, requests = _settings(log, recalibrated_spec(log, spec, servers, f"{spec.name}, recalibrated"), options)
    say(setting.summary())
    before = math.ceil(options.windows / options.held_out) - options.windows  # windows that are not judged

    def replayed_by(name: str, scheduler: RequestScheduler) -> tuple[Replayed, Replayed]:
        return replay(name, scheduler, setting, requests, before + options.windows, options.seed).parts(before)

    deciders = {present_name: replayed_by(present_name, present), GUARD: replayed_by(GUARD, _of_requests(GUARD))}
    bound_s = BOUND_OVER_BEST * min(learned.percentile_s(BOUNDED_PERCENTILE) for learned, _ in deciders.values())
    checkpoint = _train(options, output, setting, bound_s, say)
    rivals = {name: _of_requests(name) for name in RIVALS if name not in deciders} | {ANY_FLEET: _policy(ANY_FLEET)}
    replayed = {NEW: replayed_by(NEW, _policy(str(checkpoint)))[1]}
    replayed |= {name: judged for name, (_, judged) in deciders.items()}
    replayed |= {name: replayed_by(name, scheduler)[1] for name, scheduler in rivals.items()}
    verdict, why = judge(replayed[NEW], replayed[present_name], replayed[GUARD])
    recommended = {"better": str(checkpoint.resolve()), "heuristic": GUARD, "keep": None}[verdict]
    table = pd.DataFrame([one.row(replayed[present_name]) for one in replayed.values()])
    record = {
        "verdict": verdict,
        "why": why,
        "recommended": recommended,
        "present": options.checkpoint or present_name,
        "order": order_text(setting.world.order),
        "log": _about_log(options, rows, setting),
        "model": _about_model(rows, replayed[present_name]),
        "servers": [asdict(server) | {"service": server.service.model_dump()} for server in servers],
        "training": {"episodes": options.iterations, "p99_bound_s": bound_s, "seed": options.seed},
        "replay": json_rows(table),
        "swapped": None,
    }
    plot_improvement(list(replayed.values()), table, output / PICTURE, f"{spec.name}: {verdict}")
    durable.write_file(output / PAGE, _page(spec.name, record, table, servers))
    durable.write_file(output / RECORD, json.dumps(record, indent=2))
    swapped = None
    if options.swap and recommended:
        swapped = ServiceClient(options.swap).swap(recommended)
        durable.write_file(output / RECORD, json.dumps(record | {"swapped": swapped}, indent=2))
    return Improvement(output, verdict, why, recommended, table, swapped)


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


def _train(
    options: ImproveOptions, output: Path, setting: RequestSetting, bound_s: float, say: Callable[[str], None]
) -> Path:
    """Train from the present policy; returns the checkpoint."""
    durable.write_file(output / SETTING, yaml.safe_dump(setting.spec, sort_keys=False))
    start = options.checkpoint or ANY_FLEET
    learning = newest_policy(start).hyperparameters | {
        "step_size_iterations": options.iterations,
        "sampled_requests": setting.num_requests,
        "penalty": None,
        "bounded_percentile": BOUNDED_PERCENTILE,
        "percentile_bound_s": bound_s,
    }
    durable.write_file(output / LEARNING, yaml.safe_dump({"training": learning}, sort_keys=False))
    asked = TrainOptions(
        algorithm="lad-dispatch",
        setting=str(output / SETTING),
        config=str(output / LEARNING),
        init_from=start,
        episodes=options.iterations,
        seed=options.seed,
        address=options.address,
        output=str(output / TRAINING),
        overwrite=options.overwrite,
        quiet=True,
    )
    say(f"training for {options.iterations} episodes of {setting.num_requests:,} requests")
    return train(asked).folder.checkpoint


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
        f"windows. The new policy learned for {training['episodes']} episodes, with a bound of "
        f"{training['p99_bound_s']:.3g} s on the 99th percentile."
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
