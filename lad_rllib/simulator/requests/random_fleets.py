"""Random fleets: a setting whose every episode has other servers, another order of service and other traffic.

It is described by a dictionary with the key ``fleets``, or the preset ``any-fleet``. Worlds that nobody trains on are
:func:`held_out`: drawn from seeds of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from lad_rllib.declared import Declared, declared, shown
from lad_rllib.errors import ConfigurationError
from lad_rllib.reference import json_schema
from lad_rllib.simulator.field_types import PAIR, Fraction, Positive, PositivePair
from lad_rllib.simulator.order import ORDERS, OrderSpec, make_order, order_text
from lad_rllib.simulator.requests.mixes import Mix
from lad_rllib.simulator.requests.service_model import LinearService
from lad_rllib.simulator.requests.setting import RequestSetting, build_request_setting
from lad_rllib.simulator.settings import as_group

RANDOM_FLEETS: dict[str, dict[str, Any]] = {"any-fleet": {"fleets": {}}}
"""Named settings of random fleets."""
SPEEDS = ("equal", "uniform", "two-class", "heavy-tailed")
"""How speeds of a fleet can be distributed: all alike; uniform between 1 and up to 10; two classes, the fast one 2 to 8
times as fast; log-normal, with a standard deviation of the logarithm between 0.4 and 1."""
SIZES = ("vllm-omni", "paper", "one", "steps", "two", "heavy-tailed")
"""How requests can be sized: the named mixes of images; all alike; uniform numbers of steps; two kinds, the large one 3
to 20 times as large; sizes over a factor of 64, each doubling 0.35 to 0.8 times as frequent."""
TAU_S = 10.0
"""Mean service time on a server of mean speed [s]; what policies see has no unit."""
_HELD_OUT = 1_414_213_562
_OCTAVES = 6

Share = Annotated[float, Field(ge=0, le=1e9)]
CountPair = Annotated[list[Annotated[int, Field(ge=1, le=1_000_000)]], *PAIR]


class RandomFleetFields(Declared):
    """Group ``fleets``: what is drawn for each episode. Pairs are ranges; shares are relative to one another."""

    servers: CountPair = [2, 64]
    """Edge servers, uniform in the logarithm."""
    speeds: dict[str, Share] = {"equal": 0.2, "uniform": 0.4, "two-class": 0.2, "heavy-tailed": 0.2}
    """Share of each distribution of speeds: ``equal``, ``uniform``, ``two-class``, ``heavy-tailed``."""
    load: PositivePair = [0.2, 1.5]
    """Offered work over what the servers can do."""
    usual_load: PositivePair = [0.8, 1.3]
    """The range in which policies differ most."""
    usual_share: Fraction = 0.6
    """Share of episodes with a load of ``usual_load``."""
    sizes: dict[str, Share] = {"vllm-omni": 2, "paper": 2, "one": 0.5, "steps": 2, "two": 2, "heavy-tailed": 2}
    """Share of each mix of sizes: ``vllm-omni``, ``paper``, ``one``, ``steps``, ``two``, ``heavy-tailed``."""
    orders: dict[str, Share] = {"fifo": 5, "shortest_first": 3, "aged": 2, "deadline": 0.5, "priority": 0.5}
    """Share of each order of service; ``aged`` gets a ``service_weight`` between 3 and 1000."""
    bursty_share: Fraction = 0.25
    """Share of episodes with bursts of 5 to 100 mean services, at 1.5 to 4 times the rate otherwise."""
    slotted_share: Fraction = 0.0
    """Share of episodes in which all requests of a slot of 3 to 40 mean services come at once."""
    spread_share: Fraction = 0.5
    """Share of episodes whose service times are not as predicted: ``spread`` of 0.05 to 0.4."""
    models_share: Fraction = 0.25
    """Share of episodes with 2 to 40 image models, 1 to 4 of them in memory, loaded in 0.1 to 2 mean services."""
    link_share: Fraction = 0.25
    """Share of episodes with transfers of up to 0.3 mean services."""
    deadline_share: Fraction = 0.2
    """Share of episodes with deadlines, of 2 to 10 times the delay on the fastest server, idle."""
    requests_per_server: PositivePair = [60.0, 1500.0]
    """Requests of an episode for each server, uniform in the logarithm."""
    requests: CountPair = [3000, 12_000]
    """Least and most requests of an episode."""


class RandomFleetSettingFields(Declared):
    """The keys of a setting of random fleets."""

    preset: str | None = None
    """Named setting that the other keys change; null: none."""
    name: Annotated[str, Field(max_length=200)] | None = None
    """Name in results; null: the preset's, or ``random-fleets``."""
    fleets: RandomFleetFields = RandomFleetFields()
    """Group: what is drawn for each episode."""
    order: OrderSpec | None = None
    """Order of service of all; null: drawn, too."""


