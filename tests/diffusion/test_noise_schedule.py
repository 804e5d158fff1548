"""The noise schedule against its closed form, and the reverse step's coefficients against the formulas."""

import math

import numpy as np
import pytest

from lad_rllib.diffusion import reverse_steps


@pytest.mark.parametrize(("num_steps", "beta_min", "beta_max"), [(1, 0.1, 10.0), (5, 0.1, 10.0), (12, 0.3, 4.0)])
def test_the_signal_left_after_step_i_has_its_closed_form(num_steps, beta_min, beta_max):
    # The rates are a midpoint rule on beta_min + (beta_max - beta_min) * s, exact on a straight line.
    for step in reverse_steps(num_steps, beta_min, beta_max):
        s = step.index / num_steps
        assert step.alpha_bar == pytest.approx(math.exp(-beta_min * s - (beta_max - beta_min) * s**2 / 2), rel=1e-12)


def test_steps_are_taken_from_the_last_to_the_first():
    assert [step.index for step in reverse_steps(4)] == [4, 3, 2, 1]


@pytest.mark.parametrize("num_steps", [1, 2, 5, 9])
def test_a_reverse_step_is_the_posterior_mean_and_spread_written_out(num_steps):
    i = np.arange(1, num_steps + 1)
    beta = 1 - np.exp(-0.1 / num_steps - (10.0 - 0.1) * (2 * i - 1) / (2 * num_steps**2))
    alpha_bar = np.cumprod(1 - beta)
    before = np.concatenate([[1.0], alpha_bar[:-1]])
    c1 = beta * np.sqrt(before) / (1 - alpha_bar)
    c2 = (1 - before) * np.sqrt(1 - beta) / (1 - alpha_bar)
    spread = np.sqrt(beta * (1 - before) / (1 - alpha_bar))
    x, eps, noise = 0.7, -1.3, 0.4
    clean = x / np.sqrt(alpha_bar) - np.sqrt(1 / alpha_bar - 1) * eps
    expected = c1 * clean + c2 * x + np.where(i > 1, spread * noise, 0.0)
    for step in reverse_steps(num_steps):
        result = step.x_scale * x - step.noise_prediction_scale * eps + step.fresh_noise_scale * noise
        assert step.beta == pytest.approx(beta[step.index - 1], rel=1e-12)
        assert result == pytest.approx(expected[step.index - 1], rel=1e-9)
        estimate = step.clean_x_scale * x - step.clean_noise_scale * eps
        in_two_parts = step.mean_clean_scale * estimate + step.mean_x_scale * x + step.fresh_noise_scale * noise
        assert estimate == pytest.approx(clean[step.index - 1], rel=1e-9)
        assert in_two_parts == pytest.approx(result, rel=1e-9)


def test_a_chain_that_is_told_the_true_noise_ends_at_the_clean_signal():
    clean = 0.3
    x = 2.0
    for step in reverse_steps(5):
        eps = (x - math.sqrt(step.alpha_bar) * clean) / math.sqrt(1 - step.alpha_bar)
        x = step.x_scale * x - step.noise_prediction_scale * eps
    assert x == pytest.approx(clean, abs=1e-12)


def test_a_chain_without_a_denoiser_grows_its_start_by_the_inverse_root_of_the_signal_left():
    growth = math.prod(step.x_scale for step in reverse_steps(5))
    assert growth == pytest.approx(math.exp((0.1 + 10.0) / 4), rel=1e-12)  # 12.5: what is remembered must be bounded


@pytest.mark.parametrize("arguments", [(0,), (5, 0.0, 1.0), (5, 2.0, 1.0), (5, -1.0, 1.0)])
def test_values_that_make_no_schedule_are_refused(arguments):
    with pytest.raises(ValueError, match="need"):
        reverse_steps(*arguments)
