"""The embedded model draws what its card says, the same for the same seed, and better with more steps."""

import colorsys
import configparser
import fnmatch
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lad_rllib.edge.embedded import embedded_model_path

ROOT = Path(__file__).parents[2]
# Degrees on the colour circle, by the names' usual meaning.
HUES_DEG = {"red": 0, "yellow": 60, "green": 120, "cyan": 180, "blue": 240, "magenta": 300}


@pytest.fixture(scope="module")
def pipeline():
    """The pipeline as a user loads it: nothing but the folder is given, and no network is used."""
    from diffusers import StableDiffusion3Pipeline

    looked_up = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("socket.getaddrinfo", lambda host, *_, **__: looked_up.append(host) or [])
        loaded = StableDiffusion3Pipeline.from_pretrained(embedded_model_path(), text_encoder_3=None, tokenizer_3=None)
    assert looked_up == []
    loaded.set_progress_bar_config(disable=True)
    return loaded


def drawn(pipeline, prompts, steps=8, seed=0, guidance=2.0):
    """Pictures (N, 32, 32, 3) in [0, 1]."""
    return pipeline(
        prompts,
        num_inference_steps=steps,
        sigmas=np.linspace(1, 1 / steps, steps),
        guidance_scale=guidance,
        max_sequence_length=0,
        generator=[torch.Generator().manual_seed(seed + n) for n in range(len(prompts))],
        output_type="np",
    ).images


def ink_colour(picture):
    """Mean red, green, blue of the pixels that are brighter than half of the brightest."""
    brightness = picture.max(axis=-1)
    return picture[brightness > brightness.max() / 2].mean(axis=0)


def test_all_parts_load_in_single_precision(pipeline):
    parts = (pipeline.transformer, pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2)
    assert {part.dtype for part in parts} == {torch.float32}


def test_weights_are_stored_in_half_precision_and_the_folder_is_below_two_megabytes():
    from safetensors.torch import load_file

    folder = embedded_model_path()
    weights = [tensor for file in folder.rglob("*.safetensors") for tensor in load_file(file).values()]
    assert weights and {tensor.dtype for tensor in weights if tensor.is_floating_point()} == {torch.float16}
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < 2_000_000
    assert (folder / "samples.png").stat().st_size < 100_000


def test_the_same_seed_gives_the_same_picture_to_the_last_bit_and_another_seed_another(pipeline):
    first, again, other = (drawn(pipeline, ["a red seven"], seed=seed) for seed in (3, 3, 4))
    assert first.shape == (1, 32, 32, 3)
    assert np.array_equal(first, again)
    assert np.abs(first - other).max() > 0.1


@pytest.mark.parametrize("wording", ["a handwritten {} {}", "lovely {} {}, sketched by grandma", "Paint the {1} {0}!"])
def test_the_ink_has_the_colour_that_was_asked_for(pipeline, wording):
    words = ("zero", "three", "5", "eight", "two", "7")
    pictures = drawn(pipeline, [wording.format(*asked) for asked in zip(HUES_DEG, words, strict=True)])
    for (name, hue_deg), picture in zip(HUES_DEG.items(), pictures, strict=True):
        hue, saturation, _ = colorsys.rgb_to_hsv(*ink_colour(picture))
        assert abs((360 * hue - hue_deg + 180) % 360 - 180) < 20, name
        assert saturation > 0.5, name


@pytest.mark.parametrize("prompt", ["a white four", "the number four"])
def test_ink_is_white_when_white_or_no_colour_is_asked_for(pipeline, prompt):
    assert np.ptp(ink_colour(drawn(pipeline, [prompt])[0])) < 0.15


def test_digits_differ_from_one_another_and_agree_among_seeds(pipeline):
    """A zero is hollow and a one is not, whatever the seed."""
    middle = {
        word: drawn(pipeline, [f"a white {word}"] * 8).max(axis=-1)[:, 13:19, 14:18].mean(axis=(1, 2))
        for word in ("zero", "one")
    }
    assert middle["zero"].max() < middle["one"].min()


def test_more_steps_come_closer_to_the_picture_of_a_hundred_steps(pipeline):
    prompts = ["a red seven", "a handwritten blue three", "the number 8 in green", "magenta zero"]
    reference = drawn(pipeline, prompts, steps=100)
    psnr_db = [-10 * np.log10(np.square(drawn(pipeline, prompts, steps) - reference).mean()) for steps in (1, 4, 15)]
    assert psnr_db[0] + 3 < psnr_db[1] < psnr_db[2] - 3


def test_the_folder_is_package_data_of_the_wheel():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    patterns = setup["options.package_data"]["lad_rllib.edge"].replace(",", "\n").split()
    files = [
        f.relative_to(embedded_model_path().parent).as_posix() for f in embedded_model_path().rglob("*") if f.is_file()
    ]
    assert "embedded_model/model_index.json" in files
    depths = {pattern: pattern.count("/") for pattern in patterns}  # "*" of package data stays within one folder
    assert [
        name for name in files if not any(fnmatch.fnmatch(name, p) and depths[p] == name.count("/") for p in patterns)
    ] == []


def test_nothing_in_the_folder_names_a_place_on_the_machine_that_made_it():
    for file in embedded_model_path().rglob("*.json"):
        text = file.read_text(encoding="utf-8")
        assert "_name_or_path" not in json.loads(text), file
        assert "/root" not in text and "/tmp" not in text and "/home" not in text, file
