"""Parts of the policy for any fleet: what is changed is changed while it learns, and the table compares in pairs."""

import numpy as np
import pandas as pd
import pytest
import torch

from experiments.any_fleet_parts import (
    CHAIN_GAIN,
    CONTEXT,
    LAST,
    PARTS,
    POSITION,
    Few,
    Louder,
    Part,
    hide,
    main,
)
from experiments.pages.fleets import parts_of_any_fleet
from lad_rllib.algorithms.lad_dispatch import LADDispatchHyperparameters
from lad_rllib.algorithms.lad_dispatch.features import FEATURES, NUM_FEATURES
from lad_rllib.algorithms.lad_dispatch.training import Improvement, learn
from lad_rllib.simulator.requests import build_random_fleets, build_request_setting

SMALL = {"step_size_iterations": 2, "sampled_requests": 50, "updates_per_iteration": 3}


def test_features_of_position_and_of_context_are_there():
    named = [what.partition(":")[0] for what in FEATURES]
    assert len(POSITION) == 6 and len(CONTEXT) == 11
    assert all(named.count(what) == 1 for what in (*POSITION, *CONTEXT)) and not {*POSITION} & {*CONTEXT}


@pytest.mark.parametrize("start", ["zero", "learned"])
def test_what_is_hidden_stays_hidden_while_the_network_learns(start):
    setting = build_request_setting({"preset": "unequal-8", "requests": 200})
    state = Improvement(LADDispatchHyperparameters(latent_start=start, **SMALL))
    hide(state, POSITION)
    before = state.networks.packed()
    learn(setting, state.settings, state=state)
    hidden = torch.tensor([what.partition(":")[0] in POSITION for what in FEATURES])
    for networks in (state.networks, state.average):
        tokens = torch.randn(5, 8, NUM_FEATURES, generator=torch.Generator().manual_seed(0))
        other = torch.where(hidden, 7.0, tokens)
        share, starts = torch.full((5, 8), 1 / 8), torch.zeros(5, 8)
        with torch.no_grad():
            torch.testing.assert_close(networks(tokens, share, starts), networks(other, share, starts))
    assert np.abs(state.networks.packed() - before).max() > 0


def test_a_part_that_hides_nothing_learns_as_without_it():
    setting = build_request_setting({"preset": "unequal-8", "requests": 200})
    states = [Improvement(LADDispatchHyperparameters(**SMALL)) for _ in range(2)]
    hide(states[0], PARTS["as it is"].hidden)
    for state in states:
        learn(setting, state.settings, state=state)
    np.testing.assert_array_equal(*(state.average.packed() for state in states))


def test_a_plain_network_as_loud_as_the_chain_has_the_chains_gain():
    loud, chain = (Louder(**dict(PARTS[name].settings)) for name in ("plain network, as loud as the chain", "as it is"))
    gains = []
    for settings in (loud, chain):
        x = 0.0
        for keep, noise in settings.scales:
            x = keep * x - noise
        gains.append(abs(x))
    assert gains[0] == CHAIN_GAIN and abs(gains[1] - CHAIN_GAIN) < 0.1


def test_few_fleets_come_again_with_new_requests():
    fleets = Few(build_random_fleets({"preset": "any-fleet"}), 2, seed=0)
    rngs = [np.random.default_rng(index) for index in range(20)]
    settings = [fleets.of_episode(rng) for rng in rngs]
    assert len({id(setting) for setting in settings}) == 2
    drawn = [setting.draw(rng) for setting, rng in zip(settings, rngs, strict=True) if setting is settings[0]]
    assert drawn[0].arrival_s[1] != drawn[1].arrival_s[1]


def test_a_smoke_run_has_the_last_actor_beside_the_mean_one(tmp_path):
    assert main(["--smoke", "--output", str(tmp_path)]) == 0
    rows = pd.read_csv(tmp_path / "any_fleet_parts.csv")
    assert rows["part"].tolist() == ["as it is", LAST, "no context"]
    assert (rows[["mean", "p99", "decision_us", "trained_cpu_s"]] > 0).all(axis=None)
    assert main(["--smoke", "--resume", "--output", str(tmp_path)]) == 0
    assert len(pd.read_csv(tmp_path / "any_fleet_parts.csv")) == 3
    assert "| no context | 1 |" in (tmp_path / "any_fleet_parts.md").read_text()


def test_parts_are_compared_with_what_is_as_it_is_for_the_same_seed():
    means = {
        ("as it is", 0): (0.5, 2.0),
        ("as it is", 1): (0.8, 0.8),
        ("other", 0): (1.0, 1.0),
        ("other", 1): (0.4, 0.4),
    }
    rows = [
        {"part": part, "seed": seed, "fleet": fleet, "load": load, "mean": mean, "p99": 1.0, "decision_us": 20.0}
        for (part, seed), both in means.items()
        for fleet, (load, mean) in enumerate(zip((0.5, 1.2), both, strict=True))
    ]
    header, (first, other) = parts_of_any_fleet(pd.DataFrame(rows))
    assert first[:4] == ["as it is", "2", "0.900 ± 0.141", "1.000"]
    # 1 / 1 and 0.4 / 0.8
    assert dict(zip(header, other, strict=True)) == {
        "changed": "other",
        "seeds": "2",
        "mean": "0.700 ± 0.424",
        "over as it is": "0.750 ± 0.354",
        "mean, load below 0.9": "0.700 ± 0.424",
        "mean, load above": "0.700 ± 0.424",
        "worst fleet": "0.700 ± 0.424",
        "p99": "1.000",
        "decision, µs": "20",
    }


def test_every_part_has_settings_that_there_are():
    for part in PARTS.values():
        assert isinstance(part, Part) and Louder(**dict(part.settings)).scales.dtype == np.float32
