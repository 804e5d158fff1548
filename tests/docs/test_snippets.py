"""The Python and the settings on the pages run as they stand, each page in a process of its own in an empty folder."""

import ast
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import ray
import yaml

from lad_rllib.simulator import build_setting
from lad_rllib.simulator.requests import build_request_setting, override_request_spec
from tests.docs.pages import PAGES, ROOT, blocks
from tests.docs.test_commands import command_lines

USES_RAY = {"README.md"}
LONG = {"docs/how-to/rllib.md", "docs/how-to/fleets.md", "docs/how-to/edge-servers.md"}
TESTED_WITH_ITS_PACKAGE = {"docs/how-to/extend.md"}  # tests/extensions


def pages_with_python():
    for page in PAGES:
        name = str(page.relative_to(ROOT))
        if blocks(page, "python") and name not in TESTED_WITH_ITS_PACKAGE:
            marks = [pytest.mark.cluster] if name in USES_RAY | LONG else []
            marks += [pytest.mark.extended] if name in LONG else []
            yield pytest.param(page, id=name, marks=marks)


def run(arguments, folder, timeout, **environment):
    """What a process prints; it must end well."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name)
def test_the_python_of_a_page_imports_names_that_exist(page):
    for text in blocks(page, "python"):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] == "lad_rllib":
                module = import_module(node.module)
                assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


@pytest.mark.slow
@pytest.mark.parametrize("page", list(pages_with_python()))
def test_the_python_of_a_page_runs(page, tmp_path, request):
    (tmp_path / "page.py").write_text("\n\n".join(blocks(page, "python")))
    environment = {}
    if str(page.relative_to(ROOT)) in USES_RAY:  # where there is none, RLlib starts one: a page of LONG has it do so
        request.getfixturevalue("ray_cluster")
        environment["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
    printed = run([sys.executable, "page.py"], tmp_path, timeout=900, **environment)
    if page.name in ("README.md", "rllib.md") and page.parent.name != "lad_rllib":
        assert len(re.findall(r"^\d+\.\d+ \d+\.\d+$", printed, re.MULTILINE)) >= page.read_text().count("range(5)") * 5


def test_the_settings_of_the_guide_build():
    (text,) = blocks(ROOT / "docs" / "how-to" / "network.md", "yaml")
    assert build_setting(yaml.safe_load(text)).network.num_stations == 30
    own, log = (yaml.safe_load(text) for text in blocks(ROOT / "docs" / "how-to" / "traffic.md", "yaml"))
    assert build_request_setting(own).load == pytest.approx(0.7)
    sample = {"path": "sample", "format": "gentd26"}
    assert build_request_setting(override_request_spec(log, {"traffic": sample})).load == pytest.approx(0.6)


@pytest.mark.cluster
@pytest.mark.extended
def test_a_newcomer_reaches_the_end_of_the_tutorial(tmp_path):
    page = ROOT / "docs" / "tutorial.md"
    command = str(Path(sys.executable).with_name("lad-rllib"))
    commands = [words for words in command_lines("".join(blocks(page, "sh"))) if words[0] == "lad-rllib"]
    for words in commands:
        if words[1:] == ["serve"]:  # until Ctrl-C: tests/serving/test_command.py
            continue
        run([command, *words[1:]], tmp_path, timeout=600)
    assert (tmp_path / commands[-1][commands[-1].index("--output") + 1] / "contact_sheet.png").is_file()
