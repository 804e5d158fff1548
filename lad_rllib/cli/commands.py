"""What each command is for; its options are declared in :mod:`lad_rllib.runs`, and loaded when it is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lad_rllib.runs.options import Options


@dataclass(frozen=True)
class Command:
    """A command.

    Attributes:
        summary: What it is for, in a few words.
        options: Class in :mod:`lad_rllib.runs.options`, or after ``fleet:`` in ``fleet_options``, and so on.
        run: Module and function that run it with its options, and with ``as_json`` if it prints a table.
        description: What it does and leaves, with examples.
        prints_table: Whether it takes ``--json``.
        smoke: What ``--smoke`` sets.
    """

    summary: str
    options: str
    run: str
    description: str = ""
    prints_table: bool = False
    smoke: Mapping[str, Any] = field(default_factory=dict)

    def options_class(self) -> type[Options]:
        """The class of its options."""
        room, _, name = self.options.rpartition(":")
        module = import_module(f"lad_rllib.runs.{room + '_' if room else ''}options")
        declared: type[Options] = getattr(module, name)
        return declared

    def __call__(self, options: Options, *, as_json: bool) -> int:
        """Run it; returns the exit status."""
        module, _, function = self.run.partition(":")
        more = {"as_json": as_json} if self.prints_table else {}
        status: int = getattr(import_module(f"lad_rllib.cli.{module}"), function)(options, **more)
        return status


TRAIN = """\
Train LAD-TS (latent action diffusion task scheduling), LAD-PMD or a baseline with RLlib.

  lad-rllib train --episodes 100 --output results/paper           the paper's edge network
  lad-rllib train --algorithm sac-ts --output results/sac         a learned baseline of the paper
  lad-rllib train --arrivals requests.csv --output results/log    a recorded request log, its first 70 %
  lad-rllib train --resume --episodes 200 --output results/paper  go on from the last checkpoint
  lad-rllib train --fleet digits --setting results/calibration/setting.yaml --init-from results/sim/checkpoint
                                                                  fine-tune on real edge servers

The output folder receives progress.csv (one row per iteration), TensorBoard's files, checkpoint/ (and
checkpoint.previous/, the one before), config.yaml (everything resolved) and learning_curve.png. Ctrl-C stops after the
present episode and saves; a killed run loses at most the episodes since the last checkpoint.
"""
TUNE = """\
Search hyperparameters of LAD-TS, or of a learned baseline, with Ray Tune. The score is the mean delay over the greedy
oracle's on the same arrivals, over the last ten episodes.

  lad-rllib tune --trials 24 --episodes 60 --output results/tune          random search, bad trials stopped early
  lad-rllib tune --search optuna --scheduler median --seeds 0 1 --output results/tune   two seeds in each trial
  lad-rllib tune --scheduler pbt --trials 8 --episodes 100 --output results/pbt         population based training
  lad-rllib tune --algorithm lad-pmd --output results/system             the delay of all: other hyperparameters
  lad-rllib tune --resume --output results/tune                           go on after a kill
  lad-rllib train --config results/tune/best.yaml                         train with what was found

The output folder receives trials.csv (one row per trial, the best first), episodes.csv, best.yaml, summary.md and
pictures; Ray Tune's own files, TensorBoard's and checkpoints are in --storage-path, or in its folder experiment/.
"""
EVALUATE = """\
Play a trained policy, the greedy oracle and simple heuristics on the same fresh arrivals.

  lad-rllib evaluate --checkpoint results/paper/checkpoint
  lad-rllib evaluate --checkpoint results/log/checkpoint       a policy trained on a request log: its unseen rest
  lad-rllib evaluate --checkpoint results/paper/checkpoint results/system/checkpoint        two policies, side by side
  lad-rllib evaluate --setting paper                           the heuristics alone
  lad-rllib evaluate --setting paper --schedulers water-filling card --order fifo shortest_first     orders of service
  lad-rllib evaluate --setting unequal-8 --load 0.9            requests that come one by one

