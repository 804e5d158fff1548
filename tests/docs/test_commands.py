"""What the pages tell a user to type works as it stands, and links lead somewhere."""

import re
import shlex
from importlib import import_module
from itertools import takewhile
from pathlib import Path

import pytest

from lad_rllib import names
from lad_rllib.cli.flags import read
from lad_rllib.cli.main import parser
from lad_rllib.cli.program import Program
from tests.docs.pages import BLOCK, NAMED_BY_PAGE, ROOT, blocks

INLINE = re.compile(r"`((?:lad-rllib \w+|python -m (?:experiments|benchmarks)\.\w+) -[^`…]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
KNOWN_NAMES = {
    *names.SHIPPED_FLEETS,
    *names.SETTING_PRESETS,
    *names.REQUEST_PRESETS,
    *names.RANDOM_FLEETS,
    *names.SHIPPED_POLICIES,
    *("uniform", "poisson", "sample"),
}
OURS = ("lad-rllib ", "python -m experiments.", "python -m benchmarks.", "make ", "cp ")
INPUTS = ("fleet", "file", "setting", "config", "checkpoint", "init_from", "prompts", "arrivals", "log", "space")


def command_lines(text):
    """The words of every command of ours, comments and redirections left out."""
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.startswith(OURS)]
    return [list(takewhile(">".__ne__, shlex.split(line, comments=True))) for line in lines]


def parsed(words):
    """A command's arguments, with values that its options may have; None if it is not one of ours."""
    if words[0] == "lad-rllib" and not {"--help", "--version"} & set(words):
        arguments = parser().parse_args(words[1:])
        read(arguments.run.options_class(), arguments)
        return arguments
    if words[:2] == ["python", "-m"]:
        program = import_module(words[2]).main
        return program.parse(words[3:]) if isinstance(program, Program) else None
    return None


def check(commands, capsys):
    """Every command parses; the files that it reads are in the repository or made by an earlier one."""
    made = []
    for words in commands:
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), words
        elif words[0] == "cp":
            assert (ROOT / words[1]).is_file(), words
            made.append(words[2])
        try:
            arguments = parsed(words)
        except SystemExit:
            pytest.fail(f"{shlex.join(words)}: {capsys.readouterr().err}")
        for name in INPUTS if arguments else ():
            given = getattr(arguments, name, None) or []
            for file in given if isinstance(given, list) else [given]:
                if file not in KNOWN_NAMES and not (ROOT / file).exists():
                    assert any(Path(file).is_relative_to(folder) for folder in made), f"{shlex.join(words)}: no {file}"
        if output := getattr(arguments, "output", None):
            assert output in made or not getattr(arguments, "resume", False), f"nothing to go on with: {words}"
            made.append(output)


@NAMED_BY_PAGE
def test_every_command_parses_and_its_files_exist_or_are_made_by_an_earlier_one(page, capsys):
    check(command_lines("".join(blocks(page, "sh"))), capsys)


def test_the_demo_ends_with_commands_that_find_what_it_has_made(capsys):
    recipe = re.search(r"^demo:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    commands = command_lines(re.sub(r'^\t(\$\(BIN\)/|@echo "  )|"$', "", recipe, flags=re.MULTILINE))
    assert "source $(BIN)/activate" in recipe and commands[-1] == ["lad-rllib", "--help"]
    check(commands, capsys)


@NAMED_BY_PAGE
def test_every_link_leads_to_a_file_and_a_heading_that_exist(page):
    for link in LINK.findall(BLOCK.sub("", page.read_text())):
        target, _, heading = link.partition("#")
        file = page.parent / target if target else page
        assert "://" in target or file.exists(), link
        if heading and file.suffix == ".md":
            titles = re.findall(r"^#+ (.*)$", BLOCK.sub("", file.read_text()), re.MULTILINE)
            assert heading in [re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles], link


@NAMED_BY_PAGE
def test_every_command_within_the_text_parses(page, capsys):
    for command in INLINE.findall(page.read_text()):
        try:
            parsed(shlex.split(command))
        except SystemExit:
            pytest.fail(f"{command}: {capsys.readouterr().err}")


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120
