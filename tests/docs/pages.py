"""Pages that a user reads, and the blocks of code on them."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / page for page in ("README.md", "SECURITY.md", "CONTRIBUTING.md", "cluster/README.md")),
    *sorted(ROOT.glob("docs/**/*.md")),
    *sorted(ROOT.glob("lad_rllib/**/README.md")),
]
NAMED_BY_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)


def blocks(page: Path, *languages: str) -> list[str]:
    """The page's blocks of code in these languages."""
    return [text for language, text in BLOCK.findall(page.read_text()) if language in languages]
