"""The site builds strictly and has the whole public API."""

import re

import pytest

import lad_rllib
from tests.docs.pages import ROOT


def test_the_page_of_the_api_has_exactly_the_public_names():
    page = (ROOT / "docs" / "reference" / "api.md").read_text()
    assert sorted(re.findall(r"^::: lad_rllib\.(\w+)$", page, re.MULTILINE)) == sorted(
        set(lad_rllib.__all__) - {"__version__"}
    )


@pytest.mark.slow
def test_the_site_builds_strictly_with_every_command_and_result(tmp_path, monkeypatch):
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    monkeypatch.setenv("NO_MKDOCS_2_WARNING", "1")
    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path)))  # strict: a warning raises
    text = (tmp_path / "reference" / "command-line" / "index.html").read_text()
    assert all(command in text for command in ("lad-rllib train", "lad-rllib fleet up", "--num-env-runners"))
    assert (tmp_path / "files" / "experiments" / "results" / "tune_paper" / "best.yaml").is_file()
    assert "arXiv 2412.18212" in (tmp_path / "explanation" / "algorithms" / "lad-ts" / "index.html").read_text()
    assert not list(tmp_path.rglob("*.py"))
