"""The delay model of a server."""

import numpy as np
import pytest

from lad_rllib.edge import DelayFit, DelayModel, fit_delay


def test_a_known_line_with_noise_is_recovered_with_its_residuals():
    steps = np.random.default_rng(0).integers(1, 50, 400)
    seconds = 0.7 + 0.05 * steps + np.random.default_rng(1).normal(0, 0.02, 400)
    fit = fit_delay(steps, seconds)
    assert fit.overhead_s == pytest.approx(0.7, abs=0.01)  # some five standard errors
    assert fit.per_step_s == pytest.approx(0.05, abs=4e-4)
    assert fit.residual_sd_s == pytest.approx(0.02, rel=0.1)
    assert fit.max_residual_s > 2 * fit.residual_sd_s
    assert fit.origin == "fitted" and fit.num_points == 400


@pytest.mark.parametrize("steps", [[], [4], [1, 1, 2, 2]])
def test_fewer_than_three_step_counts_are_refused(steps):
    with pytest.raises(ValueError, match="at least 3"):
        fit_delay(steps, [1.0] * len(steps))


def test_a_model_uses_its_profile_until_it_has_measured_a_line():
    model = DelayModel(DelayFit(1.0, 0.5))
    model.add((64, 64), 1, 0.3)
    model.add((64, 64), 2, 0.4)
    assert model.fit((64, 64)) == DelayFit(1.0, 0.5)
    model.add((64, 64), 3, 0.5)
    assert model.fit((64, 64)).predict_s(10) == pytest.approx(1.2)
    assert model.fit((32, 32)) == DelayFit(1.0, 0.5)


def test_without_a_profile_the_first_image_gives_a_proportional_guess():
    model = DelayModel()
    assert model.fit((64, 64)) is None
    model.add((64, 64), 4, 2.0)
    assert model.fit((64, 64)).predict_s(8) == 4.0
    assert model.fit((64, 64)).origin == "proportional"
    assert model.fit((8, 8)).predict_s(2) == 1.0  # better than nothing


def test_a_server_that_becomes_slower_is_noticed_within_its_window():
    model = DelayModel(window=12)
    for speed in (1.0, 3.0):
        for _ in range(4):
            for steps in (1, 2, 4):
                model.add((64, 64), steps, speed * (1 + steps))
    assert model.fit((64, 64)).per_step_s == pytest.approx(3.0)


def test_noise_that_hides_the_steps_does_not_replace_what_was_known():
    model = DelayModel(DelayFit(1.0, 0.5))
    for steps, seconds in ((1, 9.0), (2, 5.0), (3, 1.0)):
        model.add((64, 64), steps, seconds)
    assert model.fit((64, 64)) == DelayFit(1.0, 0.5)
