"""Fixtures of the whole test suite."""

import pytest


@pytest.fixture(scope="session")
def ray_cluster():
    """A small local Ray cluster, shared by all tests that need one; it pretends to have more CPUs than there are."""
    import ray

    ray.init(
        address="local",
        num_cpus=16,  # logical: actors wait for one another otherwise; most are idle
        include_dashboard=False,
        object_store_memory=150_000_000,
        log_to_driver=False,
        configure_logging=False,
    )
    yield
    ray.shutdown()


@pytest.fixture
def no_cluster(monkeypatch):
    """Keep RLlib from starting a cluster: with local runners and learners it only puts objects nobody fetches."""
    monkeypatch.setattr("ray.put", lambda value: value)