Without setting arguments the first checkpoint's own setting is used. Leaves evaluation.csv (one row per scheduler and
order), evaluation_servers.csv (utilisation) and evaluation.png. Fairness is Jain's index of the slowdowns; --bounds
adds the lower bound of any schedule.
"""
SUITE = """\
The benchmark suite of image dispatch: named workloads, each at several loads and orders of service, for all schedulers.

  lad-rllib bench-suite                                                        all schedulers without training
  lad-rllib bench-suite --log gentd26.csv                                      the production log, too
  lad-rllib bench-suite --resume --checkpoint results/learned/checkpoint       a trained policy, too
  lad-rllib bench-suite --workloads unequal-8 --schedulers mine                a scheduler of another package

Leaves suite.csv (one row for each workload, load, order and scheduler), leaderboard.md, and a picture of each workload.
"""
IMPROVE = """\
Learn from a service's own decision log: recalibrate its servers, train from the present policy, and judge the new one
against the present one and heuristics on the log's last part, replayed.

  lad-rllib improve --log results/decisions --fleet my-fleet.yaml --checkpoint results/learned/checkpoint
  lad-rllib improve --log results/decisions --fleet my-fleet.yaml                   least work left decides at present
  lad-rllib improve --log results/decisions --serve http://127.0.0.1:8000          the service tries what is recommended

