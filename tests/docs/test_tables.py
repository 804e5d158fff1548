"""Numbers of results on the pages are those of the files, and no file is kept that no page uses."""

import re

import pytest

from experiments.pages import BLOCK, TABLES, filled, pages
from experiments.pages.reading import ROOT
from lad_rllib.runs.tables import mean_sd
from tests.docs.pages import PAGES


@pytest.mark.parametrize(
    "page", [page for page in pages() if BLOCK.search(page.read_text())], ids=lambda page: page.name
)
def test_tables_of_a_page_are_those_of_the_files(page):
    text = page.read_text()
    assert filled(text) == text, "run python -m experiments.pages"


def test_every_table_is_on_a_page():
    on_pages = {name for page in pages() for _, name, _ in BLOCK.findall(page.read_text())}
    assert on_pages == set(TABLES)


def test_a_changed_number_changes_the_page():
    page = "Text.\n<!-- results: tuned -->\n| old |\n<!-- end of results -->\nMore."
    written = filled(page)
    assert "| old |" not in written and "1.060 ± 0.013" in written and written.endswith("\nMore.")


@pytest.mark.parametrize(
    ("value", "digits", "sd", "text"),
    [
        (1.0384, 3, 0.0019, "1.038 ± 0.002"),
        (7.32, 2, 0.001, "7.32"),
        (7.32, 2, float("nan"), "7.32"),
        (float("nan"), 2, 1.0, ""),
    ],
)
def test_a_spread_is_shown_where_there_is_one(value, digits, sd, text):
    assert mean_sd(value, digits, sd) == text


def test_every_kept_result_is_used_by_a_page(monkeypatch):
    read = set()
    for module in ("fleets", "learning", "measured"):
        monkeypatch.setattr(f"experiments.pages.{module}.read", _recording(read, module))
    for table in TABLES.values():
        _, rows = table()
        list(rows)
    text = "".join(page.read_text() for page in PAGES)
    kept = [path for room in ("experiments", "benchmarks") for path in (ROOT / room / "results").rglob("*.*")]
    assert [path for path in kept if path not in read and not re.search(re.escape(path.name), text)] == []


def _recording(read, module):
    from experiments.pages import reading

    def reader(stem, folder=reading.EXPERIMENTS, **columns):
        read.add(folder / f"{stem}.csv")
        return reading.read(stem, folder, **columns)

    return reader
