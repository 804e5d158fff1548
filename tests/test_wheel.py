"""The wheel, installed and used in a new environment from an empty folder."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("lad_rllib", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")


def run(arguments, folder):
    """What a process prints; it must end well."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def bin_folder(tmp_path_factory):
    """Programs of a new environment that has the wheel, and finds the other packages where the tests have them."""
    folder = tmp_path_factory.mktemp("wheel")
    source, environment = folder / "source", folder / "environment"
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        source.mkdir(exist_ok=True)
        copy(ROOT / name, source / name)
    run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)], folder)
    (wheel,) = folder.glob("*.whl")
    run([sys.executable, "-m", "venv", "--without-pip", str(environment)], folder)
    python = environment / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", "--no-index", str(wheel)]
    run(pip, folder)
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python.parent


@pytest.fixture
def command(bin_folder, tmp_path):
    """Run a program of the environment in an empty folder."""
    return lambda program, *arguments: run([str(bin_folder / program), *arguments], tmp_path)


@pytest.mark.slow
def test_the_package_of_the_wheel_is_imported_and_says_that_it_has_types(command, bin_folder):
    where = Path(command("python", "-c", "import lad_rllib; print(lad_rllib.__file__)").strip())
    assert where.is_relative_to(bin_folder.parent)
    assert (where.parent / "py.typed").is_file()


@pytest.mark.cluster
@pytest.mark.slow
def test_the_commands_run_from_an_empty_folder(command, tmp_path):
    fleet, torch = ["--fleet", "emulated", "--in-process"], ["--config", "torch.yaml"]
    (tmp_path / "torch.yaml").write_text("kernels: torch\n")  # compiling others takes 45 s of a core
    command("lad-rllib", "fleet", "check", "digits")
    others = [
        ["fleet", "calibrate", *fleet, "--smoke", "--output", "calibration"],
        ["train", "--setting", "calibration/setting.yaml", "--episodes", "1", *torch, "--output", "run"],
        ["evaluate", "--checkpoint", "run/checkpoint", "--episodes", "1"],
        ["generate", *fleet, "--tasks", "2", "--checkpoint", "run/checkpoint", "--output", "images"],
        ["tune", "--smoke", "--trials", "1", *torch, "--output", "search"],
    ]
    # One process for all of them: each would spend most of its time on imports.
    one_by_one = "import json, sys; from lad_rllib.cli import main; sys.exit(any(map(main, json.loads(sys.argv[1]))))"
    command("python", "-c", one_by_one, json.dumps(others))
    for file in ("run/evaluation.csv", "images/contact_sheet.png", "search/best.yaml"):
        assert (tmp_path / file).is_file(), file


@pytest.mark.cluster
@pytest.mark.extended
def test_training_compiles_kernels_where_the_wheel_is_installed(command, tmp_path):
    setting = {"--setting": "small", "--episodes": "1", "--output": "run"}
    command("lad-rllib", "train", *(word for pair in setting.items() for word in pair))
    assert (tmp_path / "run" / "learning_curve.png").is_file()
