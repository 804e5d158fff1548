"""Losses of a delay: their slopes by finite differences, their values by hand, and what is refused."""

import numpy as np
import pytest

from lad_rllib.errors import ConfigurationError
from lad_rllib.simulator.penalties import (
    PENALTIES,
    DeadlineMiss,
    DelayPenalty,
    Lateness,
    MeanDelay,
    Tail,
    make_penalty,
    parse_penalty,
)

EXAMPLES = [
    MeanDelay(),
    Tail(threshold_s=3.0, strength=2.0),
    Lateness(deadline_s=3.0),
    DeadlineMiss(deadline_s=3.0, width_s=0.7),
]


@pytest.mark.parametrize("penalty", EXAMPLES, ids=lambda p: type(p).__name__)
def test_the_slope_is_the_derivative_of_the_value(penalty):
    assert isinstance(penalty, DelayPenalty)
    delay_s = np.linspace(0.013, 9.0, 200).reshape(4, 50)  # does not meet the corner at 3
    step = 1e-6
    difference = (penalty.value(delay_s + step) - penalty.value(delay_s - step)) / (2 * step)
    np.testing.assert_allclose(penalty.slope(delay_s), difference, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("penalty", EXAMPLES, ids=lambda p: type(p).__name__)
def test_a_longer_delay_never_costs_less(penalty):
    assert (np.diff(penalty.value(np.linspace(0, 100, 1001))) >= 0).all()


def test_with_a_narrow_width_missed_deadlines_are_counted():
    delay_s = np.random.default_rng(0).uniform(0, 10, 1000)
    missed = DeadlineMiss(deadline_s=4.0, width_s=1e-4).value(delay_s).sum()
    assert missed == pytest.approx((delay_s > 4.0).sum(), abs=0.1)


def test_every_loss_is_built_by_its_name():
    built = [
        make_penalty("mean"),
        make_penalty("tail", threshold_s=3.0, strength=2.0),
        make_penalty("lateness", deadline_s=3.0),
        make_penalty("deadline-miss", deadline_s=3.0, width_s=0.7),
    ]
    assert built == EXAMPLES and [type(p) for p in built] == [PENALTIES[name] for name in PENALTIES]


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("median", {}, "unknown penalty 'median'; choose from mean, tail, lateness, deadline-miss"),
        ("tail", {}, "penalty.threshold_s is missing"),
        ("mean", {"strength": 1.0}, "unknown key 'penalty.strength'; valid: none"),
        ("tail", {"threshold_s": -1.0}, "penalty.threshold_s must be a number of at least 0, got -1.0"),
        ("lateness", {"deadline_s": float("nan")}, "penalty.deadline_s must be a number of at least 0, got nan"),
        ("deadline-miss", {"deadline_s": 1.0, "width_s": 0}, "penalty.width_s must be a number above 0, got 0"),
        (
            "lateness",
            {"deadline_s": "1"},
            "penalty.deadline_s must be a number of at least 0, got '1'; leave the quotes out",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(name, values, message):
    with pytest.raises(ConfigurationError) as error:
        make_penalty(name, **values)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("median", "unknown penalty 'median'; choose from mean, tail, lateness, deadline-miss"),
        ("tail", "penalty.threshold_s is missing"),
        ("tail:threshold_s=-1", "penalty.threshold_s must be a number of at least 0, got -1.0"),
        ("tail:treshold_s=1", "unknown key 'penalty.treshold_s'; did you mean 'threshold_s'?"),
        ("tail:threshold_s", "penalty must be name or name:field=number,..., got 'tail:threshold_s'"),
        ("tail:threshold_s=long", "penalty must be name or name:field=number,..., got 'tail:threshold_s=long'"),
    ],
)
def test_a_penalty_of_a_command_line_is_its_name_and_fields(text, message):
    assert parse_penalty("mean") == {"name": "mean"}
    told = parse_penalty("deadline-miss:deadline_s=5,width_s=.1")
    assert told == {"name": "deadline-miss", "deadline_s": 5, "width_s": 0.1}
    with pytest.raises(ConfigurationError) as error:
        parse_penalty(text)
    assert str(error.value) == message
