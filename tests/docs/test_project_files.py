"""Files that an open project has agree with the package and with each other."""

import re

import pytest
import yaml

import lad_rllib
from tests.docs.pages import ROOT

TARGETS = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("workflow", sorted((ROOT / ".github" / "workflows").glob("*.yml")), ids=lambda path: path.stem)
def test_a_workflow_runs_make_targets_alone(workflow):
    jobs = yaml.safe_load(workflow.read_text())["jobs"].values()
    commands = [step["run"] for job in jobs for step in job["steps"] if "run" in step]
    assert commands and all(command.split()[0] == "make" and command.split()[1] in TARGETS for command in commands)


def test_contributing_names_targets_that_exist():
    named = set(re.findall(r"`?make ([a-z-]+)", (ROOT / "CONTRIBUTING.md").read_text()))
    assert {"check", "test", "docs", "build"} <= named <= TARGETS


def test_citation_and_changelog_have_the_version_and_its_date():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == lad_rllib.__version__
    assert f"\n## [{lad_rllib.__version__}] - {citation['date-released']}\n" in (ROOT / "CHANGELOG.md").read_text()


def test_issue_templates_and_hooks_are_well_formed():
    for template in ("bug", "feature"):
        form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / f"{template}.yml").read_text())
        assert form["name"] and all(field["id"] and field["attributes"]["label"] for field in form["body"])
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert {hook["entry"].split()[0] for hook in repository["hooks"]} == {".venv/bin/ruff"}
