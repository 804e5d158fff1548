"""Training and measuring the embedded model: closed forms of the measures, and smoke tests of the script."""

import math
from collections import Counter
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest
import torch

from experiments import embedded_model
from experiments.embedded import training
from experiments.embedded.pictures import COLOURS, load_digits
from experiments.embedded.pipeline import learn_merges, make_autoencoder
from experiments.embedded.prompts import DIGITS, random_prompt, training_words
from experiments.embedded.quality import NEW_WORDING, Reader, all_kinds, frechet_distance, psnr_db

needs_digits = pytest.mark.skipif(find_spec("sklearn") is None, reason="scikit-learn is not installed")


def words_of(prompt):
    return [word.strip(".,!").lower() for word in prompt.format(digit="seven", colour="red").split()]


def test_every_prompt_asks_for_its_digit_and_colour_and_for_no_other():
    rng = np.random.default_rng(0)
    for _ in range(30):
        for digit in range(10):
            for colour in COLOURS:
                words = words_of(random_prompt(digit, colour, rng))
                asked = [word for word in words if word in DIGITS or word in set("0123456789")]
                assert asked in ([DIGITS[digit]], [str(digit)])
                assert [word for word in words if word in COLOURS] in ([colour], [] if colour == "white" else [colour])


@pytest.mark.parametrize("wording", NEW_WORDING)
def test_new_wording_has_at_least_two_words_that_training_has_not(wording):
    assert len(set(words_of(wording)) - training_words()) >= 2


def test_seventy_prompts_ask_for_every_digit_in_every_colour():
    prompts, digits, colours = all_kinds(("{colour} {digit}",), 70)
    assert len(set(prompts)) == 70
    assert prompts[23] == "green three" and (int(digits[23]), int(colours[23])) == (3, list(COLOURS).index("green"))


def test_merges_join_the_most_frequent_pair_first_and_the_last_by_spelling_among_equals():
    words = Counter({"red": 30, "bed": 20, "rare": 9})  # the last is too rare to count
    assert learn_merges(words, 3) == [("e", "d</w>"), ("r", "ed</w>"), ("b", "ed</w>")]
    assert learn_merges(Counter({"ab": 10, "cd": 10}), 1) == [("c", "d</w>")]


def test_frechet_distance_has_its_closed_form_for_shifted_and_scaled_pictures():
    """For commuting covariances: |m1 - m2|^2 + tr (C1^(1/2) - C2^(1/2))^2."""
    pictures = torch.rand(300, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    features = torch.nn.functional.avg_pool2d(pictures, 4).flatten(1).double()
    trace, mean = float(features.var(dim=0).sum()), features.mean(dim=0)
    assert frechet_distance(pictures, pictures) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(pictures, pictures + 0.1) == pytest.approx(8 * 8 * 3 * 0.1**2, rel=1e-4)
    assert frechet_distance(pictures, 3 * pictures) == pytest.approx(4 * trace + 4 * float(mean @ mean), rel=1e-4)


def test_psnr_of_a_tenth_off_everywhere_is_twenty_decibels():
    assert psnr_db(torch.full((2, 3, 4, 4), 0.6), torch.full((2, 3, 4, 4), 0.5)) == pytest.approx(20, abs=1e-3)


def test_the_reader_names_the_colour_of_pale_ink():
    pictures = 0.6 * torch.tensor(list(COLOURS.values()))[:, :, None, None].expand(-1, 3, 32, 32)
    assert Reader.colours(pictures).tolist() == list(range(len(COLOURS)))


def test_the_autoencoder_keeps_the_mean_of_a_flat_picture_but_for_its_contrast():
    autoencoder = make_autoencoder()
    grey = torch.zeros(1, 3, 32, 32)
    latents = autoencoder.encode(grey).latents
    assert latents.abs().max() < 1e-6
    assert autoencoder.decode(latents).sample.abs().max() < 1e-6
    edges = torch.full((1, 3, 32, 32), -1.0)
    assert autoencoder.decode(autoencoder.encode(edges).latents).sample[..., 4:-4, 4:-4].max() < -0.98


@needs_digits
def test_smoke_training_twice_gives_the_same_files_and_another_seed_others(tmp_path):
    weights = {}
    for name, seed in {"first": "1", "again": "1", "other": "2"}.items():
        arguments = ["train", "--smoke", "--seed", seed, "--output", str(tmp_path / name)]
        assert embedded_model.main(arguments) == 0
        files = sorted(file for file in (tmp_path / name).rglob("*") if file.is_file())
        weights[name] = {str(file.relative_to(tmp_path / name)): file.read_bytes() for file in files}
    assert weights["first"] == weights["again"]
    assert weights["first"].keys() == weights["other"].keys() and weights["first"] != weights["other"]


@needs_digits
def test_training_that_was_interrupted_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "STATE_EVERY", 2)
    settings = training.TrainingSettings(seed=1, iterations=5, batch_size=8, prompts_per_kind=4)
    state = tmp_path / "state.pt"

    def stop(iteration, loss):
        if iteration == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.train(settings, load_digits()[0], stop, state)
    with pytest.raises(ValueError, match="is of other settings"):
        training.train(replace(settings, seed=2), load_digits()[0], state=state)
    begun = []
    resumed = training.train(settings, load_digits()[0], lambda iteration, loss: begun.append(iteration), state)
    whole = training.train(settings, load_digits()[0])
    assert begun == [3, 4, 5] and not state.exists()
    for key, value in whole.transformer.state_dict().items():
        assert torch.equal(value, resumed.transformer.state_dict()[key])


