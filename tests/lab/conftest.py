"""The laboratory and a clock for the tests that use it; all are skipped where there can be no laboratory."""

import contextlib
import time

import pytest

from tests.lab.laboratory import Laboratory, what_is_missing

_STEPS = pytest.StashKey[list]()


@pytest.fixture(scope="session")
def step(request):
    """Measures the wall time of a step; all are listed at the end of the tests."""
    steps = request.config.stash.setdefault(_STEPS, [])

    @contextlib.contextmanager
    def measure(name):
        begin = time.monotonic()
        try:
            yield
        finally:
            steps.append((name, time.monotonic() - begin))

    return measure


def pytest_terminal_summary(terminalreporter, config):
    """List the steps."""
    steps = config.stash.get(_STEPS, [])
    if steps:
        terminalreporter.section("steps of the laboratory")
        for name, seconds in steps:
            terminalreporter.write_line(f"{seconds:7.1f} s  {name}")


@pytest.fixture(scope="session")
def build_laboratory(step, tmp_path_factory):
    """A laboratory with these variables in every command; at its end no process and no namespace of it is left."""
    if reason := what_is_missing():
        pytest.skip(f"no laboratory: {reason}")

    @contextlib.contextmanager
    def build(environment=None):
        with step("machines start"):
            laboratory = Laboratory(tmp_path_factory.mktemp("laboratory"), environment)
        try:
            yield laboratory
        finally:
            with step("machines end"):
                laboratory.close()

    return build


def until(condition, limit_s=120.0):
    """Wait until something holds."""
    end_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end_s, f"it did not come true in {limit_s:g} s"
        time.sleep(0.2)
