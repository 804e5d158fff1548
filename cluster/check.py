"""Look for mistakes in the files of this folder before machines are paid for. Nothing is started, nothing is sent.

  python cluster/check.py                          all files of cluster/
  python cluster/check.py cluster/aws-gpu.yaml     one, or more
  python cluster/check.py --crds crds              KubeRay's schemas, too: kubectl get crd -o yaml > crds/kuberay.yaml

One line for each mistake: file, place, what to do. Exit status 1 if there is one. Files for 'ray up', KubeRay
manifests, configs of Ray Serve, Dockerfiles, runtime environments and fleets are told apart by what they hold. Some
checks need packages of their own ('make check-cluster' brings them); a note says which were left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # as a script, Python would look for packages in this folder only

from cluster.checks import aws, fleets, images, launch_files, manifests, runtime_envs, services  # noqa: E402
from cluster.checks.findings import Document, Finding, one_line, read  # noqa: E402

PATTERNS = ("cluster/*.yaml", "cluster/kuberay/*.yaml", "cluster/serve/*.yaml", "cluster/Dockerfile")


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the files that the arguments name; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="(all files of cluster/)")
    parser.add_argument("--crds", type=Path, metavar="DIR", help="KubeRay's schemas: .yaml or .yaml.gz files")
    parsed = parser.parse_args(arguments)
    files = parsed.files or [path for pattern in PATTERNS for path in sorted(ROOT.glob(pattern))]
    findings = check(files, parsed.crds)
    for finding in findings:
        print(finding)
    mistakes = sum(finding.is_mistake for finding in findings)
    print(f"{_count(len(files), 'file')}, {_count(mistakes, 'mistake')}")
    return 1 if mistakes else 0


def check(files: Sequence[Path], crds: Path | None = None) -> list[Finding]:
    """Check files, together: fleets are held against the clusters among them.

    Args:
        files: Paths.
        crds: Folder with KubeRay's schemas, if there is one.

    Returns:
        What was found, in the order of the files.
    """
    documents, findings = [], []
    for path in files:
        name = str(path.resolve().relative_to(ROOT)) if path.resolve().is_relative_to(ROOT) else str(path)
        try:
            documents.append(read(path, name))
        except OSError as error:
            findings.append(Finding(name, "", f"cannot be read: {error.strerror}"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            mark = getattr(error, "problem_mark", None)
            place = f"line {mark.line + 1}" if mark else ""
            findings.append(Finding(name, place, f"no YAML: {one_line(getattr(error, 'problem', None) or error)}"))
    schemas, problems = manifests.read_schemas(crds)
    findings += problems
    for document in documents:
        findings += _guarded(document, lambda document: _check_one(document, schemas))
    findings += aws.check_together([document for document in documents if launch_files.can_be_played(document, "aws")])
    for document in documents:
        if fleets.is_fleet(document):
            findings += _guarded(document, lambda document: fleets.check(document, documents))
    names = list(dict.fromkeys([str(finding.file) for finding in findings]))
    return sorted(dict.fromkeys(findings), key=lambda finding: (finding.is_mistake, names.index(finding.file)))


def _check_one(document: Document, schemas: dict[str, Any]) -> Iterator[Finding]:
    if images.is_dockerfile(document):
        yield from images.check(document)
    elif launch_files.is_launch_file(document):
        yield from launch_files.check(document)
    elif manifests.is_manifest(document):
        yield from manifests.check(document, schemas)
    elif runtime_envs.is_runtime_env(document):
        yield from runtime_envs.check(document)
    elif services.is_serve_config(document):
        yield from services.check(document, document.parts[0])
    elif not fleets.is_fleet(document):
        yield document.mistake(
            "",
            "neither a file for 'ray up' (provider), nor a manifest (apiVersion), a runtime environment, a config "
            "of Ray Serve (applications) or a fleet",
        )


def _guarded(document: Document, found: Callable[[Document], Iterator[Finding]]) -> list[Finding]:
    """All findings; a file of a shape that a check did not expect is a finding, not a traceback."""
    findings = []
    try:
        for finding in found(document):
            findings.append(finding)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        if not any(finding.is_mistake for finding in findings):
            findings.append(
                document.mistake("", f"cannot be checked, its shape is unexpected: {type(error).__name__}: {error}")
            )
    return findings


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


if __name__ == "__main__":
    sys.exit(main())
