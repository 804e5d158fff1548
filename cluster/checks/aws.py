"""Files for ``ray up`` on AWS, played through in a process of their own with an imitation of AWS (moto).

moto and boto3 cannot share a virtual environment with what the package is tested with: botocore asks for
python-dateutil 2, constraints.txt has 4. So they live in a folder beside it, which only that process sees.

Not checked: whether images exist, quotas, what the credentials may do.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib import util
from pathlib import Path

from .findings import ROOT, Document, Finding

PACKAGES = Path(sys.prefix) / "aws-check"
REQUIREMENTS = "cluster/aws-check.txt"
INSTALL = f"pip install --target {PACKAGES} -r {REQUIREMENTS}"
TIMEOUT_S = 300.0


def is_ready() -> bool:
    """Whether moto and boto3 are there."""
    return (PACKAGES / "moto").is_dir() or all(util.find_spec(name) is not None for name in ("moto", "boto3"))


def check_together(documents: Sequence[Document]) -> list[Finding]:
    """What Ray would do with the files on AWS, all in one process, since it takes seconds to start."""
    if not is_ready():
        return [document.note("", f"node_config was not checked; {INSTALL}") for document in documents]
    return list(_play(documents)) if documents else []


def _play(documents: Sequence[Document]) -> Iterator[Finding]:
    with tempfile.TemporaryDirectory() as home:  # Ray writes an SSH key into it
        done = subprocess.run(
            [sys.executable, "-m", "cluster.checks.aws_in_moto"],
            input=json.dumps([document.parts[0] for document in documents]),
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=_environment(home),
            timeout=TIMEOUT_S,
            check=False,
        )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        yield from (document.mistake("", f"cannot be played through: {last}") for document in documents)
        return
    for document, found in zip(documents, json.loads(done.stdout.splitlines()[-1]), strict=True):
        yield from (document.mistake(place, text) for place, text in found)


def _environment(home: str) -> dict[str, str]:
    """No credentials, no settings and no home of the user's; all calls stay in the process."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return own | {
        "HOME": home,
        "PYTHONPATH": os.pathsep.join([str(PACKAGES), str(ROOT)]),
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_EC2_METADATA_DISABLED": "true",
        "MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION": "true",
    }
