"""Several settings to learn on at once."""

import numpy as np

from lad_rllib.simulator.requests import SettingsInTurn


def test_settings_have_their_turns():
    settings, rng = SettingsInTurn(["a", "b"], 2), np.random.default_rng(0)
    assert [settings.of_episode(rng) for _ in range(6)] == ["a", "a", "b", "b", "a", "a"]
