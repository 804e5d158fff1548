"""Profiles of devices: where their numbers come from, and what is refused."""

import pytest

from lad_rllib.edge import DeviceProfile, get_profile, load_profiles
from lad_rllib.edge.fit import ImageKind, delay_line
from lad_rllib.errors import ConfigurationError

GOOD = "box: {overhead_s: 1, per_step_s: 0.5, origin: measured, source: my lab}\n"


def test_every_shipped_profile_says_where_its_numbers_come_from():
    profiles = load_profiles()
    assert {"jetson-xavier-nx", "jetson-orin-nx", "jetson-agx-orin", "rtx-4090", "a100", "h100"} <= set(profiles)
    for profile in profiles.values():
        assert profile.origin in ("measured", "assumption") and len(profile.source) > 20


def test_the_assumed_profiles_follow_the_rule_in_the_files_head():
    peak_tflops = {"jetson-xavier-nx": 6, "jetson-orin-nx": 15, "rtx-4090": 165, "a100": 312, "h100": 989}
    for name, peak in peak_tflops.items():
        per_step_s = 10 / (0.4 * peak)
        assert get_profile(name).per_step_s == pytest.approx(per_step_s, rel=0.03)
        assert get_profile(name).overhead_s == pytest.approx(0.05 + 3 * per_step_s, rel=0.03)


def test_an_own_file_of_profiles_is_read(tmp_path):
    (tmp_path / "own.yaml").write_text(GOOD)
    profile = get_profile("box", tmp_path / "own.yaml")
    assert (profile.overhead_s, profile.per_step_s, profile.jitter) == (1, 0.5, 0.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD.replace("overhead_s", "overhead"), "own.yaml: unknown key 'box.overhead'; did you mean 'overhead_s'"),
        (GOOD.replace("per_step_s: 0.5, ", ""), "box.per_step_s is missing"),
        (GOOD.replace("0.5", "0"), "box.per_step_s must be a number above 0"),
        (GOOD.replace("0.5", ".nan"), "per_step_s must be a number"),
        (GOOD.replace("1,", "-1,"), r"overhead_s must be a number of at least 0 and of at most 1e\+06, got -1"),
        (GOOD.replace("0.5", "1e300"), r"per_step_s must be a number above 0 and of at most 1e\+06, got 1e\+300"),
        (GOOD.replace("0.5", "1" + "0" * 400), r"per_step_s must be a number above 0 and of at most 1e\+06, got 1000"),
        (
            GOOD.replace("source", "result_mbit: 1e12, source"),
            "result_mbit must be a number of at least 0 and of at most 80000",
        ),
        (
            GOOD.replace("source", "width: 1000000, source"),
            "width must be a whole number of at least 8 and of at most 16384 and a multiple of 8",
        ),
        (GOOD.replace("1,", "'1',"), "overhead_s must be a number .*leave the quotes out"),
        (GOOD.replace("measured", "guess"), "origin must be one of"),
        (GOOD.replace("my lab", "''"), "source must be a non-empty text"),
        (GOOD.replace("source", "width: 100, source"), "width must be a whole number .* a multiple of 8"),
        ("box: 3\n", "device number 1 must be a name and a group"),
        (f"{GOOD}3: {{}}\n", "device number 2 must be a name and a group"),
        ("", "must map names"),
        ("a: [", "cannot read profiles"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(tmp_path, text, message):
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=message) as caught:
        load_profiles(tmp_path / "own.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["hunter2", "hunter2: x\n", "key: hunter2\n", "- hunter2\n", "hunter2: [\n", "[hunter2"]
)
def test_an_error_shows_nothing_of_a_file_that_holds_no_profiles(tmp_path, text):
    (tmp_path / "secret").write_text(text)
    with pytest.raises(ConfigurationError, match="secret") as caught:
        load_profiles(tmp_path / "secret")
    assert "hunter2" not in str(caught.value)


def test_a_missing_file_and_an_unknown_name_are_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot read"):
        load_profiles(tmp_path / "none.yaml")
    with pytest.raises(ConfigurationError, match="no profile 'h200'; known: .*h100"):
        get_profile("h200")


def test_a_profile_can_be_made_in_code():
    box = DeviceProfile(name="box", overhead_s=1.0, per_step_s=0.5, origin="assumption", source="for a test")
    assert delay_line(box.service, ImageKind(512, 512)).predict_s(2) == 2.0
