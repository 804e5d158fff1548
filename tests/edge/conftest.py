"""Fixtures of the edge-server tests."""

import threading

import pytest

from tests.edge.second_model import make_lora, make_negative
from tests.edge.tiny_pipeline import make_tiny_pipeline


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """Folder of a tiny random Stable Diffusion 3 pipeline."""
    return make_tiny_pipeline(tmp_path_factory.mktemp("tiny") / "pipeline")


@pytest.fixture(scope="session")
def negative_folder(tmp_path_factory):
    """Folder of the embedded model with an inverting decoder."""
    return make_negative(tmp_path_factory.mktemp("negative") / "pipeline")


@pytest.fixture(scope="session")
def lora_files(tmp_path_factory):
    """Files of three LoRAs for the embedded model, by name."""
    pytest.importorskip("peft")
    folder = tmp_path_factory.mktemp("loras")
    return {name: str(make_lora(folder / name, seed)) for seed, name in enumerate(("bold", "thin", "round"))}


@pytest.fixture(autouse=True)
def no_thread_is_left():
    """Every test closes its servers."""
    yield
    left = [thread.name for thread in threading.enumerate() if thread.name.startswith("edge-server-")]
    assert left == []
