"""Whether chapters run where a Colab user runs them: another Python, another torch, an empty folder, no book.

    python tools/colab.py resolve    asks uv which versions it would take, for each Python and torch; installs nothing
    python tools/colab.py run        builds one such environment, and runs three chapters in it (minutes)

Colab brings torch, torchvision, numpy and Jupyter. The setup cell must leave the first three alone, and install the
rest. What runs here is the notebook as it is committed, with BADNETS_SOURCE naming the wheel of the last commit.
`--record` writes the outcome to tools/colab.json, from which the status page has its date.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from project import CHAPTERS, ROOT, settings
from release import build_wheel

RECORD = ROOT / "tools" / "colab.json"
PYTHONS = ("3.12", "3.13")
TORCHES = {
    "oldest": ("torch==2.10.0", "torchvision==0.25.0"),
    "tested": ("torch==2.13.0", "torchvision==0.28.0"),  # those of constraints.txt
    "newest": ("torch", "torchvision"),
}
CHAPTERS_RUN = ("02_attack_success_rate", "09_trigger_families", "14_survival_and_provenance")
"""Together they take every extra."""
BROUGHT = ("numpy", "ipykernel", "nbclient", "nbformat")  # by Colab, or to run a notebook at all
PIP = ("--disable-pip-version-check", "--quiet")

EXECUTE = """
import os, sys, nbformat
from nbclient import NotebookClient
for path in sys.argv[1:]:
    notebook = nbformat.read(path, as_version=4)
    here = {"metadata": {"path": os.getcwd()}}
    NotebookClient(notebook, timeout=1800, kernel_name="python3", resources=here).execute()
    print(path, "ran")
"""
VERSIONS = (
    "import json, numpy, torch, torchvision; print(json.dumps([m.__version__ for m in (torch, torchvision, numpy)]))"
)


class Failed(Exception):
    """An environment that cannot be had, or in which a chapter fails."""


def core() -> list[str]:
    """What the library requires beside torch and torchvision, extras included."""
    project = settings()["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    lines = [*project["dependencies"], *extras]
    return [line for line in lines if Requirement(line).name not in ("torch", "torchvision")]


def told(command: list[str], **more: Any) -> str:
    """What a command prints.

    Raises:
        Failed: It failed; with the end of what it said.
    """
    done = subprocess.run(command, capture_output=True, text=True, **more)
    if done.returncode:
        raise Failed("\n".join((done.stdout + done.stderr).strip().splitlines()[-12:]))
    return str(done.stdout)


def resolved(python: str, torch: tuple[str, str]) -> dict[str, str]:
    """The versions that uv would take beside this torch: a dry run of the resolver, which reads metadata alone.

    Raises:
        Failed: No set of versions fits, or there is no uv.
    """
    uv = shutil.which("uv")
    if uv is None:
        raise Failed("a dry run takes uv, because pip's own fetches gigabytes: pip install uv")
    with tempfile.TemporaryDirectory() as place:
        wanted = Path(place) / "wanted.txt"
        wanted.write_text("\n".join([*torch, *core()]) + "\n", encoding="utf-8")
        command = [uv, "pip", "compile", str(wanted), "--python-version", python, "--quiet"]
        lines = told([*command, "--no-header", "--no-annotate", "--python-platform", "linux"]).split()
    return {name: version for name, _, version in (line.partition("==") for line in lines)}


def resolve_all() -> list[dict[str, Any]]:
    """Each Python with the oldest, the tested and the newest torch.

    Raises:
        Failed: One of them has no set of versions.
    """
    cases = []
    for python in PYTHONS:
        for age, torch in TORCHES.items():
            taken = resolved(python, torch)
            cases.append({"python": python, "age": age, "torch": taken["torch"], "numpy": taken["numpy"]})
    return cases


def environment(place: Path, interpreter: str, torch: tuple[str, str]) -> Path:
    """A fresh environment with what Colab brings, and its Python.

    Raises:
        Failed: It cannot be made.
    """
    told([interpreter, "-m", "venv", str(place)])
    python = place / "bin" / "python"
    wanted = [*torch, *BROUGHT]
    if uv := shutil.which("uv"):  # it knows where the CPU build is
        told([uv, "pip", "install", "-q", "--python", str(python), "--torch-backend=cpu", *wanted])
    else:
        told([str(python), "-m", "pip", "install", *PIP, *wanted])
    return python


def run_chapters(interpreter: str, torch: tuple[str, str], chapters: tuple[str, ...] = CHAPTERS_RUN) -> dict[str, Any]:
    """Run chapters in an empty folder, in an environment that lacks the library, and say with what.

    Raises:
        Failed: It cannot be built, a chapter fails, or the setup cell replaced what was there.
    """
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        python = environment(home / "env", interpreter, torch)
        before = json.loads(told([str(python), "-c", VERSIONS]))
        (home / "empty").mkdir()
        for name in chapters:
            shutil.copy2(CHAPTERS / f"{name}.ipynb", home / "empty")
        wheel = build_wheel(home / "wheel")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHONPATH", "BADNETS"))}
        settled = kept | {"BADNETS_SOURCE": str(wheel), "TQDM_DISABLE": "1", "XDG_CACHE_HOME": str(home / "cache")}
        names = [f"{name}.ipynb" for name in chapters]
        told([str(python), "-c", EXECUTE, *names], cwd=home / "empty", env=settled)
        after = json.loads(told([str(python), "-c", VERSIONS]))
        if before != after:
            raise Failed(f"the setup cell replaced torch, torchvision or numpy: {before} became {after}")
        version = told([str(python), "-c", "import platform; print(platform.python_version())"]).strip()
    return {"python": version, "torch": after[0], "numpy": after[2], "chapters": list(chapters)}


def record(entry: dict[str, Any], file: Path = RECORD) -> None:
    """Put what succeeded on record, under its kind."""
    known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    where = f"{platform.system()} {platform.machine()}"
    known |= {entry["kind"]: entry | {"date": date.today().isoformat(), "where": where}}
    file.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description="Run chapters as a Colab user does.")
    parser.add_argument("what", choices=["resolve", "run"])
    parser.add_argument(
        "--python", default=sys.executable, help="the interpreter of the environment; this one by default"
    )
    parser.add_argument("--torch", choices=list(TORCHES), default="newest")
    told = "write date and versions to tools/colab.json and the status page"
    parser.add_argument("--record", action="store_true", help=told)
    wanted = parser.parse_args()
    try:
        if wanted.what == "resolve":
            found: dict[str, Any] = {"kind": "resolved", "cases": resolve_all()}
        else:
            found = {"kind": "run"} | run_chapters(wanted.python, TORCHES[wanted.torch])
    except Failed as error:
        raise SystemExit(str(error)) from None
    print(json.dumps(found, indent=1))
    if wanted.record:
        record(found)
        subprocess.run([sys.executable, str(ROOT / "tools" / "build.py"), "status"], check=True)


if __name__ == "__main__":
    main()