Leaves improve.md and improve.json (the record), improve.png, setting.yaml (the recalibrated setting), decisions.parquet
(the log's last hours) and training-1/, training-2/, ... with the new policies. The exit status is 0 if something
better than the present scheduler was found (verdict better: the new policy; heuristic: least work left), 3 if the
present one is to be kept.
"""
GENERATE = """\
Send prompts through a scheduler to a fleet of edge servers; all are there at once.

  lad-rllib generate --tasks 10 --output results/digits                        the embedded pipelines, greedy oracle
  lad-rllib generate --checkpoint results/live/checkpoint --output results/learned  a trained policy
  lad-rllib generate --fleet own.yaml --prompts captions.txt --steps 20 30 --output results/captions

The output folder receives images/ (one PNG each), deliveries.csv (one row per task: server, every part of the delay,
error) and contact_sheet.png. Ctrl-C keeps what is there.
"""
FLEET = """\
Edge servers described in a file, on the nodes of a Ray cluster; they stay until they are told to go.

  lad-rllib fleet list                  the shipped fleets, and those that run
  lad-rllib fleet check my-fleet.yaml   read the file and show what it means, without starting anything
  ray start --head                      a cluster of this machine, if there is none
  lad-rllib fleet up my-fleet.yaml      start it, and return when every server is warm
  lad-rllib fleet status my-fleet.yaml  queue, running task, health; exit status 1 unless all are healthy
  lad-rllib fleet down my-fleet.yaml    end it
  lad-rllib fleet calibrate             measure a fleet, and make a setting of it to train on

FILE is a YAML or JSON file or the name of a shipped fleet.
"""
CALIBRATE = """\
Make a simulator of a fleet of edge servers: measure them, fit, write the setting, and test it live.

  lad-rllib fleet calibrate                                    the five real servers of the fleet 'digits'
  lad-rllib fleet calibrate --fleet emulated                   emulated devices, forty times faster than the clock
  lad-rllib train --setting results/calibration/setting.yaml   train in the simulator of this fleet

The output folder receives setting.yaml (for every --setting and for live training), requests.yaml (requests one by one,
for train --algorithm lad-dispatch, evaluate and generate), calibration.csv (one row for each server), measurements.csv
(every image), check.csv (the same schedules live and simulated) and calibration.png.
"""
SERVE = """\
Put a fleet of edge servers behind OpenAI's Images API, with a scheduler in the middle; runs until Ctrl-C.

  lad-rllib serve                                              the embedded pipelines, on this machine alone
  lad-rllib serve --fleet own.yaml --port 9000                 your servers, and another port
  lad-rllib serve --checkpoint results/learned/checkpoint      a policy that 'train --algorithm lad-dispatch' wrote
  lad-rllib serve --host 0.0.0.0 --keys keys.yaml              for other machines, with API keys
  lad-rllib serve status                                       the servers of a running service
  lad-rllib serve add more.yaml                                start the servers of a fleet file, and use them
  lad-rllib serve drain digits-80ms                            send it nothing new; it finishes what it has
  lad-rllib serve remove digits-80ms                           end it; others take over what it has
  lad-rllib serve swap join-shortest-queue                     let another scheduler or policy decide
  lad-rllib serve try results/learned/checkpoint               in shadow, on a share of the requests, then in charge
  lad-rllib serve history                                      what became of policies, and why
  lad-rllib serve --decisions results/decisions --improve-every 6h    learn from its own requests

Prints the service's address and a request to try. Ctrl-C ends the service and the servers that it started.
"""

COMMANDS = {
    "train": Command(
        "train LAD-TS, LAD-PMD or a learned baseline",
        "TrainOptions",
        "train:run",
        TRAIN,
        smoke={"setting": "small", "episodes": 2, "checkpoint_every": 1},
    ),
    "tune": Command(
        "search hyperparameters",
        "SearchOptions",
        "tune:run",
        TUNE,
        prints_table=True,
        smoke={
            "setting": "small",
            "trials": 3,
            "episodes": 4,
            "checkpoint_every": 1,
            "parameters": ["actor_lr", "gamma"],
        },
    ),
    "evaluate": Command(
        "compare a checkpoint with heuristics",
        "EvaluateOptions",
        "evaluate:run",
        EVALUATE,
        prints_table=True,
        smoke={"episodes": 2},
    ),
    "bench-suite": Command(
        "compare schedulers on the workloads of the benchmark suite",
        "suite:SuiteOptions",
        "suite:run",
        SUITE,
        prints_table=True,
        smoke={"workloads": ["unequal-8"], "loads": [0.7], "order": ["fifo"], "episodes": 2, "requests": 200},
    ),
    "improve": Command(
        "learn from a service's decision log, and say whether to change its policy",
        "improve:ImproveOptions",
        "improve:run",
        IMPROVE,
        prints_table=True,
    ),
    "generate": Command(
        "send prompts to a fleet of edge servers and keep the images",
        "fleet:GenerateOptions",
        "generate:run",
        GENERATE,
        prints_table=True,
    ),
    "serve": Command("put a fleet behind an HTTP API", "serve:ServeOptions", "serve:run", SERVE),
}
SERVE_ACTIONS = {
    "status": Command(
        "servers and policy of a running service", "serve:ServiceOptions", "serve:status", prints_table=True
    ),
    "add": Command("start the servers of a fleet file, and use them", "serve:AddOptions", "serve:add"),
    "drain": Command("send a server nothing new; it finishes what it has", "serve:ServerOptions", "serve:drain"),
    "remove": Command("end a server; others take over what it has", "serve:ServerOptions", "serve:remove"),
    "grafana": Command(
        "print a Grafana dashboard of a service's metrics, to be imported there",
        "serve:GrafanaOptions",
        "serve:grafana",
    ),
    "swap": Command("let another scheduler or policy decide", "serve:SwapOptions", "serve:swap"),
    "try": Command("try a policy on live requests; without one, end the trial", "serve:TryOptions", "serve:try_policy"),
    "history": Command("what became of policies", "serve:ServiceOptions", "serve:history", prints_table=True),
}
FLEET_SUMMARY = "start, watch, measure and end edge servers on a cluster"
FLEET_ACTIONS = {
    "up": Command("start a fleet, and return when every server is warm", "fleet:FleetUpOptions", "fleet:up"),
    "status": Command("queue, running task, health", "fleet:FleetFileOptions", "fleet:status", prints_table=True),
    "down": Command("end a fleet", "fleet:FleetFileOptions", "fleet:down"),
    "list": Command(
        "the shipped fleets, and those that run",
        "fleet:FleetListOptions",
        "fleet:list_fleets",
        prints_table=True,
    ),
    "check": Command("show what a fleet file means", "fleet:FleetFileOptions", "fleet:check", prints_table=True),
    "calibrate": Command(
        "measure a fleet, and make a setting of it",
        "fleet:CalibrateOptions",
        "calibrate:run",
        CALIBRATE,
        prints_table=True,
        smoke={"step_counts": [2, 4, 6], "held_out": [3], "repeats": 1, "check_slots": 2},
    ),
}
