"""The real engine on a tiny pipeline of random weights, on a CPU."""

import hashlib
import io
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from lad_rllib.edge import (
    DeadlineExceeded,
    DeviceBroken,
    DiffusersEngine,
    EdgeServer,
    GenerationFailed,
    InvalidRequest,
    ModelLoadFailed,
    OutOfMemory,
    TaskCancelled,
)
from lad_rllib.edge.engines.loaded_pipeline import flow_match_sigmas
from lad_rllib.errors import ConfigurationError
from tests.edge.engines import task
from tests.edge.tiny_pipeline import make_tiny_unet_pipeline


def ignore(step):
    pass


def loaded(folder, **arguments):
    engine = DiffusersEngine(folder, device="cpu", **arguments)
    engine.load()
    return engine


@pytest.fixture(scope="module")
def engine(tiny_folder):
    return loaded(tiny_folder)


@pytest.mark.parametrize("parts", [("transformer",), ("transformer", "text_encoder", "text_encoder_2", "vae")])
def test_a_folder_with_weights_as_variant_fp16_only_is_loaded(tiny_folder, tmp_path, parts):
    folder = shutil.copytree(tiny_folder, tmp_path / "pipeline")
    renamed = [file for part in parts for file in (folder / part).glob("*.safetensors")]
    for file in renamed:
        file.rename(file.with_suffix(".fp16.safetensors"))
    assert len(renamed) == len(parts)
    assert loaded(folder).pipeline.transformer.dtype.is_floating_point


def test_a_setting_that_the_pipeline_does_not_take_is_refused(tmp_path, monkeypatch):
    folder = make_tiny_unet_pipeline(tmp_path)
    with pytest.raises(ModelLoadFailed, match="max_sequence_length has no effect: .* takes no max_sequence_length;"):
        loaded(folder, max_sequence_length=64)
    monkeypatch.setattr("diffusers.StableDiffusionPipeline.__call__", lambda self, prompt, guidance_scale=3.5: None)
    with pytest.raises(ModelLoadFailed, match="takes no negative_prompt; leave it out"):
        loaded(folder, guidance=2.0, negative_prompt="fog")


def test_a_tasks_setting_that_the_pipeline_does_not_take_is_named_in_the_output(tiny_folder):
    engine = loaded(tiny_folder)
    plain, guided = (engine.generate(task(steps=2, guidance=guidance), ignore) for guidance in (None, 5.0))
    assert plain.settings_ignored == guided.settings_ignored == "" and plain.png != guided.png
    engine.current.facts.accepted -= {"guidance_scale"}
    ignored = engine.generate(task(steps=2, guidance=1.0), ignore)
    assert ignored.settings_ignored == "guidance" and engine.generate(task(steps=2), ignore).settings_ignored == ""


@pytest.fixture
def server(tiny_folder):
    with EdgeServer("s1", DiffusersEngine(tiny_folder, device="cpu")) as server:
        yield server


def test_the_same_prompt_seed_and_steps_give_the_identical_png_on_two_servers(tiny_folder, server):
    with EdgeServer("s2", DiffusersEngine(tiny_folder, device="cpu")) as other:
        other.generate(task("before", steps=2, seed=5))  # must leave no trace
        first, second = (s.generate(task("a", steps=3, seed=7)).png for s in (server, other))
    assert first == second
    assert first != server.generate(task("b", steps=3, seed=8)).png
    assert first != server.generate(task("c", steps=4, seed=7)).png


@pytest.mark.slow
def test_the_image_is_the_same_in_another_process(tiny_folder, engine):
    code = (
        "import hashlib, sys; from lad_rllib.edge import DiffusersEngine; from tests.edge.engines import task;"
        "e = DiffusersEngine(sys.argv[1], device='cpu'); e.load();"
        "print(hashlib.sha256(e.generate(task(steps=2, seed=3), lambda s: None).png).hexdigest())"
    )
    answer = subprocess.run([sys.executable, "-c", code, str(tiny_folder)], capture_output=True, text=True, check=True)
    assert answer.stdout.split()[-1] == hashlib.sha256(engine.generate(task(steps=2, seed=3), ignore).png).hexdigest()


