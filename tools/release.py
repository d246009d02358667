"""Checks a release before it is published, and gathers what belongs to it in _build/release.

    python tools/release.py wheel    builds the wheel of the last commit, and prints the hash for pyproject.toml
    python tools/release.py          checks everything, and names all that is wrong

CONTRIBUTING.md has the order of a release. The wheel holds the library alone, so that its hash, which stands in
pyproject.toml and in the notebooks, does not change it.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import yaml
from address import Release, release, stale
from project import ROOT, config

FOLDER = ROOT / "_build" / "release"
TAKEN = ("badnets-book.zip", "badnets-book.pdf")  # what `make zip` and `make pdf` leave in _build
BUILDER = "setuptools==84.2.1\n"  # it signs the wheel with its version
HEADING = re.compile(r"^## (\S+) \((\d{4}-\d{2}-\d{2})\)$", re.MULTILINE)


def git(*words: str) -> str:
    """What git says."""
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def placeholder(where: Release) -> Iterator[str]:
    """An address that is nobody's."""
    if not where.published:
        yield f"{where.address} is a placeholder: set [project.urls] and `published` in pyproject.toml"


def versions(where: Release, root: Path = ROOT) -> Iterator[str]:
    """Files that state another version or date than pyproject.toml and the changelog."""
    headings = HEADING.findall((root / "CHANGELOG.md").read_text(encoding="utf-8"))
    latest, dated = headings[0] if headings else ("none", "")
    if latest != where.version:
        yield f"CHANGELOG.md begins with {latest}, and the version is {where.version}"
    cited = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    if str(cited["version"]) != where.version:
        yield f"CITATION.cff has version {cited['version']}, and the version is {where.version}"
    if dated and str(cited["date-released"]) != dated:
        yield f"CITATION.cff is dated {cited['date-released']}, and CHANGELOG.md {dated}"
    archived = json.loads((root / ".zenodo.json").read_text(encoding="utf-8"))["version"]
    if archived != where.version:
        yield f".zenodo.json has version {archived}, and the version is {where.version}"


def tagged(where: Release) -> Iterator[str]:
    """A tree with changes, or another commit than the tag's."""
    if git("status", "--porcelain", "--untracked-files=no"):
        yield "there are changes that are not committed"
    if where.tag not in git("tag", "--points-at", "HEAD").split():
        yield f"the last commit does not carry the tag {where.tag}"


def notebooks(where: Release) -> Iterator[str]:
    """Setup cells, badges and rocket buttons of another release."""
    branch = config()["repository"]["branch"]
    if branch != where.reference:
        yield f"_config.yml sends readers to {branch}, and the release is {where.reference}"
    yield from (f"{path.relative_to(ROOT)} is old: run `make address`" for path in stale(where))


def built(where: Release, folder: Path = FOLDER) -> Iterator[str]:
    """A wheel with another hash, and files that were not built, or before the last commit."""
    wheel = folder / where.wheel
    if not wheel.exists():
        yield f"{where.wheel} was not built: run `python tools/release.py wheel`"
    elif sha256(wheel) != where.sha256:
        yield f"{where.wheel} has the hash {sha256(wheel)}, and pyproject.toml says {where.sha256 or 'none'}"
    committed = int(git("log", "-1", "--format=%ct"))
    for name in TAKEN:
        file = folder.parent / name
        if not file.exists() or file.stat().st_mtime < committed:
            yield f"{name} was not built since the last commit: run `make {file.suffix[1:]}`"


CHECKS = (placeholder, versions, tagged, notebooks, built)


def sha256(path: Path) -> str:
    """The hash of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def build_wheel(folder: Path = FOLDER) -> Path:
    """Build the wheel of the last commit, alike on every machine; return its path.

    Raises:
        subprocess.CalledProcessError: pip could not build it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tree = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, capture_output=True, check=True).stdout
    with tempfile.TemporaryDirectory() as place:
        with tarfile.open(fileobj=io.BytesIO(tree)) as archive:
            archive.extractall(place, filter="data")
        pinned = Path(place) / "builder.txt"
        pinned.write_text(BUILDER, encoding="utf-8")
        pins = {"PIP_CONSTRAINT": str(pinned), "PIP_BUILD_CONSTRAINT": str(pinned)}  # before pip 25.3, and since
        environment = os.environ | pins | {"SOURCE_DATE_EPOCH": "1577836800"}
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), place]
        subprocess.run(command, env=environment, check=True)
    return folder / release().wheel


def gather(where: Release) -> None:
    """Copy what was built beside the wheel, with a list of hashes."""
    for name in TAKEN:
        shutil.copy2(FOLDER.parent / name, FOLDER / name)
    names = sorted([where.wheel, *TAKEN])
    text = "".join(f"{sha256(FOLDER / name)}  {name}\n" for name in names)
    (FOLDER / "SHA256SUMS").write_text(text, encoding="utf-8")
    print(f"{where.tag} is ready in {FOLDER.relative_to(ROOT)}: upload it to the tag")


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description="Check a release.")
    parser.add_argument("what", nargs="?", choices=["wheel", "check"], default="check")
    if parser.parse_args().what == "wheel":
        path = build_wheel()
        print(f'wheel-sha256 = "{sha256(path)}"')
        return
    where = release()
    if wrong := [fault for check in CHECKS for fault in check(where)]:
        raise SystemExit("\n".join(["This is no release:", *(f"- {fault}" for fault in wrong)]))
    gather(where)


if __name__ == "__main__":
    main()
