"""Settings of requests on the command line."""

import pytest

from lad_rllib.envs.episodes import read_any_setting
from lad_rllib.errors import ConfigurationError
from lad_rllib.runs.configuration import part_of_log, setting_spec
from lad_rllib.runs.options import SettingOptions
from lad_rllib.simulator import sample_trace_path


def setting(**options):
    return read_any_setting(setting_spec(SettingOptions(**options)))


def test_a_load_and_a_kind_of_traffic_are_given_on_the_command_line():
    assert setting(setting="unequal-8", load=0.9).load == pytest.approx(0.9)
    assert setting(setting="unequal-8", arrivals="bursty").spec["traffic"]["kind"] == "bursty"


def test_a_log_and_its_part_are_given_on_the_command_line():
    log = setting(setting="gentd26", arrivals=str(sample_trace_path()))
    assert log.spec["traffic"]["path"] == str(sample_trace_path())
    with pytest.raises(ConfigurationError, match="an episode has 400 requests, part 0.7..1 of the log only 160"):
        part_of_log(None, log, (0.7, 1.0))
    with pytest.raises(ConfigurationError, match="--part has no effect on setting unequal-8"):
        part_of_log([0.0, 0.5], setting(setting="unequal-8"), (0.7, 1.0))


def test_an_option_of_slots_is_refused_in_one_line():
    with pytest.raises(ConfigurationError, match="--slots has no effect on setting unequal-8"):
        setting(setting="unequal-8", slots=9)
