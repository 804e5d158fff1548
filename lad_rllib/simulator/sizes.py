"""Memory that a request needs, so that one that cannot fit is refused before any memory is taken.

All sizes are lower bounds: the arrays that are needed in any case. Axes: E episodes, T slots, B base stations, A edge
servers, N tasks of one station in one slot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from lad_rllib.errors import ConfigurationError

GIB = 2**30
FLOAT32, FLOAT64 = 4, 8
ARRIVAL_BYTES = 5 * FLOAT64 + 1
"""One task of an episode: input, steps, density, result, workload, and whether it is there."""
RECORD_BYTES = 5 * FLOAT64
"""One task as a scheduler served it: the server and four parts of the delay."""
PROCESS_BYTES = 300 * 2**20
"""A Ray actor that has loaded torch and RLlib."""
PLACE_BYTES = 10 * FLOAT64
"""A base station or an edge server: its values, the draws that they come from, and its state in a slot."""
IMAGE_TASK_BYTES = 2048
"""A task of a fleet and its record, without prompt and image."""
RUNNER_PARTS = ("arrivals", "decisions", "latent memory")
"""Parts of :func:`training_bytes` in the process that plays the episodes; the others are in that of the algorithm."""
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def machine_bytes() -> int:
    """Memory of this machine, or of the container that this process runs in [byte]."""
    limits = [Path(path) for path in _CGROUP_LIMITS]
    texts = [path.read_text().strip() for path in limits if path.is_file()]
    return min([psutil.virtual_memory().total, *(int(text) for text in texts if text.isdigit())])


def arrivals_bytes(episodes: int, slots: int, stations: int, tasks: int) -> int:
    """Arrivals of E episodes [byte]."""
    return episodes * slots * stations * tasks * ARRIVAL_BYTES


def setting_bytes(slots: int, stations: int, servers: int, tasks: int) -> int:
    """One episode of a setting, with its network [byte]."""
    return arrivals_bytes(1, slots, stations, tasks) + (stations + servers) * PLACE_BYTES


def evaluation_bytes(schedulers: int, episodes: int, slots: int, stations: int, tasks: int) -> int:
    """E episodes and the records of every scheduler that plays them [byte]."""
    played = episodes * slots * stations * tasks * RECORD_BYTES
    return arrivals_bytes(episodes, slots, stations, tasks) + schedulers * played


@dataclass(frozen=True)
class Learner:
    """What the memory of training depends on, beside the setting.

    Attributes:
        hidden_sizes: Widths of the hidden layers.
        agents: Sets of networks: B, or 1 that all stations share.
        latent_size: Length of a latent action: A, or 0 if none is remembered.
        latent_by_slot: One latent action for each slot, station and task index, not for each station and task index.
        replay_capacity: Transitions that each station keeps; 0 without replay.
        batch: Transitions of an update of one station.
    """

    hidden_sizes: Sequence[int]
    agents: int
    latent_size: int
    latent_by_slot: bool
    replay_capacity: int
    batch: int


def training_bytes(
    learner: Learner, *, episodes: int, slots: int, stations: int, servers: int, tasks: int
) -> dict[str, int]:
    """Memory of training in one process that plays E episodes in lockstep, by part [byte]."""
    entries = episodes * stations * tasks
    state, latent = 2 + servers, learner.latent_size
    widths = (state + latent, *learner.hidden_sizes, servers)
    weights = sum((before + 1) * after for before, after in zip(widths, widths[1:], strict=False))
    # Weights, gradients and two moments of the actor and, with replay, of two critics, which have targets as well.
    copies = 14 if learner.replay_capacity else 4
    transition = 2 * (state + latent) + 2
    batch = learner.batch * (transition + sum(learner.hidden_sizes))
    per_episode = 0 if learner.replay_capacity else 2 * entries * slots * servers  # costs and logits of each choice
    return {
        "arrivals": arrivals_bytes(episodes, slots, stations, tasks),
        "decisions": FLOAT32 * (entries * (state + servers + max(learner.hidden_sizes)) + per_episode),
        "latent memory": FLOAT32 * entries * latent * (slots if learner.latent_by_slot else 1),
        "networks": FLOAT32 * learner.agents * weights * copies,
        "replay buffers": FLOAT32 * stations * (learner.replay_capacity * transition + batch),
    }


def check_fits(what: str, needed: int | Mapping[str, int], remedy: str, *, node_bytes: int | None = None) -> None:
    """Refuse a request that needs more memory than this machine has, or than the largest node of a cluster.

    Args:
        what: The request, in words.
        needed: Memory that it takes [byte], maybe by part; the largest part is named.
        remedy: What to lower, in words.
        node_bytes: Memory of the largest node [byte]; None: this machine takes the request.

    Raises:
        ConfigurationError: says how much it would take and how much there is.
    """
    parts = {"": needed} if isinstance(needed, int) else needed
    total, available = sum(parts.values()), machine_bytes() if node_bytes is None else node_bytes
    if total <= available:
        return
    largest = max(parts, key=lambda part: parts[part])
    alone = f" ({largest}: {_gib(parts[largest])})" if largest else ""
    where = "this machine" if node_bytes is None else "the largest node of the cluster"
    raise ConfigurationError(
        f"{what} would take at least {_gib(total)}{alone}, {where} has {_gib(available)}; lower {remedy}"
    )


def _gib(size: int) -> str:
    return f"{size / GIB:,.1f} GiB" if size < 10 * GIB else f"{size // GIB:,} GiB"