def test_the_image_is_that_of_the_plain_pipeline(tiny_folder, engine):
    import torch
    from diffusers import StableDiffusion3Pipeline

    plain = StableDiffusion3Pipeline.from_pretrained(tiny_folder, text_encoder_3=None, tokenizer_3=None)
    image = plain(
        "a grey cat",
        num_inference_steps=4,
        sigmas=np.linspace(1, 1 / 4, 4).tolist(),
        guidance_scale=5.0,
        max_sequence_length=0,
        generator=torch.Generator().manual_seed(3),
        output_type="np",
    ).images[0]
    ours = engine.generate(task(steps=4, seed=3, guidance=5.0), ignore)
    pixels = np.asarray(Image.open(io.BytesIO(ours.png)))
    assert pixels.shape == (32, 32, 3)
    # Prompt and negative prompt are encoded one by one here and together there: a rounding in one of 256 levels.
    assert np.abs(pixels - np.round(image * 255)).max() <= 1


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_the_steps_done_are_the_steps_asked_and_end_at_no_noise(engine, steps):
    seen = []
    output = engine.generate(task(steps=steps), seen.append)
    assert output.steps_done == steps and seen == list(range(1, steps + 1))
    sigmas = engine.pipeline.scheduler.sigmas.tolist()
    assert sigmas == pytest.approx([*np.linspace(1, 1 / steps, steps), 0.0])
    assert flow_match_sigmas(engine.pipeline.scheduler, steps) == pytest.approx(np.linspace(1, 1 / steps, steps))


def test_the_parts_of_an_image_add_up_to_its_computing_delay(server):
    server.generate(task("first"))
    records = [server.generate(task(f"t{i}", steps=20)).record for i in range(3)]
    shares = [(r.encode_s + r.denoise_s + r.decode_s + r.png_s) / r.computing_s for r in records]
    assert 0.98 <= np.median(shares) <= 1.0
    record = records[0]
    assert record.per_step_s == pytest.approx(record.denoise_s / 20)
    assert record.total_s == pytest.approx(
        record.upload_s + record.waiting_s + record.computing_s + record.download_s, rel=0.02
    )
    assert (record.model, record.dtype, record.width, record.height) == (
        server.describe().model,
        "float32",
        32,
        32,
    )
    assert record.peak_memory_mib > 100  # of the process


def test_a_server_learns_its_own_delay_model(server):
    assert server.fit() is None or server.fit().origin == "proportional"
    fit = server.profile([1, 4, 16])
    assert fit.per_step_s > 0 and fit.num_points == 3
    assert server.submit(task("next")).result(60).record.predicted_delay_s > 0


def test_embeddings_are_computed_once_per_prompt(tiny_folder):
    engine = loaded(tiny_folder, embedding_cache_size=2)
    for seed in range(3):
        engine.generate(task(seed=seed), ignore)
    assert engine.current.embed.cache_info()[:2] == (4, 2)  # the prompt and the empty negative prompt
    engine.generate(task(guidance=1.0), ignore)  # no guidance, no negative prompt
    assert engine.current.embed.cache_info() == (5, 2, 2, 2)  # hits, misses, limit, size


def test_no_time_is_spent_on_the_place_of_a_missing_t5(engine):
    embeds, _ = engine.current.encode("cat")
    assert embeds.shape[1] == 77


def test_a_running_task_is_cancelled_within_one_step(server):
    future = server.submit(task("long", steps=1000))
    limit = time.monotonic() + 60
    while server.progress("long").step < 2 and time.monotonic() < limit:
        time.sleep(0.001)
    assert server.status().running_task_id == "long"
    assert server.cancel("long")
    assert isinstance(future.exception(30), TaskCancelled)
    assert server.progress("long").error == "cancelled"
    assert server.generate(task("next")).record.steps_done == 1


def test_a_deadline_stops_a_running_image(server):
    server.generate(task("warm"))
    with pytest.raises(DeadlineExceeded):
        server.generate(task("long", steps=1000, deadline_s=0.2))


def test_a_pipeline_that_raises_is_a_failed_generation_and_the_next_image_is_right(tiny_folder, server):
    right = server.generate(task("a", steps=2)).png
    forward = server.engine.pipeline.transformer.forward
    server.engine.pipeline.transformer.forward = lambda **_: 1 / 0
    with pytest.raises(GenerationFailed, match="^ZeroDivisionError: division by zero$"):
        server.generate(task("b"))
    server.engine.pipeline.transformer.forward = forward
    assert server.generate(task("c", steps=2)).png == right


def test_running_out_of_memory_once_is_survived_and_twice_is_told(tiny_folder):
    engine = loaded(tiny_folder)
    decode, failures = engine.pipeline.vae.decode, [1]

    def scarce(*arguments, **named):
        if failures[0]:
            failures[0] -= 1
            raise RuntimeError("CUDA out of memory. Tried to allocate 20 GiB")
        return decode(*arguments, **named)

    engine.pipeline.vae.decode = scarce
    assert engine.generate(task(), ignore).attempt == 2
    failures[0] = 2
    with pytest.raises(OutOfMemory, match="32x32 does not fit into the memory of cpu"):
        engine.generate(task(), ignore)
    assert engine.generate(task(), ignore).attempt == 1


