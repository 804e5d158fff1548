"""What ``lad-rllib improve`` may be told; see :mod:`lad_rllib.runs.options`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lad_rllib import names
from lad_rllib.runs.options import REQUEST_SCHEDULERS, Count, Options, Positive, Seed, option
from lad_rllib.runs.serve_options import KEY_VARIABLE

ANY_FLEET = "any-fleet"
"""Policy from which training goes on where a scheduler without training decides at present."""

Share = Annotated[float, Field(gt=0, lt=1)]


class ImproveAmounts(Options):
    """How much is learned from and judged; a running service takes these from a file, too."""

    title = "how much is learned from and judged"

    hours: Positive = option(24.0, "the log's last hours that count", "H")
    held_out: Share = option(0.3, "last share of these requests, which training does not see", "X")
    latest_images: Annotated[int, Field(ge=20)] = option(
        256, "images of each server, the latest, that its service model is fitted to", "N"
    )
    iterations: Count = option(30, "iterations of a round of training, an episode each", "N")
    rounds: Count = option(3, "most rounds of training; the next one goes on from a policy that is not better yet", "N")
    requests: Count = option(2000, "most requests of an episode of training", "N")
    windows: Annotated[int, Field(ge=5)] = option(10, "windows of the held-out requests, which intervals are over", "N")
    episodes: Annotated[int, Field(ge=5)] = option(
        20, "further episodes, put together from the held-out requests, where these leave the verdict open", "N"
    )
    seed: Seed = option(0, "seed of training and replay")


class ImproveOptions(ImproveAmounts):
    """A service's decision log, its fleet, and who decides at present."""

    title = "improvement"

    log: str | None = option(None, "decision log of the service: its folder, or one file", "DIR")
    fleet: str = option("digits", f"its fleet ({', '.join(names.SHIPPED_FLEETS)}) or a YAML file", "NAME|FILE")
    checkpoint: str | None = option(
        None,
        f"policy that decides at present, from which training goes on; also {', '.join(names.SHIPPED_POLICIES)} "
        "(default: the scheduler)",
        "DIR|NAME",
    )
    scheduler: str = option(
        "least-work-left",
        f"who decides at present, without a checkpoint: {', '.join(REQUEST_SCHEDULERS)}; training begins with "
        f"{ANY_FLEET}",
        "NAME",
    )
    swap: str | None = option(
        None,
        "if the verdict is better or heuristic, tell the service at this address (PUT /v1/fleet/policy); a key with "
        f"admin is read from {KEY_VARIABLE}",
        "URL",
    )
    serve: str | None = option(
        None,
        "the running service at this address says its fleet and who decides, where these are not given, and tries what "
        "is recommended: in shadow, on a share of its requests, then in charge if it is better; a key as of --swap",
        "URL",
    )
    background: bool = option(False, "take only time of the processors that nobody else wants")
    output: str = option("results/improve", "output folder", "DIR")
    overwrite: bool = option(False, "replace an earlier improvement in the output folder")
