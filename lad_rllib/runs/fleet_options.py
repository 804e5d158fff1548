"""What the commands that run a fleet of edge servers may be told; see :mod:`lad_rllib.runs.options`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lad_rllib import names
from lad_rllib.runs.options import (
    HEURISTICS,
    REQUEST_SCHEDULERS,
    Count,
    Options,
    Positive,
    RayOptions,
    Seed,
    StorageOptions,
    option,
)

Pair = Annotated[list[int], Field(min_length=2, max_length=2)]


class ActorFleetOptions(RayOptions):
    """Which fleet of edge servers."""

    title = "fleet"

    fleet: str = option("digits", f"shipped fleet ({', '.join(names.SHIPPED_FLEETS)}) or a YAML file", "NAME|FILE")
    shared_fleet: bool = option(False, "use the fleet that 'lad-rllib fleet up' started")


class FleetOptions(ActorFleetOptions):
    """Which fleet of edge servers, and where it runs."""

    title = "fleet"

    in_process: bool = option(False, "servers in this process instead of Ray actors")


class GenerateOptions(FleetOptions):
    """Prompts for a fleet of edge servers."""

    title = "scheduler and tasks"

    checkpoint: str | None = option(
        None, "trained policy; one that decides slot by slot must be of this fleet's calibrated setting", "DIR"
    )
    scheduler: Literal[tuple(dict.fromkeys((names.POLICY, *HEURISTICS, *REQUEST_SCHEDULERS)))] | None = option(  # type: ignore[valid-type]
        None, f"who decides (default: {names.POLICY} with a checkpoint, else greedy-oracle)"
    )
    greedy_actions: bool = option(False, "trained policy: its most probable servers")
    prompts: str | None = option(None, "one prompt per line (default: a small list in the package)", "FILE")
    tasks: Count | None = option(None, "images (default: one for each prompt)", "N")
    steps: Pair = option([10, 19], "denoising steps", ("LOW", "HIGH"))
    size: Pair | None = option(None, "size [pixel] (default: the servers')", ("W", "H"))
    deadline: float | None = option(None, "give a task up after so many seconds", "S")
    load: Positive | None = option(
        None, "tasks come one by one: offered work over what the servers can do (default: all at once)", "X"
    )
    rate: Positive | None = option(None, "the same: tasks a second in the fleet's time, instead of --load", "X")
    setting: str | None = option(
        None,
        "the same: when tasks come and what they ask for, of a settings file of requests, such as requests.yaml of "
        "'lad-rllib fleet calibrate' (default: Poisson, --steps, --size)",
        "NAME|FILE",
    )
    seed: Seed = option(0, "seed of arrivals, stations, steps and decisions")
    output: str = option("results/images", "output folder", "DIR")
    overwrite: bool = option(False, "replace the images, the table and the contact sheet of an earlier run")


class CalibrateOptions(StorageOptions, FleetOptions):
    """How a fleet is measured, and the setting that is made of it."""

    title = "calibration"

    step_counts: Annotated[list[Count], Field(min_length=1)] = option([2, 8, 14, 20], "steps to fit to", "N")
    held_out: Annotated[list[Count], Field(min_length=1)] = option([5, 11, 17], "steps to test the fit on", "N")
    repeats: Count = option(3, "images for each number of steps and server")
    name: str | None = option(None, "name of the setting (default: the fleet's)")
    steps: Pair = option([10, 19], "denoising steps of the setting's tasks", ("LOW", "HIGH"))
    mix: Literal["own", "vllm-omni"] = option(
        "own",
        "images of the requests one by one, and the sizes to measure: the servers' own size with --steps, or the sizes "
        "and steps of vLLM-Omni's diffusion benchmark",
    )
    slots: Count = option(60, "slots of an episode")
    max_tasks: int = option(10, "most tasks of a station in a slot")
    load: Positive | None = option(
        None, "work that arrives over what the servers can do (in slots 1.2, one by one 0.7)", "X"
    )
    slot_seconds: float | None = option(None, "length of a slot in the fleet's time, instead of --load", "S")
    no_check: bool = option(False, "leave the comparison with live runs out")
    check_slots: Count = option(20, "slots of each live run")
    schedules: Annotated[list[Literal[HEURISTICS]], Field(min_length=1)] = option(  # type: ignore[valid-type]
        ["capacity-proportional", "round-robin"],
        "heuristics whose decisions in the simulator are played live",
        "NAME",
    )
    seed: Seed = option(0, "seed of the check's arrivals and decisions")
    output: str = option("results/calibration", "output folder", "DIR")
    resume: bool = option(False, "keep the images that were measured, and the schedules that were checked")


class FleetListOptions(Options):
    """Which cluster fleets are looked for on."""

    title = "cluster"

    address: str | None = option(None, "Ray cluster (default: RAY_ADDRESS, else shipped fleets alone)", "ADDR")


class FleetFileOptions(FleetListOptions):
    """Which fleet, and on which cluster."""

    title = "fleet"

    address: str | None = option(None, "Ray cluster (default: RAY_ADDRESS, else the one that runs here)", "ADDR")
    file: str | None = option(None, f"fleet file, or one of {', '.join(names.SHIPPED_FLEETS)}", "FILE", positional=True)


class FleetUpOptions(FleetFileOptions):
    """How a fleet is started."""

    timeout: Positive = option(600.0, "longest wait for models to load [s]", "S")
