"""Fixtures of the edge-server tests."""

import threading

import pytest

from tests.edge.tiny_pipeline import make_tiny_pipeline


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """Folder of a tiny random Stable Diffusion 3 pipeline."""
    return make_tiny_pipeline(tmp_path_factory.mktemp("tiny") / "pipeline")


@pytest.fixture(autouse=True)
def no_thread_is_left():
    """Every test closes its servers."""
    yield
    left = [thread.name for thread in threading.enumerate() if thread.name.startswith("edge-server-")]
    assert left == []
