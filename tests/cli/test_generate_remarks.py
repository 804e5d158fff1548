"""``lad-rllib generate`` on a real pipeline says which images are there and yet not what was asked for."""

import pandas as pd
import pytest

from lad_rllib.cli import main
from lad_rllib.edge import DiffusersEngine
from tests.cli.fleet_files import written
from tests.edge.tiny_pipeline import make_tiny_unet_pipeline


@pytest.fixture
def pipelines_take_no_width(monkeypatch):
    """Every pipeline is taken for one without that argument."""

    def load(engine, load=DiffusersEngine.load):
        load(engine)
        engine.current.facts.accepted -= {"width"}

    monkeypatch.setattr(DiffusersEngine, "load", load)


def test_cut_prompts_blanked_images_and_ignored_settings_are_said_and_stand_in_the_table(
    pipelines_take_no_width, tmp_path, capsys
):
    make_tiny_unet_pipeline(tmp_path / "model", blanks_all=True)
    server = {"name": "one", "kind": "diffusers", "device": "cpu", "model": "./model"}
    fleet = written(tmp_path / "own.yaml", {"servers": [server]})
    (tmp_path / "prompts.txt").write_text(" ".join("a" * 80) + "\na cat\n")
    arguments = ["--in-process", "--steps", "3", "5", "--size", "16", "16", "--prompts", str(tmp_path / "prompts.txt")]
    assert main(["generate", "--fleet", fleet, *arguments, "--output", str(tmp_path / "images")]) == 0
    table = pd.read_csv(tmp_path / "images" / "deliveries.csv").sort_values("seed")
    assert table["prompt_tokens_cut"].tolist() == [5, 0] and table["prompt_cut_by"].tolist()[0] == "text_encoder"
    assert table["safety_check"].tolist() == ["blanked", "blanked"]
    assert table["settings_ignored"].tolist() == ["width", "width"]
    assert (table["denoiser_calls"] == 2 * table["steps_asked"] - 1).all()  # a schedule of second order
    out = capsys.readouterr().out
    assert "1 prompts were cut" in out and "2 images are blank" in out and "2 images were made without" in out
