"""What each part of the policy for any fleet is worth: one changed at a time, a short training, fleets never seen.

    python -m experiments.any_fleet_parts --resume
    python -m experiments.any_fleet_parts --parts "plain network" "1 step" --resume

Trainings of a seed have the same random fleets, of 2 to 32 servers and 1,500 to 4,000 requests. The mean actor of each
is judged on held-out fleets, without a cap on waits, over least work left on the same requests; of the one that is as
it is, the last actor, too. Written into --output: every fleet's delays and the CPU time of a decision
(any_fleet_parts.csv, kept by --resume) and a table (any_fleet_parts.md).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.any_fleet import JUDGED_SEED, YARDSTICK, Cell, hyperparameters, judged_setting
from experiments.pages.fleets import parts_of_any_fleet
from experiments.staleness import FLEETS
from lad_rllib import durable
from lad_rllib.algorithms.lad_dispatch import DispatchPolicy, LADDispatchHyperparameters
from lad_rllib.algorithms.lad_dispatch.actor_settings import ActorSettings
from lad_rllib.algorithms.lad_dispatch.features import FEATURES, NUM_FEATURES
from lad_rllib.algorithms.lad_dispatch.training import Improvement, RequestSource, learn
from lad_rllib.cli.program import Program
from lad_rllib.runs.options import Count, Options, Seed, TrainingsOptions, option
from lad_rllib.runs.output_folder import writable_folder
from lad_rllib.runs.progress import time_is_over
from lad_rllib.runs.rows import ResultRows
from lad_rllib.runs.tables import markdown_page, markdown_table
from lad_rllib.scheduling.by_name import make_scheduler
from lad_rllib.scheduling.request_scheduler import player
from lad_rllib.simulator.requests import build_random_fleets, held_out

POSITION = (
    "rank r",
    "size position v less rank, v",
    "distance of size position and rank",
    *(f"cos {times} pi r" for times in (2, 3, 4)),
)
CONTEXT = (
    "size position u",
    "size position v",
    *(f"cos {times} pi v" for times in (2, 3, 4)),
    "size over the mean one",
    "load",
    "rate of the latest requests over that of recent ones",
    "work left in all",
    "number of servers",
    "variation of sizes",
)
"""Features by what stands before the colon: of the server's place among the speeds, and what is the same for all."""
FIRST_JUDGED = 100
"""First held-out fleet that is judged; the policy that is shipped was chosen on earlier ones."""
CHAIN_GAIN = 17.5
"""What a chain of five steps makes of a constant prediction: by so much more do the weights of its readout count."""


class Louder(LADDispatchHyperparameters, ActorSettings):
    """A network whose predicted noise counts more or less than the diffusion has it."""

    loudness: float = 1.0

    @property
    def scales(self) -> NDArray[np.float32]:
        """See :class:`~lad_rllib.algorithms.lad_dispatch.actor_settings.ActorSettings`."""
        return super().scales * np.array([1.0, self.loudness], np.float32)


@dataclass(frozen=True)
class Part:
    """What is changed.

    Attributes:
        settings: Settings by name.
        hidden: Features that the network does not see; the prior sees them.
        worlds: Different fleets of the training; None: another one in each episode.
    """

    settings: Any = ()
    hidden: tuple[str, ...] = ()
    worlds: int | None = None


AS_IT_IS, LAST = "as it is", "last actor"
PARTS = {
    AS_IT_IS: Part(),
    "plain network": Part({"policy_denoising_steps": 0}),
    "1 step": Part({"policy_denoising_steps": 1}),
    "2 steps": Part({"policy_denoising_steps": 2}),
    "3 steps": Part({"policy_denoising_steps": 3}),
    "latent kept": Part({"latent_start": "memory"}),
    "learned start": Part({"latent_start": "learned"}),
    "no position": Part(hidden=POSITION),
    "no context": Part(hidden=CONTEXT),
    "16 fleets": Part(worlds=16),
    "4 fleets": Part(worlds=4),
    "plain network, as loud as the chain": Part({"policy_denoising_steps": 0, "loudness": CHAIN_GAIN}),
    "chain, as quiet as a plain network": Part({"loudness": 1.0 / CHAIN_GAIN}),
}


class PartsOptions(TrainingsOptions):
    """What is trained and judged, and what that may cost."""

    command: ClassVar[str] = "any_fleet_parts"
    title = "run"
    may_change = Options.may_change | {"parts", "seeds", "seconds"}

    parts: list[Literal[(*PARTS,)]] = option(list(PARTS), "what to change")  # type: ignore[valid-type]
    iterations: Count = option(40, "iterations of a training, of four random fleets each")
    judged: Count = option(16, "held-out fleets to judge on")
    seeds: list[Seed] = option([0, 1], "seeds of training", "SEED")
    output: str = option("results/any-fleet-parts", "output folder", "DIR")


