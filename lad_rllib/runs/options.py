"""What commands and experiments may be told, declared once: flags, their help and their checks come from here.

A class is a group of options; commands and experiments put together those that they need by inheritance, and add their
own. A field's description is the help of its flag; :attr:`Options.title` heads the group in a help text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, create_model

from lad_rllib import names
from lad_rllib.algorithms.declarations import FLAGS
from lad_rllib.declared import Declared
from lad_rllib.plugins import installed

ALGORITHMS = (*names.ALGORITHMS, *installed("lad_rllib.algorithms"))
HEURISTICS = (*names.HEURISTICS, *installed("lad_rllib.heuristics"))
"""Those of this package, and of others by their entry points."""
REQUEST_SCHEDULERS = (*names.REQUEST_SCHEDULERS, *installed("lad_rllib.request_schedulers"))
ORDERS = (*names.ORDERS, *installed("lad_rllib.orders"))
LEARNING = "learning (defaults: the published settings)"
MAX_SEED = 2**32 - 1
MAX_CONFIRM_SEEDS = 1000

Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Part = Annotated[list[float], Field(min_length=2, max_length=2)]
"""Part of a request log, as two fractions."""
Positive = Annotated[float, Field(gt=0)]
_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def seconds(duration: str) -> float:
    """A duration in seconds.

    Raises:
        ValueError: if it is none.

    >>> seconds("10m")
    600.0
    """
    number, unit = duration[:-1], duration[-1:]
    if unit not in _UNITS_S or not 0 < float(number) < 1e6:
        raise ValueError(duration)
    return float(number) * _UNITS_S[unit]


def _checked_duration(text: str) -> str:
    try:
        seconds(text)
    except ValueError:
        raise ValueError("must be a duration such as 30s, 10m, 6h or 1d") from None
    return text


Duration = Annotated[str, AfterValidator(_checked_duration)]
"""A duration with its unit: s, m, h or d."""


class Options(Declared):
    """A group of options.

    ``model_fields_set`` holds the names of those that the user gave, unlike those that have their defaults.
    """

    command: ClassVar[str] = ""
    """Name in messages of a program of its own, see :func:`lad_rllib.runs.command.run_command`."""
    title: ClassVar[str] = "run"
    may_change: ClassVar[frozenset[str]] = frozenset(
        ("resume", "output", "name", "quiet", "storage_path", "address", "wait_nodes", "wait_timeout", "track")
    )
    """Options that results do not depend on: where a run or a search is, where it writes, what it prints."""

    def arguments(self) -> dict[str, Any]:
        """Options that the results depend on, as plain values."""
        return {name: value for name, value in self.model_dump().items() if name not in self.may_change}

    def flags(self) -> list[str]:
        """The words of a command line that say what the results depend on, without what has its default value."""
        words: list[str] = []
        for name, value in self.arguments().items():
            if value != type(self).model_fields[name].default:
                values = value if isinstance(value, list) else [] if value is True else [value]
                words += [flag(name), *map(str, values)]
        return words


def flag(name: str) -> str:
    """The flag of an option.

    >>> flag("num_learners")
    '--num-learners'
    """
    return f"--{name.replace('_', '-')}"


def option(
    default: Any,
    text: str,
    metavar: str | tuple[str, ...] | None = None,
    *,
    positional: bool = False,
    may_be_empty: bool = False,
    **bounds: Any,
) -> Any:
    """A field with the help of its flag, and what stands there for its value."""
    of_flag: dict[str, Any] = {"metavar": metavar, "positional": positional, "may_be_empty": may_be_empty}
    return Field(default, description=text, json_schema_extra=of_flag, **bounds)


class ResumableOptions(Options):
    """A run that keeps its rows as they come, see :class:`~lad_rllib.runs.rows.ResultRows`."""

    resume: bool = option(False, "keep the rows that are in the output folder")


class TrainingsOptions(ResumableOptions):
    """One training after another, which a later run can go on with."""

    seconds: Positive | None = option(None, "begin no training after this time; --resume goes on", "S")


class SettingOptions(Options):
    """Which edge network and arrivals."""

    title = "setting (later ones override earlier ones)"

    setting: str | None = option(
        "paper",
        f"preset ({', '.join(names.SETTING_PRESETS)}; of requests one by one: {', '.join(names.REQUEST_PRESETS)}; "
        f"another fleet in each episode: {', '.join(names.RANDOM_FLEETS)}) or a YAML/JSON settings file",
        "NAME|FILE",
    )
    stations: int | None = option(None, "base stations", "B")
    servers: int | None = option(None, "edge servers (default: one per station)", "A")
    capacity: list[float] | None = option(
        None, "capacity of the edge servers: one value for all, or one for each", "GCYCLE/S", min_length=1
    )
    slots: int | None = option(None, "slots per episode; the last is seen but not decided", "T")
    slot_seconds: float | None = option(None, "length of a slot (1; for traces 20)", "S")
    arrivals: str | None = option(
        None,
        "where tasks come from: uniform draws as in the paper, Poisson, a source of another package by its name, or a "
        "request log (CSV or Parquet; --setting sample-trace plays a small made-up one)",
        "uniform|poisson|NAME|FILE",
    )
    max_tasks: int | None = option(None, "most tasks of a station in a slot", "N")
    mean_tasks: float | None = option(None, "Poisson: mean tasks of a station in a slot", "X")
    load: float | None = option(
        None, "offered work over capacity: of requests one by one, or compress a request log's time to it (1.2)", "X"
    )
    time_compression: float | None = option(None, "request log: seconds of the log per second, instead of --load", "X")
    work_shown: Literal["known", "mean"] | None = option(
        None,
        "request log: what schedulers are told of a task's work beforehand: the logged one, or the mean (known)",
    )


class RayOptions(Options):
    """Which Ray cluster a run joins."""

    title = "cluster"

    address: str | None = option(
        None,
        "Ray cluster: host:port, ray://host:port, or 'auto' for the one that runs here (default: RAY_ADDRESS, which "
        "'ray job submit' sets; else Ray starts here)",
        "ADDR",
    )
    wait_nodes: Natural = option(
        0,
        "begin when the cluster has so many nodes, the head among them; 'ray up' returns before workers have joined "
        "(0: do not wait)",
        "N",
    )
    wait_timeout: Annotated[float, Field(ge=0)] = option(300.0, "longest wait for --wait-nodes [s]", "S")


class StorageOptions(Options):
    """Where results are kept besides the output folder."""

    title = "cluster"

    storage_path: str | None = option(
        None,
        "keep a copy of the output folder here, under its name, as it grows: a folder that all nodes share, or s3://, "
        "gs://, abfs://; --resume takes it from there when this machine has none",
        "DIR|URI",
    )


class ScaleOptions(StorageOptions, RayOptions):
    """How many runners and learners there are, and on which cluster."""

    title = "scale and cluster"

    num_env_runners: Natural = option(0, "remote environment runners", "N")
    rollout_fragment_length: Count | None = option(
        None, "slots between two sets of weights for the runners (local runner: 1; remote ones: an episode)", "N"
    )
    num_envs_per_env_runner: Count = option(1, "episodes in lockstep", "N")
    num_learners: Natural = option(0, "remote learners", "N")
    device: Literal["auto", "cpu", "cuda"] = option(
        "auto", "where the learner computes; auto is the CPU, which is faster for networks this small"
    )
    num_gpus_per_learner: float | None = option(None, "GPUs of each learner, also a part of one (0; cuda: 1)", "X")


if TYPE_CHECKING:

    class HyperparameterOptions(Options):
        """Hyperparameters of all algorithms that are marked as flags; the algorithm's own declaration checks them."""

