"""A fleet's measured delays in the simulator's units."""

import numpy as np
import pytest

from lad_rllib.edge import DelayFit
from lad_rllib.errors import ConfigurationError
from lad_rllib.service import fit_fleet
from lad_rllib.simulator import delays


def test_servers_with_the_same_overhead_in_steps_are_described_exactly():
    fits = [DelayFit(3 * per_step, per_step) for per_step in (0.05, 0.2, 1.7)]
    work, capacity = fit_fleet(fits)
    for steps in (1, 7, 40):
        predicted = delays.computing_delay_s(work.workload_gcycles(steps), capacity)
        assert predicted == pytest.approx([fit.predict_s(steps) for fit in fits])


def test_unequal_overheads_agree_at_the_typical_steps_and_nearly_around_them():
    fits = [DelayFit(0.5, 0.15), DelayFit(1.85, 0.6), DelayFit(0.1, 0.05)]
    work, capacity = fit_fleet(fits, typical_steps=14.0)
    assert work.workload_gcycles(14.0) / capacity == pytest.approx([fit.predict_s(14) for fit in fits])
    for steps in (10, 19):  # the paper's prototype asks for 10 to 19
        errors = work.workload_gcycles(steps) / capacity / [fit.predict_s(steps) for fit in fits] - 1
        assert np.abs(errors).max() < 0.04


def test_a_server_without_a_time_per_step_is_named():
    with pytest.raises(ConfigurationError, match="server 1 was measured with -0.1 s per step"):
        fit_fleet([DelayFit(1, 1), DelayFit(1, -0.1)])