@dataclass(frozen=True)
class RandomFleets:
    """A distribution over settings of requests, one of which is drawn for each episode.

    Attributes:
        fields: Its keys.

    >>> fleets = RandomFleets(RandomFleetSettingFields())
    >>> one, other = (fleets.of_episode(np.random.default_rng(seed)) for seed in (0, 1))
    >>> one.world.num_servers, other.world.num_servers
    (18, 12)
    """

    fields: RandomFleetSettingFields

    def of_episode(self, rng: np.random.Generator) -> RequestSetting:
        """The servers and traffic of an episode."""
        return build_request_setting(self.draw_spec(rng))

    @property
    def name(self) -> str:
        """Name in results."""
        return self.fields.name or self.fields.preset or "random-fleets"

    @cached_property
    def spec(self) -> dict[str, Any]:
        """The dictionary that describes it, every field filled in."""
        return {**self.fields.model_dump(), "name": self.name}

    @property
    def orders(self) -> list[str]:
        """Orders of service that are drawn, by name; or the one that all have, with its fields."""
        if self.fields.order is not None:
            return [order_text(make_order(self.fields.order))]
        return [name for name, share in self.fields.fleets.orders.items() if share > 0]

    @property
    def num_requests(self) -> int:
        """Most requests of an episode."""
        return self.fields.fleets.requests[1]

    @property
    def most_servers(self) -> int:
        """Most servers of an episode."""
        return self.fields.fleets.servers[1]

    def summary(self) -> str:
        """What is drawn, in words."""
        drawn = self.fields.fleets
        return (
            f"{self.name}: another fleet in each episode, of {drawn.servers[0]} to {drawn.servers[1]} edge servers at "
            f"a load of {drawn.load[0]:g} to {drawn.load[1]:g}; order of service: {', '.join(self.orders)}"
        )

    # -- Drawing --------------------------------------------------------------------------------------------------

    def draw_spec(self, rng: np.random.Generator) -> dict[str, Any]:
        """The settings dictionary of one fleet and its traffic, as ``build_request_setting`` takes it."""
        drawn = self.fields.fleets
        servers = round(_log_uniform(rng, *drawn.servers))
        speeds = draw_speeds(rng, _one(rng, drawn.speeds, "speeds", SPEEDS), servers)
        order = self.fields.order or _order(rng, _one(rng, drawn.orders, "orders", tuple(ORDERS)))
        images = draw_sizes(rng, _one(rng, drawn.sizes, "sizes", SIZES))
        low, high = drawn.usual_load if rng.random() < drawn.usual_share else drawn.load
        load, (least, most) = float(rng.uniform(low, high)), drawn.requests
        requests = min(max(servers * _log_uniform(rng, *drawn.requests_per_server), least), most)
        spec: dict[str, Any] = {"name": f"{self.name}, one", "order": order, "requests": int(requests)}
        traffic: dict[str, Any] = {"kind": "poisson"}
        if (part := rng.random()) < drawn.bursty_share:
            traffic = {"kind": "bursty", **_bursts(rng)}
        elif part < drawn.bursty_share + drawn.slotted_share:
            traffic = {"kind": "slotted", "slot_s": TAU_S * _log_uniform(rng, 3.0, 40.0)}
        mix: dict[str, Any] = {"images": images}
        if rng.random() < drawn.models_share:
            load *= 0.75  # loading is work that the load does not count
            mix |= {"models": int(_log_uniform(rng, 2, 40)), "zipf": rng.uniform(0.0, 1.8)}
            mix |= {"lora_sets": 10, "lora_share": rng.choice([0.0, 0.3])}
            spec["models_in_memory"] = int(rng.integers(1, 4, endpoint=True))
            spec |= {"swap_s": TAU_S * _log_uniform(rng, 0.1, 2.0), "lora_swap_s": TAU_S * rng.uniform(0.0, 0.5)}
        if rng.random() < drawn.link_share and isinstance(images, list):
            for kind in images:
                kind |= {"upload_mbit": [0.5, 1.5], "result_mbit": [0.1, 0.3]}
            rate = 1.2 / (TAU_S * rng.uniform(0.02, 0.3))
            spec["servers"] = [{"speed": speed, "link_rate_mbit_per_s": rate} for speed in speeds]
        else:
            spec["servers"] = speeds
        if rng.random() < drawn.deadline_share or order == "deadline":
            traffic["deadline_over_solo"] = _log_uniform(rng, 2.0, 10.0)
        if order == "priority":
            mix["priorities"] = [1.0, rng.uniform(0.1, 1.0)]
        spread = rng.uniform(0.05, 0.4) if rng.random() < drawn.spread_share else 0.0
        spec["service"] = {"kind": "linear", "per_step_s": TAU_S / _mean_size(mix), "spread": spread}
        return spec | {"traffic": {**traffic, "load": load, "mix": mix}}