else:
    HyperparameterOptions = create_model(
        "HyperparameterOptions",
        __base__=Options,
        **{name: (one.type | None, option(None, one.help, one.flag.metavar)) for name, one in FLAGS.items()},
    )
    HyperparameterOptions.title = LEARNING


class LearningOptions(HyperparameterOptions):
    """How the algorithm learns."""

    title = LEARNING

    config: str | None = option(
        None, "YAML/JSON file with arguments of training() of the algorithm's configuration", "FILE"
    )
    queue_unit: Literal["auto", "gcycles", "seconds", "slots"] = option(
        "auto",
        "what the agents see of the queues: work (published), or the waiting time that it means; auto is work, waiting "
        "time for request logs, whose queues are longer by orders of magnitude, and slots of waiting time for lad-pmd, "
        "which needs them",
    )


class LiveOptions(Options):
    """Real edge servers to learn from, instead of simulated ones."""

    title = "real edge servers (need a --setting of that fleet, see 'lad-rllib fleet calibrate')"

    fleet: str | None = option(None, "learn from delays measured on this fleet, not simulated ones", "NAME|FILE")
    shared_fleet: bool = option(False, "all runners on the fleet of 'lad-rllib fleet up'")
    in_process: bool = option(False, "each runner's servers in its own process, not actors")
    prompts: str | None = option(None, "one prompt per line (default: a list in the package)", "FILE")
    init_from: str | None = option(
        None, "checkpoint whose weights and latent memory to start from (fine-tuning)", "DIR"
    )


