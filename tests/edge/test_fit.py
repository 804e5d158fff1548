"""The delay model of a server."""

import numpy as np
import pytest

from lad_rllib.edge import DelayModel, fit_delay
from lad_rllib.edge.fit import MAX_KINDS, ImageKind
from lad_rllib.simulator.requests import LinearService


def test_a_known_line_with_noise_is_recovered_with_its_residuals():
    steps = np.random.default_rng(0).integers(1, 50, 400)
    seconds = 0.7 + 0.05 * steps + np.random.default_rng(1).normal(0, 0.02, 400)
    fit = fit_delay(steps, seconds)
    assert fit.overhead_s == pytest.approx(0.7, abs=0.01)  # some five standard errors
    assert fit.per_step_s == pytest.approx(0.05, abs=4e-4)
    assert fit.residual_sd_s == pytest.approx(0.02, rel=0.1)
    assert fit.max_residual_s > 2 * fit.residual_sd_s
    assert fit.origin == "fitted" and fit.num_points == 400


PLAIN = ImageKind(512, 512, guided=False)
WIDE = ImageKind(1024, 512, guided=False)
PROFILE = LinearService(overhead_s=1.0, per_step_s=0.5)


@pytest.mark.parametrize("steps", [[], [4], [1, 1, 2, 2]])
def test_fewer_than_three_step_counts_are_refused(steps):
    with pytest.raises(ValueError, match="at least 3"):
        fit_delay(steps, [1.0] * len(steps))


def test_a_model_uses_its_profile_until_it_has_measured_a_line():
    model = DelayModel(PROFILE)
    model.add(PLAIN, 1, 0.3)
    model.add(PLAIN, 2, 0.4)
    assert model.fit(PLAIN).predict_s(4) == 3.0
    model.add(PLAIN, 3, 0.5)
    assert model.fit(PLAIN).predict_s(10) == pytest.approx(1.2)
    assert model.fit(WIDE).predict_s(4) == 5.0  # the profile's


def test_without_a_profile_the_first_image_gives_a_proportional_guess():
    model = DelayModel()
    assert model.fit(PLAIN) is None
    model.add(PLAIN, 4, 2.0)
    assert model.fit(PLAIN).predict_s(8) == 4.0
    assert model.fit(PLAIN).origin == "proportional"
    assert model.fit(WIDE).predict_s(2) == 2.0  # better than nothing


def test_a_kind_without_a_line_takes_that_of_its_model_as_times_grow_and_then_as_its_images_say():
    model = DelayModel()
    other = ImageKind(512, 512, model="other", guided=False)
    for steps in (1, 2, 4):
        model.add(PLAIN, steps, 1.0 + steps)
        model.add(other, steps, 100.0 * steps)
    two, guided = ImageKind(512, 512, guided=False, images=2), ImageKind(512, 512)
    assert [model.fit(kind).predict_s(3) for kind in (WIDE, guided, two)] == pytest.approx([7.0, 7.0, 8.0])
    model.add(WIDE, 3, 5.6)  # 0.8 of what was expected
    fit = model.fit(WIDE)
    assert fit.origin == "scaled" and fit.predict_s(3) == pytest.approx(5.6) and fit.predict_s(8) == pytest.approx(13.6)
    assert model.fit(ImageKind(512, 512, model="other")).predict_s(3) == pytest.approx(600.0)


def test_a_server_that_becomes_slower_is_noticed_within_its_window():
    model = DelayModel(window=12)
    for speed in (1.0, 3.0):
        for _ in range(4):
            for steps in (1, 2, 4):
                model.add(PLAIN, steps, speed * (1 + steps))
    assert model.fit(PLAIN).per_step_s == pytest.approx(3.0)


def test_noise_that_hides_the_steps_does_not_replace_what_was_known():
    model = DelayModel(PROFILE)
    for steps, seconds in ((1, 9.0), (2, 5.0), (3, 1.0)):
        model.add(PLAIN, steps, seconds)
    assert model.fit(PLAIN).predict_s(4) == 3.0


def test_of_many_kinds_those_served_last_are_remembered():
    model = DelayModel()
    for side in (*range(8, 8 * MAX_KINDS + 8, 8), 8, 4096):
        for steps in (1, 2, 3):
            model.add(ImageKind(side, side), steps, float(side * steps))
    assert [model.fit(ImageKind(side, side)).origin for side in (8, 16, 24)] == ["fitted", "scaled", "fitted"]
    assert model.fit(ImageKind(16, 16)).per_step_s == pytest.approx(4096 / 256**2)  # from 4096 x 4096, by pixels
