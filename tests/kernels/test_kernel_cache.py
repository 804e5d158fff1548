"""The cache of compiled kernels on disk: what a power cut, a full disk or a flipped bit leaves is compiled anew."""

import importlib.util
import logging
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from lad_rllib import compiling
from lad_rllib.arrays import Vector

PROGRAM = """
from lad_rllib.arrays import Vector
from lad_rllib.compiling import kernel

@kernel
def double(values: Vector):
    for k in range(len(values)):
        values[k] *= 2
"""


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Loads a module with one kernel, as a new process would; tells whether its code came from the cache."""
    monkeypatch.setattr("numba.core.config.CACHE_DIR", str(tmp_path / "cache"))
    program, loaded = tmp_path / "program.py", []
    program.write_text(PROGRAM, encoding="utf-8")
    original = compiling.CheckedCacheFile._load_data

    def load(self, name):
        data = original(self, name)
        loaded.append(name)
        return data

    monkeypatch.setattr(compiling.CheckedCacheFile, "_load_data", load)

    def call():
        loaded.clear()
        compiling._announce.cache_clear()
        spec = importlib.util.spec_from_file_location("program", program)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        values = np.arange(3, dtype=np.float32)
        module.double(values)
        assert values.tolist() == [0, 2, 4]
        return "from the cache" if loaded else "compiled"

    return call


def empty(file):
    file.write_bytes(b"")


def cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(file):
    data = bytearray(file.read_bytes())
    data[len(data) * 2 // 3] ^= 1
    file.write_bytes(bytes(data))


@pytest.mark.parametrize("ending", [".nbi", ".nbc"])
@pytest.mark.parametrize("damage", [empty, cut, flip])
def test_a_damaged_cache_of_kernels_is_compiled_anew_and_then_used_again(start, tmp_path, damage, ending):
    assert [start(), start()] == ["compiled", "from the cache"]
    damage(next((tmp_path / "cache").rglob(f"*double*{ending}")))
    assert [start(), start()] == ["compiled", "from the cache"]


def test_compiling_is_announced_and_loading_is_not(start, caplog):
    caplog.set_level(logging.INFO)
    start()
    assert caplog.messages == ["compiling kernels (once per machine and algorithm, about 10 s)"]
    caplog.clear()
    start()
    assert caplog.messages == []


def test_all_kernels_of_a_package_are_compiled_once(tmp_path, monkeypatch):
    monkeypatch.setattr("numba.core.config.CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(tmp_path)
    (package := tmp_path / "small_package").mkdir()
    (package / "__init__.py").touch()
    (package / "other.py").write_text("raise AssertionError('has no kernel')", encoding="utf-8")
    (package / "program.py").write_text(PROGRAM, encoding="utf-8")
    assert compiling.compile_all("small_package") == ["small_package.program:double"]
    assert compiling.compile_all("small_package") == []


def test_kernels_that_other_processes_compile_ahead_are_loaded_here(tmp_path):
    program = """
        from numba.core import event
        from lad_rllib.compiling import compile_ahead
        from lad_rllib.kernels import adam, replay

        compile_ahead(["lad_rllib.kernels.adam:adam_step"], ["lad_rllib.kernels.replay:gather"])
        with event.install_recorder("numba:compile") as recorder:
            adam.adam_step.compile(), replay.gather.compile()
        assert all("adam_step" not in str(e.data) and "gather" not in str(e.data) for _, e in recorder.buffer)
        assert adam.adam_step.is_kept() and replay.gather.is_kept()
    """
    run = [sys.executable, "-c", textwrap.dedent(program)]
    subprocess.run(run, check=True, env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)})


def halve(values: Vector) -> None:
    for k in range(len(values)):
        values[k] /= 2


def test_a_kernel_whose_process_was_killed_is_compiled_here(tmp_path, monkeypatch):
    monkeypatch.setattr("numba.core.config.CACHE_DIR", str(tmp_path))
    kernel, values = compiling.kernel(halve), np.array([2, 4], np.float32)
    kernel._elsewhere = subprocess.Popen(["sleep", "60"])
    kernel._elsewhere.kill()
    kernel(values)
    assert values.tolist() == [1, 2]


def test_a_kernel_is_compiled_anew_when_a_room_that_it_calls_into_changes():
    from lad_rllib.algorithms.lad_dispatch.rule import lad_dispatch

    rooms = {room.name for room in compiling._rooms(lad_dispatch._function)}
    assert rooms == {"lad_dispatch", "kernels", "request_rules"}
