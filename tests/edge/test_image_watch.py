"""What cannot be right is no image: values that overflowed, blanks of a safety checker, prompts that were cut."""

import io

import numpy as np
import pytest
from PIL import Image

from lad_rllib.edge import DiffusersEngine, EdgeServer, ImageTask, NonFiniteImage
from lad_rllib.edge.engines.pipeline import denoiser_of
from tests.edge.engines import task
from tests.edge.tiny_pipeline import make_tiny_unet_pipeline

TOO_LARGE = 3e4
"""Factor on weights that float16 cannot follow and the other formats can."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory, tiny_folder):
    return {"transformer": tiny_folder, "unet": make_tiny_unet_pipeline(tmp_path_factory.mktemp("unet"))}


@pytest.fixture(params=["transformer", "unet"])
def folder(request, folders):
    return folders[request.param]


def loaded(folder, dtype, **others):
    engine = DiffusersEngine(folder, device="cpu", dtype=dtype, **others)
    engine.load()
    return engine


def enlarge(layer):
    layer.weight.data *= TOO_LARGE
    layer.bias.data = (layer.bias.data + 4.0) * TOO_LARGE  # whatever the image, something is large


def last_layer(engine, part):
    if part == "decoder":
        return engine.pipeline.vae.decoder.conv_out
    denoiser = denoiser_of(engine.pipeline)
    return getattr(denoiser, "proj_out", None) or denoiser.conv_out


def steps_seen(engine, steps=2):
    seen = []
    try:
        engine.generate(task(steps=steps), seen.append)
    except NonFiniteImage as error:
        return seen, error
    return seen, None


@pytest.mark.parametrize("part", ["decoder", "denoiser"])
def test_an_image_that_overflowed_in_half_precision_is_an_error_and_one_that_did_not_is_an_image(folder, part):
    seen, error = [], None
    for dtype in ("float16", "float32"):
        engine = loaded(folder, dtype)
        enlarge(last_layer(engine, part))
        seen, error = steps_seen(engine)
        if dtype == "float16":
            moment = "after decoding" if part == "decoder" else "after call 1 of the denoiser"
            assert f"not finite {moment} (float16 overflows)" in str(error) and "\n" not in str(error)
    assert error is None and seen[-1] == 2


@pytest.mark.parametrize("has_callback", [True, False])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_one_value_that_is_not_finite_is_enough(folder, value, has_callback):
    engine = loaded(folder, "float32")
    if not has_callback:
        engine.current.facts.accepted -= {"callback_on_step_end"}
    decode = engine.pipeline.vae.decode
    last_layer(engine, "decoder").bias.data[1] = value
    assert "after decoding" in str(steps_seen(engine)[1])
    assert engine.pipeline.vae.decode == decode  # nothing is left of the watch
    last_layer(engine, "decoder").bias.data[1] = 0
    last_layer(engine, "denoiser").bias.data[1] = value
    assert "after call 1 of the denoiser" in str(steps_seen(engine)[1])


def test_a_dark_picture_is_a_picture(folder):
    engine = loaded(folder, "float32")
    layer = last_layer(engine, "decoder")
    layer.weight.data[:] = 0
    layer.bias.data[:] = -1
    assert not np.asarray(Image.open(io.BytesIO(engine.generate(task(), lambda step: None).png))).any()


def test_a_server_whose_every_image_overflows_is_not_ready(folder, monkeypatch):
    load = DiffusersEngine.load

    def load_broken(engine):
        load(engine)
        last_layer(engine, "decoder").bias.data[0] = float("nan")

    monkeypatch.setattr(DiffusersEngine, "load", load_broken)
    with EdgeServer("s1", DiffusersEngine(folder, device="cpu")) as server:
        assert server.submit(task()).exception(60) is not None
        assert server.status().state == "failed" and "not finite" in server.status().reason


@pytest.mark.parametrize(("blanks_all", "said"), [(True, "blanked"), (False, "passed"), (None, "none")])
def test_the_record_says_what_the_safety_checker_said(tmp_path, blanks_all, said):
    folder = make_tiny_unet_pipeline(tmp_path, blanks_all=blanks_all)
    with EdgeServer("s1", DiffusersEngine(folder, device="cpu")) as server:
        result = server.generate(task(steps=2))
    assert result.record.safety_check == result.record.to_dict()["safety_check"] == said
    assert (not np.asarray(Image.open(io.BytesIO(result.png))).any()) == (said == "blanked")


@pytest.mark.parametrize(
    ("letters", "cut"),
    [(75, 0), (76, 1), (95, 20)],  # the encoders read 77 tokens, start and end among them
)
def test_the_record_says_how_much_of_the_prompt_was_cut_and_by_which_encoder(folders, letters, cut):
    prompt = " ".join("a" * letters)
    for kind, encoders in {"transformer": "text_encoder text_encoder_2", "unet": "text_encoder"}.items():
        output = loaded(folders[kind], "float32").generate(ImageTask("a", prompt, 1), lambda step: None)
        assert (output.prompt_tokens_cut, output.prompt_cut_by) == (cut, encoders if cut else "")


@pytest.mark.parametrize(("guidance", "cut"), [(5.0, 20), (1.0, 0)])
def test_the_record_says_how_much_of_a_negative_prompt_was_cut_if_the_image_depends_on_it(folders, guidance, cut):
    for kind, encoders in {"transformer": "text_encoder text_encoder_2", "unet": "text_encoder"}.items():
        engine = DiffusersEngine(folders[kind], device="cpu", guidance=guidance, negative_prompt=" ".join("a" * 95))
        with EdgeServer("s1", engine) as server:
            record = server.generate(task(steps=2)).record
        assert (record.prompt_tokens_cut, record.negative_prompt_tokens_cut) == (0, cut)
        assert record.negative_prompt_cut_by == (encoders if cut else "")


def test_a_tasks_own_negative_prompt_takes_the_place_of_the_servers(folders):
    for folder in folders.values():
        engines = [loaded(folder, "float32", guidance=5.0, negative_prompt=text) for text in ("fog", "rain")]
        asked = [task(steps=2), task(steps=2, negative_prompt="rain")]
        fog, rain = ([engine.generate(one, lambda step: None) for one in asked] for engine in engines)
        assert fog[1].png == rain[0].png == rain[1].png != fog[0].png


def test_prompts_with_the_same_image_are_known_to_be_cut(folders):
    engine = loaded(folders["transformer"], "float32")
    start = " ".join("a" * 75)
    outputs = [engine.generate(ImageTask("a", f"{start} {end}", 1), lambda step: None) for end in ("b c", "x y z")]
    assert outputs[0].png == outputs[1].png and [output.prompt_tokens_cut for output in outputs] == [2, 3]