class TrackOptions(Options):
    """Where the metrics of a run go besides its folder."""

    track: Literal["mlflow", "wandb"] | None = option(
        None,
        "report every iteration to MLflow (pip install 'lad-rllib[mlflow]'; MLFLOW_TRACKING_URI) or Weights & Biases "
        "(pip install 'lad-rllib[wandb]'), besides TensorBoard's files in the output folder",
    )


class LearnOptions(ScaleOptions, LearningOptions, SettingOptions):
    """Everything that describes the training of one algorithm in the simulator."""

    title = "run"

    algorithm: Literal[ALGORITHMS] = option(  # type: ignore[valid-type]
        names.DEFAULT_ALGORITHM,
        "what learns: LAD-TS (each task's own delay), LAD-PMD (the delay of all tasks), LAD-Dispatch (the delay of all "
        "requests, one by one, under an order of service), or a baseline of the paper",
    )
    order: str | None = option(
        None,
        "lad-dispatch: order of service to learn for, as name or name:field=number, such as shortest_first or "
        "aged:service_weight=100 (the setting's; fifo)",
        "NAME",
    )
    part: Part | None = option(
        None, "request log: part to train on, as fractions (0 0.7); evaluate takes the rest", ("FROM", "TO")
    )
    episodes: Count = option(100, "episodes to train in all")
    seed: Seed = option(0, "seed of weights, arrivals and exploration")
    checkpoint_every: Count = option(5, "iterations between checkpoints", "N")


class TrainOptions(LiveOptions, TrackOptions, LearnOptions):
    """One training run."""

    title = "run"

    output: str = option("results/train", "output folder", "DIR")
    overwrite: bool = option(False, "replace an earlier run in the output folder")
    resume: bool = option(False, "go on with the run in the output folder or --storage-path")
    quiet: bool = option(False, "no progress display")


