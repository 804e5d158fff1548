"""Servers that pass tasks on over HTTP, against stand-ins on a loopback port that follow the documented behaviour."""

import time

import pytest

from lad_rllib.edge import (
    EdgeServer,
    GenerationFailed,
    InvalidRequest,
    ModelLoadFailed,
    OutOfMemory,
    QueueFull,
    ServerUnavailable,
    TaskCancelled,
)
from lad_rllib.edge.engines.http import HttpEngine
from lad_rllib.errors import ConfigurationError
from tests.edge.engines import task
from tests.edge.stand_ins import ComfyUIStandIn, OpenAIStandIn

METRICS = b'# HELP x\nvllm_omni:num_requests_running{stage="0"} 2.0\nvllm_omni:num_requests_waiting 3\nother 9\n'
WORKFLOW = {
    "3": {"class_type": "KSampler", "inputs": {"steps": "{{steps}}", "seed": "{{seed}}", "model": ["4", 0]}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a photo, {{prompt}}"}},
}


def wait_for(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def openai():
    with OpenAIStandIn() as stand_in:
        yield stand_in


@pytest.fixture
def comfyui():
    with ComfyUIStandIn() as stand_in:
        yield stand_in


def engine_of(stand_in, **settings):
    if isinstance(stand_in, ComfyUIStandIn):
        settings = {"flavour": "comfyui", "workflow": WORKFLOW} | settings
    return HttpEngine(base_url=stand_in.url, **settings)


def server_of(stand_in, warm_up_sizes=(), **settings):
    engine = engine_of(stand_in, **settings)
    return EdgeServer("peer", engine, warm_up_sizes=list(warm_up_sizes), make_engine=lambda: engine)


def test_a_task_is_asked_for_in_the_servers_words_and_its_images_come_back(openai):
    with server_of(openai, models={"fast": "draw-1"}, guidance=3.5, negative_prompt="blur") as server:
        result = server.generate(task(steps=8, seed=5, width=128, height=64, images=2, model="fast"))
    assert openai.bodies("/v1/images/generations") == [
        {
            "prompt": "a grey cat",
            "model": "draw-1",
            "n": 2,
            "size": "128x64",
            "seed": 5,
            "response_format": "b64_json",
            "guidance_scale": 3.5,
            "negative_prompt": "blur",
            "num_inference_steps": 8,
        }
    ]
    record = result.record
    assert (record.width, record.height, record.images, record.steps_done, record.model) == (128, 64, 2, 8, "fast")
    assert result.png.startswith(b"\x89PNG") and len(result.more_pngs) == 1


def test_what_nobody_asks_for_is_left_to_the_server(openai):
    with server_of(openai, steps_key="step") as server:
        server.generate(task(steps=4))
        assert server.describe().model == "draw-1" and server.describe().width == 64
    asked = {"prompt": "a grey cat", "n": 1, "seed": 0, "response_format": "b64_json", "step": 4}
    assert openai.bodies("/v1/images/generations") == [asked]


def test_images_of_another_format_or_at_an_address_become_png_files():
    with OpenAIStandIn(as_url=True, form="JPEG") as stand_in, server_of(stand_in) as server:
        assert server.generate(task()).png.startswith(b"\x89PNG")


def test_an_address_at_another_host_is_not_fetched(openai):
    openai.refusal = (200, {"data": [{"url": "http://127.0.0.1:9/secret"}]})
    with server_of(openai) as server, pytest.raises(GenerationFailed, match="nor at an address of its own"):
        server.generate(task())


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, {"error": {"message": "bad size"}}, InvalidRequest),
        (422, {"detail": [{"msg": "Field required"}]}, InvalidRequest),
        (404, {"error": "no such model"}, InvalidRequest),
        (429, {"error": {"message": "slow down"}}, QueueFull),
        (503, b"busy", ServerUnavailable),
        (401, {"error": {"message": "no key"}}, ServerUnavailable),
        (500, {"error": {"message": "boom"}}, GenerationFailed),
        (500, {"error": {"message": "CUDA error: device-side assert triggered"}}, GenerationFailed),
        (500, {"error": {"message": "CUDA out of memory. Tried to allocate 2 GiB"}}, OutOfMemory),
        (200, {"data": [{"b64_json": "bm8gaW1hZ2U="}]}, GenerationFailed),
        (200, {"data": []}, GenerationFailed),
        (200, b"<html>", GenerationFailed),
    ],
)
def test_refusals_and_failures_have_names(openai, status, body, error):
    openai.refusal = (status, body)
    engine = engine_of(openai)
    with pytest.raises(error) as caught:
        engine.generate(task(), lambda step: None)
    assert isinstance(caught.value, error) and caught.value.name == error.name and "\n" not in str(caught.value)