def held_out(fleets: RandomFleets, number: int) -> RequestSetting:
    """A world that no training draws.

    Args:
        fleets: What it is drawn from.
        number: Which one.
    """
    return fleets.of_episode(np.random.default_rng([_HELD_OUT, number]))


def is_random_fleets(spec: object) -> bool:
    """Whether a settings dictionary is one of random fleets."""
    return isinstance(spec, Mapping) and ("fleets" in spec or spec.get("preset") in (*RANDOM_FLEETS,))


def refuse_random_fleets(spec: object) -> None:
    """Refuse a settings dictionary of random fleets, where one fleet is played.

    Raises:
        ConfigurationError: says where they can be.
    """
    if is_random_fleets(spec):
        raise ConfigurationError(
            "random fleets (any-fleet) are another fleet in each episode, to train lad-dispatch on, and this plays "
            "one fleet; give a --setting of one"
        )


def build_random_fleets(spec: Mapping[str, Any]) -> RandomFleets:
    """Build the random fleets that a plain dictionary describes.

    Raises:
        ConfigurationError: for an unknown key or name, or a value that cannot be used.
    """
    values = as_group("a setting", spec)
    preset = values.get("preset")
    if preset is not None and preset not in (*RANDOM_FLEETS,):
        raise ConfigurationError(f"preset {shown(preset)} has no random fleets; choose from {', '.join(RANDOM_FLEETS)}")
    base = RANDOM_FLEETS[preset]["fleets"] if preset is not None else {}
    group = {**base, **as_group("fleets", values.get("fleets", {}))}
    fields = declared(RandomFleetSettingFields, {**values, "fleets": declared(RandomFleetFields, group, "fleets.")})
    fleets = RandomFleets(fields)
    rng = np.random.default_rng(0)
    for shares, where, known in (("speeds", "speeds", SPEEDS), ("sizes", "sizes", SIZES), ("orders", "orders", ORDERS)):
        _one(rng, getattr(fields.fleets, shares), where, tuple(known))
    return fleets


