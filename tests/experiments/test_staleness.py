"""Worlds are played with weights as old as they are said to be, and the table has every case."""

import numpy as np
import pandas as pd
import torch

from experiments import staleness
from experiments.staleness import StalenessOptions, from_present, main, trained
from lad_rllib.algorithms.lad_dispatch import LADDispatchHyperparameters
from lad_rllib.algorithms.lad_dispatch.knowledge import knowledge
from lad_rllib.algorithms.lad_dispatch.training import Improvement, play_and_cost
from lad_rllib.simulator.requests import build_random_fleets, build_request_setting


def test_every_world_is_played_with_weights_of_as_many_iterations_before(monkeypatch):
    played, known = [], []

    def note(source, told, settings, weights, *args, **kwargs):
        played.append(weights)
        return play_and_cost(source, told, settings, weights, *args, **kwargs)

    def step_on(self, *tables):
        known.append(self.networks.packed())
        return step(self, *tables)

    step = Improvement.step_on
    monkeypatch.setattr(staleness, "play_and_cost", note)
    monkeypatch.setattr(Improvement, "step_on", step_on)
    fleets = build_random_fleets({"preset": "any-fleet", "fleets": {"servers": [2, 3], "requests": [60, 60]}})
    options = StalenessOptions(iterations=5, worlds=1)
    list(trained(options, fleets, staleness=2, steps_from="present", seed=0))
    np.testing.assert_array_equal(played, [known[0], known[0], known[0], known[1], known[2]])


def test_with_the_weights_that_played_it_stepping_from_the_present_changes_nothing():
    settings = LADDispatchHyperparameters()
    state = Improvement(settings)
    with torch.no_grad():
        state.networks.weights.add_(0.05)
    source = build_request_setting(
        {"servers": [1.0, 0.5], "requests": 200, "traffic": {"kind": "poisson", "load": 0.9}}
    )
    told, rng = knowledge(source.world, source.history()), np.random.default_rng(0)
    table = play_and_cost(source, told, settings, state.networks.packed(), rng, sampled=50).table
    np.testing.assert_allclose(from_present(state, table).logits, table.logits, rtol=1e-4, atol=1e-4)


def test_the_smoke_run_writes_a_row_for_each_case(tmp_path, capsys):
    assert main(["--smoke", "--output", str(tmp_path)]) == 0
    rows = pd.read_csv(tmp_path / "staleness.csv")
    assert list(zip(rows["staleness"], rows["steps_from"], strict=True)) == [
        (0, "present"),
        (1, "present"),
        (1, "played"),
    ]
    assert np.isfinite(rows["score"]).all() and "1 iterations" in (tmp_path / "staleness.md").read_text()