@needs_digits
@pytest.mark.cluster
def test_on_a_cluster_the_model_comes_back_by_way_of_storage(ray_cluster, tmp_path):
    shared = ["--storage-path", str(tmp_path / "shared"), "--wait-nodes", "1"]
    assert embedded_model.main(["train", "--smoke", *shared, "--output", str(tmp_path / "model")]) == 0
    assert (tmp_path / "model" / "model_index.json").exists()
    assert embedded_model.main(["train", "--smoke", "--wait-nodes", "1", "--output", str(tmp_path / "other")]) == 2


@pytest.mark.extended
@needs_digits
def test_smoke_evaluation_writes_a_tidy_table_and_a_picture(tmp_path):
    table, samples = tmp_path / "embedded_model_quality.csv", tmp_path / "samples.png"
    assert embedded_model.main(["evaluate", "--smoke", "--output", str(tmp_path)]) == 0
    rows = pd.read_csv(table)
    assert rows["pictures"].tolist() == ["held-out digits", "generated", "generated"]
    assert rows["denoising_steps"].tolist()[1:] == [1, 2]
    assert rows["psnr_to_100_steps_db"][2] > rows["psnr_to_100_steps_db"][1] > 0
    assert all(math.isfinite(distance) and distance > 0 for distance in rows["frechet_distance"])
    assert samples.stat().st_size < 100_000
    assert embedded_model.main(["evaluate", "--smoke", "--resume", "--output", str(tmp_path)]) == 0
    assert pd.read_csv(table).equals(rows)


@needs_digits
def test_a_model_that_is_there_is_not_replaced_unasked(tmp_path, capsys):
    (tmp_path / "model_index.json").write_text("{}")
    assert embedded_model.main(["train", "--smoke", "--output", str(tmp_path)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (tmp_path / "model_index.json").read_text() == "{}"


def test_without_scikit_learn_the_script_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert embedded_model.main(["train"]) == 2
    assert "pip install 'lad-rllib[embedded-model]'" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["train", "--iterations", "0"], ["evaluate", "--steps", "4", "0"]])
def test_less_than_one_iteration_or_step_is_refused(arguments, capsys):
    assert embedded_model.main(arguments) == 2
    assert "must be a whole number of at least 1, got 0" in capsys.readouterr().err