def random_fleet_groups() -> dict[str, type[Declared]]:
    """Every group of a setting of random fleets with its declaration, for tables."""
    return {"random fleets, top level": RandomFleetSettingFields, "fleets": RandomFleetFields}


def random_fleets_schema() -> dict[str, Any]:
    """JSON schema of a settings file of random fleets, for editors."""
    schema = json_schema(RandomFleetSettingFields)
    schema["properties"]["preset"]["enum"] = [None, *RANDOM_FLEETS]
    return schema


# -- Parts ------------------------------------------------------------------------------------------------------------


def draw_speeds(rng: np.random.Generator, kind: str, servers: int) -> list[float]:
    """Relative speeds of a fleet, mean 1.

    Args:
        rng: Randomness.
        kind: One of :data:`SPEEDS`.
        servers: How many.
    """
    if kind == "equal":
        speed = np.ones(servers)
    elif kind == "uniform":
        speed = rng.uniform(1.0, rng.uniform(1.5, 10.0), servers)
    elif kind == "two-class":
        speed = np.where(rng.random(servers) < rng.uniform(0.15, 0.7), rng.uniform(2.0, 8.0), 1.0)
    else:
        speed = np.clip(np.exp(rng.uniform(0.4, 1.0) * rng.standard_normal(servers)), 0.08, 12.0)
    relative: list[float] = (speed / speed.mean()).tolist()
    return relative


def draw_sizes(rng: np.random.Generator, kind: str) -> str | list[dict[str, Any]]:
    """Kinds of images of a mix, as ``traffic.mix.images`` has them.

    Args:
        rng: Randomness.
        kind: One of :data:`SIZES`.
    """
    if kind in ("vllm-omni", "paper"):
        return kind
    if kind == "one":
        return [{"steps": 20}]
    if kind == "steps":
        low = int(rng.integers(1, 10, endpoint=True))
        return [{"steps": [low, int(low * rng.uniform(2.0, 15.0))]}]
    if kind == "two":
        ratio, share = _log_uniform(rng, 3.0, 20.0), rng.uniform(0.03, 0.5)
        return [
            {"share": 1.0 - share, "steps": 20, "density": [0.8, 1.2]},
            {"share": share, "steps": 20, "density": [0.8 * ratio, 1.2 * ratio]},
        ]
    rarer = rng.uniform(0.35, 0.8)
    return [
        {"share": rarer**octave, "steps": 20, "density": [2.0**octave, 2.0 ** (octave + 1)]}
        for octave in range(_OCTAVES)
    ]


def _one(rng: np.random.Generator, shares: Mapping[str, float], where: str, known: tuple[str, ...]) -> str:
    """A name drawn by its share."""
    for name in shares:
        if name not in known:
            raise ConfigurationError(f"fleets.{where}: unknown name {shown(name)}; choose from {', '.join(known)}")
    total = sum(shares.values())
    if not total > 0:
        raise ConfigurationError(f"fleets.{where} has no share above 0; give one")
    return str(rng.choice([*shares], p=np.array([*shares.values()]) / total))


def _order(rng: np.random.Generator, name: str) -> str:
    return f"aged:service_weight={_log_uniform(rng, 3.0, 1000.0):.4g}" if name == "aged" else name


def _bursts(rng: np.random.Generator) -> dict[str, Any]:
    return {
        "rate_ratio": rng.uniform(1.5, 4.0),
        "burst_s": TAU_S * _log_uniform(rng, 5.0, 100.0),
        "calm_s": TAU_S * _log_uniform(rng, 10.0, 300.0),
    }


def _mean_size(mix: Mapping[str, Any]) -> float:
    """Mean service time of a mix in steps of an ordinary image."""
    requests = Mix(**mix).draw(np.random.default_rng(0), np.arange(4000.0))
    return float(LinearService().seconds(requests).mean())


def _log_uniform(rng: np.random.Generator, low: Positive, high: Positive) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