def test_the_request_of_a_cancelled_task_is_dropped_at_the_server(openai):
    openai.gate.clear()
    with server_of(openai) as server:
        future = server.submit(task("a"))
        wait_for(lambda: openai.bodies("/v1/images/generations"))
        assert server.cancel("a")
        with pytest.raises(TaskCancelled):
            future.result(30)
        assert openai.left.wait(30)
        openai.gate.set()
        assert server.generate(task("b")).png


def test_an_image_that_takes_too_long_is_given_up(openai):
    openai.gate.clear()
    with pytest.raises(ServerUnavailable, match="does not answer"):
        engine_of(openai, timeout_s=0.2).generate(task(), lambda step: None)
    assert openai.left.wait(30)


def test_a_server_that_is_down_gets_no_tasks_until_it_is_back(openai):
    with server_of(openai) as server:
        server.generate(task("a"))
        openai.close()
        with pytest.raises(ServerUnavailable, match="does not answer"):
            server.generate(task("b"))
        wait_for(lambda: server.status().state == "recovering")
        assert not server.health().healthy
        with OpenAIStandIn(port=openai.port):
            wait_for(lambda: server.health().healthy)
            assert server.generate(task("c")).png


def test_a_server_that_is_not_there_at_the_start_or_lacks_the_model_fails(openai):
    openai.close()
    with pytest.raises(ServerUnavailable):
        engine_of(openai).load()
    with OpenAIStandIn() as other, pytest.raises(ModelLoadFailed, match="has no model paint-9; it lists draw-1"):
        engine_of(other, model="paint-9").load()


def test_a_server_that_refuses_the_key_is_not_started(openai, monkeypatch):
    monkeypatch.setattr(openai, "answer", lambda *request: (401, {"error": {"message": "wrong key"}}))
    with pytest.raises(ModelLoadFailed, match="wrong key; see that key_env names the right key"):
        engine_of(openai).load()


def test_the_key_comes_from_the_environment_and_is_shown_nowhere(openai, monkeypatch):
    with pytest.raises(ConfigurationError, match="key_env names PEER_KEY, which is not in the environment"):
        engine_of(openai, key_env="PEER_KEY")
    monkeypatch.setenv("PEER_KEY", "s3cret")
    with server_of(openai, key_env="PEER_KEY") as server:
        server.generate(task())
        assert "s3cret" not in repr([server.engine.settings, server.describe(), server.status()])
    assert {headers["Authorization"] for _, _, headers, _ in openai.requests} == {"Bearer s3cret"}


def test_a_server_that_has_too_many_requests_of_others_counts_as_full():
    with OpenAIStandIn(metrics=METRICS) as stand_in:
        with server_of(stand_in, metrics_path="/metrics") as server:
            server.generate(task())
            assert server.status().foreign_requests == 5
        with pytest.raises(QueueFull, match="has 5 requests of others, the limit is 4"):
            engine_of(stand_in, metrics_path="/metrics", max_foreign=4).generate(task(), lambda step: None)


