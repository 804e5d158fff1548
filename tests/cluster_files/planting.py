"""Mistakes planted into copies of the shipped files, and what the checks say of them."""

from pathlib import Path

from cluster.check import check
from cluster.checks.findings import ROOT

CLUSTER = ROOT / "cluster"


def planted(folder, name, *changes):
    """A copy of a shipped file in which texts are replaced; each must be there, so that no plant is forgotten.

    Args:
        folder: Where the copy goes.
        name: Of the file in cluster/.
        changes: Pairs of the old text and the new one.
    """
    text = (CLUSTER / name).read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text, f"{name} does not hold {old!r}"
        text = text.replace(old, new)
    path = folder / Path(name).name
    path.write_text(text, encoding="utf-8")
    return path


def mistakes(*paths, crds=None):
    """Place and text of each mistake in files."""
    return [(finding.place, finding.text) for finding in check(paths, crds) if finding.is_mistake]
