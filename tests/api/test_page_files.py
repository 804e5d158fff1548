"""The page's files: whole, from this package alone, and with nothing inline that its policy would refuse."""

import hashlib
import re
from pathlib import Path

import pytest

import lad_rllib

PAGE = Path(lad_rllib.__file__).parent / "api" / "page"
VENDOR = PAGE / "vendor"
OURS = {
    path.relative_to(PAGE).as_posix(): path.read_text()
    for path in PAGE.rglob("*")
    if path.is_file() and path.parent != VENDOR
}


def loaded():
    """Files that the page's own files load."""
    yield from (PAGE / name.removeprefix("page/") for name in re.findall(r'(?:href|src)="(.+?)"', OURS["index.html"]))
    for name, text in OURS.items():
        yield from ((PAGE / name).parent / other for other in re.findall(r' from "(.+?)"', text))


def test_the_page_consists_of_what_it_loads():
    files = {path.resolve() for path in PAGE.rglob("*.*") if path.suffix in (".js", ".css", ".svg")}
    assert {path.resolve() for path in loaded()} == files


@pytest.mark.parametrize("name", OURS)
def test_a_file_names_no_other_host(name):
    assert re.findall(r"https?:|//[a-z]", OURS[name].replace("http://www.w3.org/2000/svg", "")) == []


@pytest.mark.parametrize("name", [name for name in OURS if name.endswith((".html", ".js"))])
def test_a_file_has_no_inline_script_or_style(name):
    assert re.findall(r"<style|<script(?! src=)| style=[\"']| on\w+=[\"']|eval\(|javascript:", OURS[name]) == []


def test_vendored_files_are_those_of_the_table():
    rows = re.findall(r"^\| `(.+?)` \|.*`([0-9a-f]{64})` \|$", (VENDOR / "README.md").read_text(), re.M)
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in VENDOR.glob("*.[jc]*s*")}
    assert dict(rows) == found


def test_each_licence_of_the_table_is_there():
    names = re.findall(r"\]\((.+?)\)", (VENDOR / "README.md").read_text())
    assert set(names) == {path.name for path in VENDOR.glob("LICENSE-*")}