def test_comfyui_gets_the_filled_workflow_and_its_output_is_fetched(comfyui):
    with server_of(comfyui) as server:
        record = server.generate(task(steps=8, seed=5)).record
    [asked] = comfyui.bodies("/prompt")
    assert asked["prompt"]["3"]["inputs"] == {"steps": 8, "seed": 5, "model": ["4", 0]}
    assert asked["prompt"]["6"]["inputs"] == {"text": "a photo, a grey cat"}
    views = [path for _, path, _, _ in comfyui.requests if path.startswith("/view")]
    assert views == ["/view?filename=image_1.png&subfolder=&type=output"]
    assert record.steps_done == 8 and record.width == 64


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (("torch.OutOfMemoryError", "Allocation on device out of memory"), OutOfMemory),
        (("ValueError", "no such sampler"), GenerationFailed),
    ],
)
def test_what_fails_at_comfyui_has_a_name(comfyui, failure, error):
    comfyui.failure = failure
    with pytest.raises(error, match=failure[1]):
        engine_of(comfyui).generate(task(), lambda step: None)


def test_a_prompt_that_comfyui_refuses_is_invalid(comfyui):
    with pytest.raises(InvalidRequest, match="failed validation"):
        engine_of(comfyui, workflow=WORKFLOW | {"7": {"class_type": "refused"}}).generate(task(), lambda step: None)


@pytest.mark.parametrize("runs", [True, False])
def test_a_cancelled_task_leaves_comfyui_whether_it_runs_or_waits(comfyui, runs):
    comfyui.hold.set()
    comfyui.running = [] if runs else ["of another"]
    with server_of(comfyui) as server:
        future = server.submit(task("a"))
        wait_for(lambda: len(comfyui.running + comfyui.pending) == 2 - runs)
        server.cancel("a")
        with pytest.raises(TaskCancelled):
            future.result(30)
    assert comfyui.running == ([] if runs else ["of another"]) and comfyui.pending == []
    assert server.status().foreign_requests == 1 - runs


def test_a_prompt_that_comfyui_has_lost_makes_it_unavailable(comfyui):
    comfyui.hold.set()
    lost = []

    def lose(step):
        lost.extend(comfyui.running)
        comfyui.running = []

    with pytest.raises(ServerUnavailable, match="has lost the prompt"):
        engine_of(comfyui).generate(task(), lose)
    assert len(lost) == 1


@pytest.mark.parametrize(
    ("settings", "asked", "told"),
    [
        ({}, {"width": 64}, "ask for width and height, or for neither"),
        ({}, {"loras": ("ink",)}, "passes no LoRAs on"),
        ({"models": {"fast": "draw-1"}}, {"model": "slow"}, "this server has no model 'slow'"),
        ({"flavour": "comfyui", "workflow": WORKFLOW}, {"width": 64, "height": 64}, r"no \{\{width\}\}"),
        ({"flavour": "comfyui", "workflow": WORKFLOW}, {"images": 2}, r"no \{\{images\}\}"),
    ],
)
def test_what_a_server_cannot_be_asked_is_refused(settings, asked, told):
    with pytest.raises(InvalidRequest, match=told):
        HttpEngine(base_url="http://localhost:1", **settings).check(task(**asked))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"base_url": "gpu-1:8000"}, "base_url must be like http://host:port, got 'gpu-1:8000'"),
        ({"base_url": "http://me:pass@gpu-1"}, "must hold no password"),
        ({"flavour": "comfyui"}, "flavour comfyui needs workflow"),
        ({"flavour": "comfyui", "workflow": {"nodes": []}}, "node 'nodes' has no class_type"),
        ({"workflow": WORKFLOW}, "workflow has no effect with flavour openai"),
        ({"flavour": "comfyui", "workflow": WORKFLOW, "steps_key": "step"}, "steps_key has no effect with flavour"),
        ({"width": 64}, "width and height belong together"),
        ({"flavour": "comfyui", "workflow": {"3": {"class_type": "K", "a": "{{seeds}}"}}}, r"workflow has {{seeds}}"),
        ({"flavour": "comfyui", "workflow": {"3": {"class_type": "K"}}}, r"workflow has no {{prompt}}"),
        (
            {"flavour": "comfyui", "workflow": WORKFLOW | {"5": {"class_type": "E", "w": "{{width}}"}}},
            r"workflow has {{width}}; say width for tasks that name none",
        ),
    ],
)
def test_settings_that_cannot_work_are_one_line(settings, told):
    with pytest.raises(ConfigurationError, match=told) as caught:
        HttpEngine(**{"base_url": "http://localhost:1"} | settings)
    assert "\n" not in str(caught.value)