@pytest.mark.parametrize("is_known", [True, False])
def test_a_lost_device_is_told_from_an_image_that_failed(tiny_folder, monkeypatch, is_known):
    engine = loaded(tiny_folder)
    text = "CUDA error: an illegal memory access was encountered" if is_known else "CUBLAS_STATUS_EXECUTION_FAILED"

    def lose(*_, **__):
        raise RuntimeError(text)

    def fail(*_, **__):
        if not is_known:  # then waiting for the device tells
            monkeypatch.setattr(engine._memory, "synchronise", lose)
        lose()

    monkeypatch.setattr(engine.pipeline.transformer, "forward", fail)
    with pytest.raises(DeviceBroken, match="^cpu is lost to this process, start it again: RuntimeError: CU"):
        engine.generate(task(guidance=1.0), ignore)


@pytest.mark.parametrize(("width", "height"), [(72, 32), (32, 128)])
def test_a_size_beyond_the_model_is_an_invalid_request(server, width, height):
    server.generate(task("load"))
    with pytest.raises(InvalidRequest, match="at most 64 for this model"):
        server.generate(task("a", width=width, height=height))


def test_other_sizes_are_made(engine):
    output = engine.generate(task(width=64, height=48), ignore)
    assert (output.width, output.height) == (64, 48)
    assert Image.open(io.BytesIO(output.png)).size == (64, 48)


def test_a_pipeline_without_a_step_callback_is_observed_through_its_noise_schedule(tiny_folder):
    engine = loaded(tiny_folder)
    with_callback = engine.generate(task(steps=3), ignore).png
    engine.current.facts.accepted -= {"callback_on_step_end"}
    seen = []
    assert engine.generate(task(steps=3), seen.append).png == with_callback
    assert seen == [1, 2, 3]
    assert "step" not in vars(engine.pipeline.scheduler)


@pytest.mark.parametrize("profile", ["no_t5", "group_offload", "fp8"])
def test_memory_profiles_that_work_on_a_cpu_generate(tiny_folder, engine, profile):
    png = loaded(tiny_folder, memory_profile=profile).generate(task(steps=2), ignore).png
    if profile != "fp8":  # which rounds the weights
        assert png == engine.generate(task(steps=2), ignore).png


def test_half_precision_generates(tiny_folder):
    assert loaded(tiny_folder, dtype="bfloat16").generate(task(steps=2), ignore).dtype == "bfloat16"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"memory_profile": "tiny"}, "memory_profile must be one of full, no_t5, model_offload, .*, got 'tiny'"),
        ({"memory_profile": "model_offload"}, "model_offload needs a CUDA device, not cpu"),
        ({"memory_profile": "nf4_t5"}, "nf4_t5 needs a CUDA device, not cpu"),
        ({"dtype": "int4"}, "dtype must be one of"),
    ],
)
def test_settings_that_cannot_work_here_are_refused_before_loading(arguments, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        DiffusersEngine("nowhere/nothing", device="cpu", **arguments)
    assert "\n" not in str(caught.value)


def test_a_package_that_is_missing_is_named(monkeypatch):
    from lad_rllib.edge.engines import memory

    monkeypatch.setattr(memory, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match="needs the package bitsandbytes; pip install bitsandbytes"):
        memory.memory_profile("nf4_t5", "cuda")


def broken(tiny_folder, tmp_path, kind):
    if kind == "missing":
        return tmp_path / "none"
    if kind == "empty":
        return tmp_path
    folder = tmp_path / "pipeline"
    shutil.copytree(tiny_folder, folder)
    if kind == "not json":
        (folder / "model_index.json").write_text("{")
    elif kind == "no weights":
        next((folder / "transformer").glob("*.safetensors")).unlink()
    else:
        next((folder / "transformer").glob("*.safetensors")).write_bytes(b"cut off")
    return folder


@pytest.mark.parametrize("kind", ["missing", "empty", "not json", "no weights", "cut off"])
def test_a_folder_that_cannot_be_loaded_fails_in_one_line(tiny_folder, tmp_path, kind):
    with EdgeServer("s1", DiffusersEngine(broken(tiny_folder, tmp_path, kind), device="cpu")) as server:
        with pytest.raises(ModelLoadFailed) as caught:
            server.generate(task())
        assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)
        assert server.status().state == "failed"


def test_a_hub_model_that_is_not_here_fails_in_one_line(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    engine = DiffusersEngine("nobody/no-such-pipeline", device="cpu")
    with pytest.raises(ModelLoadFailed, match="nobody/no-such-pipeline.*is the name right") as caught:
        engine.load()
    assert "\n" not in str(caught.value)


def test_a_pipeline_of_another_kind_and_order_is_served_by_its_prompt(tmp_path):
    with EdgeServer("s1", DiffusersEngine(make_tiny_unet_pipeline(tmp_path), device="cpu")) as server:
        result = server.generate(task(steps=3, seed=1))
        assert (result.record.steps_done, result.record.width, result.record.height) == (3, 16, 16)
        assert result.png == server.generate(task("b", steps=3, seed=1)).png
        assert server.describe().width == 16


def test_a_cuda_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigurationError, match="torch finds no CUDA device"):
        DiffusersEngine("nowhere/nothing", device="cuda:0")