class SearchOptions(TrackOptions, LearnOptions):
    """A search for hyperparameters."""

    title = "search"

    space: str | None = option(
        None, "search space (default: the package's search_space.yaml, or search_space_lad-pmd.yaml)", "FILE"
    )
    parameters: list[str] | None = option(None, "search these of the space only", "NAME", min_length=1)
    trials: Count = option(24, "configurations to try; a grid ignores it")
    search: Literal[names.SEARCHES] = option("random", "how they are chosen")  # type: ignore[valid-type]
    grid_points: Count = option(3, "grid: points of each range", "N")
    scheduler: Literal[names.TRIAL_SCHEDULERS] = option(  # type: ignore[valid-type]
        "asha",
        "which trials are stopped early: asha (successive halving), median (those behind the others' median), none; "
        "pbt lets bad ones go on from good ones' checkpoints",
    )
    seeds: Annotated[list[Seed], Field(min_length=1)] = option([0], "seeds of each configuration", "N")
    seeds_as_grid: bool = option(False, "one trial for each seed; default: all seeds in one trial")
    max_concurrent: Count | None = option(None, "trials at a time (as many as there is room)", "N")
    time_budget: Positive | None = option(None, "wall time after which trials stop [s]", "S")
    confirm_seeds: Annotated[int, Field(ge=0, le=MAX_CONFIRM_SEEDS)] = option(
        0, "afterwards, train the best configuration and the defaults with so many fresh seeds", "N"
    )
    episodes: Count = option(60, "most episodes of a trial")
    seed: Seed = option(0, "seed of the search")
    checkpoint_every: Count = option(10, "iterations between checkpoints", "N")
    output: str = option("results/tune", "output folder", "DIR")
    name: str | None = option(None, "name of the experiment in --storage-path (default: that of the output folder)")
    resume: bool = option(False, "go on with the search in the output folder or storage")
    quiet: bool = option(False, "no progress")


class TableOptions(Options):
    """How rows of results are kept."""

    title = "tables"

    parquet: bool = option(False, "leave the tables as Parquet, too, beside their CSV files")


class EvaluateOptions(StorageOptions, RayOptions, TableOptions, SettingOptions):
    """A comparison of schedulers on the same fresh arrivals."""

    title = "evaluation"

    address: str | None = option(
        None,
        "play on this Ray cluster, one task for each scheduler: host:port, ray://host:port, or 'auto' for the one that "
        "runs here (default: play in this process)",
        "ADDR",
    )
    checkpoint: list[str] | None = option(
        None, "checkpoints of training runs to compare; without it, heuristics alone", "DIR", min_length=1
    )
    setting: str | None = option(
        None,
        f"preset ({', '.join(names.SETTING_PRESETS)}; of requests one by one: {', '.join(names.REQUEST_PRESETS)}) or a "
        "YAML/JSON settings file (default: the first checkpoint's "
        "own, else paper)",
        "NAME|FILE",
    )
    part: Part | None = option(
        None,
        "request log: part to evaluate on, as fractions (0.7 1: what training does not see)",
        ("FROM", "TO"),
    )
    episodes: Count = option(20, "episodes to play (a request log: its first ones)")
    seed: Seed = option(1_000_000, "seed of arrivals and choices")
    schedulers: list[str] | None = option(
        None,
        f"schedulers without training; of slots (default there: all that differ): {', '.join(HEURISTICS)}; of single "
        f"requests (default where they come one by one: all): {', '.join(REQUEST_SCHEDULERS)}",
        "NAME",
        may_be_empty=True,
    )
    order: list[str] | None = option(
        None,
        f"order of service, several for a comparison, such as aged:service_weight=100: {', '.join(ORDERS)} (default: "
        "the setting's, else fifo)",
        "NAME[:FIELD=X,...]",
        min_length=1,
    )
    work: Literal["predicted", "known"] | None = option(
        None, "requests one by one: what schedulers are told of service times (default: the setting's, predicted)"
    )
    greedy_actions: bool = option(False, "take the most probable server instead of drawing one")
    bounds: bool = option(False, "add the lower bound of the mean delay, which no schedule is below")
    deadline: Annotated[float, Field(ge=0)] | None = option(
        None, "add the share of tasks whose service delay is longer than this [s]", "S"
    )
    slo: Positive | None = option(
        None, "add the share of tasks served within so many times their delay on the fastest server, idle", "X"
    )
    output: str | None = option(
        None, "output folder (default: beside the first checkpoint, or results/evaluate)", "DIR"
    )
    resume: bool = option(False, "do nothing if the output folder has the results of this command already")
