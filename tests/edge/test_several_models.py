"""Several models and LoRAs on one server, with real pipelines: the embedded model and its negative."""

import gc
import io
import time
import weakref

import numpy as np
import pytest
from PIL import Image

from lad_rllib.edge import (
    DiffusersEngine,
    EdgeServer,
    EmulatedEngine,
    InvalidRequest,
    ModelLoadFailed,
    embedded_model_path,
)
from lad_rllib.errors import ConfigurationError
from tests.edge.engines import task

DIGITS = str(embedded_model_path())


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png))).astype(int)


def asked(task_id="a", steps=2, **others):
    return task(task_id, steps, guidance=1.0, **others)


@pytest.fixture
def server(negative_folder):
    engine = DiffusersEngine(models={"digits": DIGITS, "negative": str(negative_folder)}, device="cpu")
    with EdgeServer("s1", engine) as server:
        yield server


def test_a_task_gets_the_model_that_it_names_and_the_first_if_it_names_none(server):
    plain, digits, negative = (server.generate(asked(str(m), seed=4, model=m)) for m in (None, "digits", "negative"))
    assert plain.png == digits.png
    assert np.abs(pixels(negative.png) - (255 - pixels(plain.png))).max() <= 1
    assert [result.record.model for result in (plain, digits, negative)] == ["digits", "digits", "negative"]


def test_a_swap_is_a_measured_part_of_computing(server):
    server.generate(asked("warm"))
    swapped, stayed = (server.generate(asked(name, model="negative")).record for name in "ab")
    assert stayed.swap_s < swapped.swap_s / 2 and swapped.swap_s > 0.01  # the folder is read
    parts = swapped.swap_s + swapped.encode_s + swapped.denoise_s + swapped.decode_s + swapped.png_s
    assert 0.5 * swapped.computing_s < parts <= swapped.computing_s + 1e-3
    assert not swapped.cold_start and swapped.load_s == 0


def test_the_models_used_last_stay_in_memory_and_the_others_leave_it(negative_folder):
    engine = DiffusersEngine(
        models={"a": DIGITS, "b": str(negative_folder), "c": DIGITS}, models_in_memory=2, device="cpu"
    )
    with EdgeServer("s1", engine) as server:
        swaps = {}
        for name in ("a", "b", "a", "c"):
            server.generate(asked(name, model=name))
            swaps[name] = weakref.ref(engine.pipeline.transformer)
        assert list(server.status().resident) == ["a", "c"]
        gc.collect()
        assert [name for name, network in swaps.items() if network() is None] == ["b"]


@pytest.mark.slow
def test_two_models_and_two_sizes_are_predicted_with_their_swaps(server, monkeypatch):
    server.generate(asked("warm"))
    monkeypatch.setattr(time, "perf_counter", time.process_time)  # other work on the machine does not count
    rng, errors = np.random.default_rng(0), []
    for number in range(40):
        model, side = ("digits", "negative")[rng.integers(2)], int(rng.choice([16, 32]))
        asked_for = asked(str(number), steps=int(rng.integers(4, 16)), model=model, width=side, height=side)
        record = server.generate(asked_for).record
        if number >= 16:
            errors.append(record.total_s / record.predicted_delay_s - 1)
    assert np.median(np.abs(errors)) < 0.15  # 0.07 in benchmarks/results/edge_models.md


def test_a_swap_ahead_in_the_queue_is_part_of_the_predicted_delay():
    engine = EmulatedEngine("a100", time_scale=0.1, models=["a", "b", "c"], models_in_memory=2)
    with EdgeServer("s1", engine) as server:
        futures = [server.submit(task(str(i), 10, model=model)) for i, model in enumerate("abcab")]
        records = [future.result().record for future in futures]
    assert [record.swap_s > 0 for record in records] == [False, True, True, True, True]  # LRU of two models
    assert [record.predicted_delay_s for record in records] == pytest.approx(
        [record.total_s for record in records], rel=0.1, abs=4.0
    )


def test_an_unknown_model_is_refused_at_once(server):
    with pytest.raises(InvalidRequest, match="this server has no model 'negativ'; did you mean 'negative'"):
        server.generate(asked(model="negativ"))
    with pytest.raises(InvalidRequest, match="this server has no LoRAs"):
        server.generate(asked(loras=["ink"]))
    assert server.generate(asked()).png and server.health().healthy