def run(options: PartsOptions) -> int:
    """Train, judge and write; returns the exit status."""
    output, is_over = writable_folder(options.output), time_is_over(options.seconds)
    rows = ResultRows(output / "any_fleet_parts.csv", options.resume, iterations=options.iterations)
    judge = Judge(options.judged)
    for seed in options.seeds:
        for name in options.parts:
            if not is_over() and not rows.has(part=name, seed=seed):
                rows.add(*trained(options, name, seed, judge))
                print(f"seed {seed}: {name}", flush=True)
    text = markdown_page(
        "What each part of the policy for any fleet is worth", markdown_table(*parts_of_any_fleet(rows.frame))
    )
    durable.write_file(output / "any_fleet_parts.md", text)
    print(text)
    return 0


def trained(options: PartsOptions, name: str, seed: int, judge: Judge) -> Iterator[dict[str, Any]]:
    """Train with a part changed; returns a row for each judged fleet."""
    part = PARTS[name]
    settings = Louder(**hyperparameters(options.iterations).model_dump() | dict(part.settings))
    state, fleets = Improvement(settings, seed), build_random_fleets(FLEETS)
    hide(state, part.hidden)
    drawn = fleets if part.worlds is None else Few(fleets, part.worlds, seed)
    began = time.process_time()
    learn(drawn, settings, seed, episodes=4, state=state)
    trained_s, actors = time.process_time() - began, {name: state.average}
    if name == AS_IT_IS:
        actors[LAST] = state.networks
    for what, networks in actors.items():
        policy = DispatchPolicy(settings, networks.packed())
        about = {"part": what, "seed": seed, "trained_cpu_s": trained_s, "decision_us": decision_us(policy)}
        yield from (about | row for row in judge.rows(policy))


def hide(state: Improvement, features: Collection[str]) -> None:
    """Keep the network from seeing some features: their weights are zero and stay so."""
    if not features:
        return
    kept = torch.tensor([what.partition(":")[0] not in features for what in FEATURES], dtype=torch.float32)
    blocks = state.networks.settings.shape.blocks()
    mask = torch.cat(
        [
            (kept[:, None].expand(shape) if shape[:1] == (NUM_FEATURES,) else torch.ones(shape)).flatten()
            for shape in blocks.values()
        ]
    )
    with torch.no_grad():
        state.networks.weights.mul_(mask)
        state.average.weights.mul_(mask)
    state.networks.weights.register_hook(mask.mul)


class Few:
    """A few fleets of a distribution, of which each episode has one; its requests are new.

    Args:
        fleets: The distribution.
        number: How many.
        seed: Which ones.
    """

    def __init__(self, fleets: RequestSource, number: int, seed: int) -> None:
        rngs = [np.random.default_rng([seed, 3, index]) for index in range(number)]
        self._settings = [fleets.of_episode(rng) for rng in rngs]

    def of_episode(self, rng: np.random.Generator) -> Any:
        """One of them."""
        return self._settings[rng.integers(len(self._settings))]


class Judge:
    """Fleets that no training draws.

    Args:
        number: How many.
    """

    def __init__(self, number: int) -> None:
        fleets = build_random_fleets(FLEETS)
        self._cells = [Cell(held_out(fleets, FIRST_JUDGED + index), 1, JUDGED_SEED) for index in range(number)]

    @cached_property
    def _yardstick(self) -> list[NDArray[np.float64]]:
        rule = make_scheduler(YARDSTICK, one_by_one=True)
        return [_figures(cell, rule) for cell in self._cells]

    def rows(self, policy: DispatchPolicy) -> Iterator[dict[str, Any]]:
        """Ratios to least work left, of each fleet."""
        for number, (cell, rule) in enumerate(zip(self._cells, self._yardstick, strict=True)):
            mean, p99 = _figures(cell, policy) / rule
            yield {"fleet": number, "load": cell.setting.load, "mean": mean, "p99": p99}


def _figures(cell: Cell, scheduler: Any) -> NDArray[np.float64]:
    delay_s = cell.delays_s(scheduler)
    return np.array([delay_s.mean(), np.percentile(delay_s, 99)])


def decision_us(policy: DispatchPolicy) -> float:
    """CPU time of a request in the event loop with 20 servers: decision, queues and service [us]."""
    setting = judged_setting(20, "four classes", 0.7, "fifo")
    requests, rng = setting.draw(np.random.default_rng(0)), np.random.default_rng(1)
    play = player(policy, setting.world, setting.history())
    play(requests[:100], rng)
    began = time.process_time()
    play(requests, rng)
    return (time.process_time() - began) / len(requests) * 1e6


SMOKE = {"parts": [AS_IT_IS, "no context"], "iterations": 1, "judged": 1, "seeds": [0]}
main = Program(run, PartsOptions, __doc__, SMOKE)

if __name__ == "__main__":
    sys.exit(main())
