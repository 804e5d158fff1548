"""Runtime environments of ``ray job submit``: Ray's own checks, and what would travel."""

from __future__ import annotations

import logging
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from .findings import Document, Finding, unknown_keys, walk_strings
from .pins import wrong_pins

NEEDED = ("lad_rllib/__init__.py", "experiments/learning.py")


def is_runtime_env(document: Document) -> bool:
    """Whether it is a runtime environment."""
    keys = {"working_dir", "py_modules", "pip", "uv", "conda", "env_vars", "excludes", "image_uri"}
    return bool(document.parts) and isinstance(document.parts[0], dict) and bool(keys & document.parts[0].keys())


def check(document: Document) -> Iterator[Finding]:
    """All mistakes of a runtime environment."""
    from ray.runtime_env import RuntimeEnv

    values = document.parts[0]
    for key, hint in unknown_keys(values, RuntimeEnv.known_fields):
        yield document.mistake(key, f"no field of a runtime environment{hint}")
    try:
        RuntimeEnv(**{key: value for key, value in values.items() if key in RuntimeEnv.known_fields - {"working_dir"}})
    except (TypeError, ValueError) as error:
        yield document.mistake("", f"Ray refuses it: {error}")
        return
    for place, text in walk_strings(values):
        for problem in wrong_pins(text):
            yield document.mistake(place, problem)
    folder = values.get("working_dir")
    if folder is not None and "://" not in str(folder):
        yield from _working_dir(document, document.root / str(folder), values.get("excludes") or [])


def _working_dir(document: Document, folder: Path, excludes: list[str]) -> Iterator[Finding]:
    """Pack it as Ray would, and look what came in."""
    from ray._private.ray_constants import RAY_RUNTIME_ENV_IGNORE_GITIGNORE, get_runtime_env_default_excludes
    from ray._private.runtime_env import packaging

    if not folder.is_dir():
        yield document.mistake("working_dir", f"there is no folder {folder}; it starts where 'ray job submit' runs")
        return
    logging.getLogger("ray._private.runtime_env").setLevel(logging.WARNING)
    excludes = [*get_runtime_env_default_excludes(), *excludes]  # .venv among them
    with tempfile.TemporaryDirectory() as temporary:
        package = Path(temporary) / "package.zip"
        packaging.create_package(str(folder), package, not RAY_RUNTIME_ENV_IGNORE_GITIGNORE, excludes=excludes)
        if package.stat().st_size >= packaging.GCS_STORAGE_MAX_SIZE:
            yield document.mistake(
                "working_dir",
                f"{package.stat().st_size >> 20} MiB are too many, Ray sends {packaging.GCS_STORAGE_MAX_SIZE >> 20} at "
                f"most; name what may stay in excludes",
            )
        with zipfile.ZipFile(package) as archive:
            names = set(archive.namelist())
    for needed in NEEDED:
        if needed not in names:
            yield document.mistake("excludes", f"{needed} would not travel, and jobs need it")