def test_a_model_that_cannot_be_loaded_fails_its_tasks_alone(tmp_path):
    engine = DiffusersEngine(models={"digits": DIGITS, "lost": str(tmp_path / "lost")}, device="cpu")
    with EdgeServer("s1", engine, max_failures_in_row=1) as server:
        right = server.generate(asked("before")).png
        with pytest.raises(ModelLoadFailed, match="lost is not the folder of a diffusers pipeline"):
            server.generate(asked(model="lost"))
        assert server.status().state == "ready" and server.status().resident == {}
        assert server.generate(asked("after")).png == right


def test_what_only_the_loaded_model_knows_is_checked_before_it_draws(server):
    with pytest.raises(InvalidRequest, match="at most 32 for this model"):
        server.generate(asked(model="negative", width=64))
    assert server.status().state == "ready"


def test_images_at_once_are_those_of_the_next_seeds(server, tmp_path):
    together = server.generate(asked("all", seed=7, images=3))
    alone = [server.generate(asked(f"{seed}", seed=seed)).png for seed in (7, 8, 9)]
    for one, other in zip((together.png, *together.more_pngs), alone, strict=True):
        assert np.abs(pixels(one) - pixels(other)).max() <= 1
    assert together.record.images == 3


def test_a_pipeline_of_another_kind_draws_several_images(tmp_path):
    from tests.edge.tiny_pipeline import make_tiny_unet_pipeline

    with EdgeServer("s1", DiffusersEngine(make_tiny_unet_pipeline(tmp_path), device="cpu")) as server:
        together = server.generate(asked("all", 3, seed=1, images=2))
        alone = [server.generate(asked(f"{seed}", 3, seed=seed)).png for seed in (1, 2)]
        for one, other in zip((together.png, *together.more_pngs), alone, strict=True):
            assert np.abs(pixels(one) - pixels(other)).max() <= 1


@pytest.fixture
def lora_server(lora_files):
    engine = DiffusersEngine(DIGITS, loras=lora_files, loras_in_memory=2, device="cpu")
    with EdgeServer("s1", engine) as server:
        yield server


def test_a_lora_changes_the_images_of_its_tasks_alone(lora_server):
    without = lora_server.generate(asked("a")).png
    bold, thin = (lora_server.generate(asked(name, loras=[name])) for name in ("bold", "thin"))
    assert len({without, bold.png, thin.png}) == 3
    assert bold.record.loras == "bold" and bold.record.swap_s > 0.001
    assert lora_server.generate(asked("b")).png == without
    again = lora_server.generate(asked("c", loras=["bold"]))
    assert again.png == bold.png and again.record.swap_s < bold.record.swap_s


def test_loras_used_last_stay_in_memory_and_one_that_comes_back_draws_the_same(lora_server):
    first = lora_server.generate(asked("a", loras=["bold"])).png
    for name in ("thin", "round"):
        lora_server.generate(asked(name, loras=[name]))
    assert list(lora_server.status().resident.values()) == [["thin", "round"]]
    assert set(*lora_server.engine.pipeline.get_list_adapters().values()) == {"lora_1", "lora_2"}
    assert lora_server.generate(asked("b", loras=["bold"])).png == first


def test_a_lora_for_another_model_is_refused_and_leaves_no_trace(tiny_folder, lora_files):
    with EdgeServer("s1", DiffusersEngine(tiny_folder, loras=lora_files, device="cpu")) as server:
        right = server.generate(asked("a")).png
        with pytest.raises(InvalidRequest, match="LoRA bold does not fit model"):
            server.generate(asked("b", loras=["bold"]))
        assert server.generate(asked("c")).png == right
        assert list(server.status().resident.values()) == [[]]


def test_loras_without_the_package_that_loads_them_are_refused_before_anything_is_loaded(monkeypatch):
    monkeypatch.setattr("lad_rllib.edge.engines.loras.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"pip install 'lad-rllib\[lora\]'"):
        DiffusersEngine(DIGITS, loras={"bold": "bold.safetensors"})
