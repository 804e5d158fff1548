"""What the site shows that is not in ``docs/``: pages beside the code, files that pages link to, reference from code.

Links on a page lead to files of the repository, so that they work there, too; here they become links of the site.
"""

from __future__ import annotations

import posixpath
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import reference  # noqa: E402


def _dashed(name: str) -> str:
    return name.replace("_", "-")


BESIDE_THE_CODE = {
    "contributing.md": "CONTRIBUTING.md",
    "explanation/algorithms/index.md": "lad_rllib/algorithms/README.md",
    "explanation/kernels.md": "lad_rllib/kernels/README.md",
    "how-to/cluster.md": "cluster/README.md",
    "reference/changelog.md": "CHANGELOG.md",
    "reference/embedded-model.md": "lad_rllib/edge/embedded_model/README.md",
    "reference/sample-log.md": "lad_rllib/data/README.md",
    "reference/security.md": "SECURITY.md",
}
"""Pages of the site, and the files of the repository that they are."""
ALGORITHMS = sorted(path.parent.name for path in (ROOT / "lad_rllib" / "algorithms").glob("*/README.md"))
for _name in ALGORITHMS:
    BESIDE_THE_CODE[f"explanation/algorithms/{_dashed(_name)}.md"] = f"lad_rllib/algorithms/{_name}/README.md"
FENCED = re.compile(r"(^```.*?^```)", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s#]+)(#[^)\s]*)?\)")
GENERATED = re.compile(r"<!-- generated: ([\w-]+) -->")
SPHINX_ROLE = re.compile(r":(?:class|func|meth|mod|data|attr|exc):<code>(?:~[\w.]*\.)?(\w[\w.]*)</code>")


def on_config(config: Any) -> None:
    """Give every algorithm that has a page a place in the navigation, the project's own two first."""
    explanation = next(group["Explanation"] for group in config.nav if "Explanation" in group)
    algorithms = next(group["Algorithms"] for group in explanation if "Algorithms" in group)
    for name in sorted(ALGORITHMS, key=lambda name: (name != "lad_ts", name != "lad_pmd", name)):
        algorithms.append({_dashed(name).upper(): f"explanation/algorithms/{_dashed(name)}.md"})


def on_files(files: Files, config: Any) -> Files:
    """Add the pages beside the code, and what pages link to."""
    for uri, source in BESIDE_THE_CODE.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / source)))
    pages = [file for file in files if file.src_uri.endswith(".md")]
    for path in sorted({path for page in pages for path in linked_files(source_of(page.src_uri))}):
        files.append(File.generated(config, site_uri(path), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links of the repository into the site's, and fill in what is made of code."""
    uri = page.file.src_uri
    markdown = GENERATED.sub(lambda found: reference.PARTS[found[1]](), markdown)
    parts = FENCED.split(markdown)
    parts[::2] = [LINK.sub(lambda link: site_link(link, uri), part) for part in parts[::2]]
    return "".join(parts)


def on_page_content(html: str, **_: Any) -> str:
    """Take Sphinx's roles out of docstrings."""
    return SPHINX_ROLE.sub(r"<code>\1</code>", html)


def source_of(uri: str) -> Path:
    """The file of the repository that is a page of the site."""
    return ROOT / BESIDE_THE_CODE[uri] if uri in BESIDE_THE_CODE else DOCS / uri


def site_uri(path: Path) -> str:
    """Where a file of the repository is on the site."""
    name = path.relative_to(ROOT).as_posix()
    page = next((uri for uri, source in BESIDE_THE_CODE.items() if source == name), None)
    if page is None and path.is_relative_to(DOCS):
        return path.relative_to(DOCS).as_posix()
    return page or ("index.md" if name == "README.md" else f"files/{name}")


def linked_files(page: Path) -> Iterator[Path]:
    """Files that a page links to, pages and images of the site left out."""
    for part in FENCED.split(page.read_text(encoding="utf-8"))[::2]:
        for link in LINK.finditer(part):
            path = (page.parent / link[1]).resolve()
            if "://" not in link[1] and path.is_file() and site_uri(path).startswith("files/"):
                yield path


def site_link(link: re.Match[str], uri: str) -> str:
    """A link of the repository as one of the site; others as they are."""
    path = (source_of(uri).parent / link[1]).resolve()
    if "://" in link[1] or not path.is_file():
        return link[0]
    return f"]({posixpath.relpath(site_uri(path), posixpath.dirname(uri) or '.')}{link[2] or ''})"
