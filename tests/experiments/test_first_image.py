"""The first image over HTTP: what is asked of a service, in which order, and what is left. None is started here."""

import shutil
import sys

import pandas as pd
import pytest

from experiments import first_image
from tests.api.running import service

SERVES = "import time; print('page:   {}/'); print('end it: Ctrl-C', flush=True); time.sleep(600)"


@pytest.fixture
def starts(monkeypatch):
    """Has commands be other processes: ``lad-rllib serve`` this program, others one that ends at once."""
    given = []

    def begin(program):
        def said(words):
            given.append(list(words))
            return [sys.executable, "-c", program if words[:2] == ["serve", "--fleet"] else "pass"]

        monkeypatch.setattr(first_image, "said", said)
        monkeypatch.setattr(shutil, "which", lambda name: None)  # no browser
        return given

    return begin


def test_it_serves_draws_times_tunes_and_swaps_in_this_order(starts, tmp_path, capsys):
    with service((400.0, 200.0)) as running:
        given = starts(SERVES.format(running.url))
        words = ["--images", "4", "--gap", "0.01", "--setting", "own.yaml", "--output", str(tmp_path)]
        assert first_image.main(words) == 0
        assert running.gateway.statistics.served.total() == 1 + 4 + 1
    assert (tmp_path / "first_image.png").read_bytes().startswith(b"\x89PNG")
    (row,) = pd.read_csv(tmp_path / "first_image.csv").to_dict("records")
    assert 0 < row["ready_s"] < row["first_image_s"]
    serve, train, swap = given
    assert serve[:-1] == ["serve", "--fleet", "digits", "--checkpoint", "any-fleet", "--port"]
    begun = ["train", "--algorithm", "lad-dispatch", "--init-from", "any-fleet", "--setting", "own.yaml"]
    assert train[: len(begun)] == begun
    assert swap == ["serve", "swap", str(tmp_path / "tuned" / "checkpoint"), "--url", running.url]
    out = capsys.readouterr().out
    assert out.index("the first image came") < out.index("no picture of the page") < out.index("the tuned policy")


def test_a_service_that_does_not_start_is_one_line(starts, tmp_path, capsys):
    starts("print('no fleet')")
    assert first_image.main(["--output", str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert (
        said.err == "lad-rllib first_image: the service did not start; it says why above\n" and "no fleet" in said.out
    )
