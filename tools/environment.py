"""Makes the environment that `make` works in, and fills it. It needs the standard library alone.

    python3 tools/environment.py new .venv                       makes it
    .venv/bin/python tools/environment.py fill STAMP SOURCE...   installs what the stamp stands for

A stamp is `site.stamp`, enough for `make site`, or `full.stamp`; its sources are the files that say what is installed.
"""

from __future__ import annotations

import argparse
import fcntl
import subprocess
import sys
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "_build" / "locks"


@contextmanager
def alone(errand: str, locks: Path = LOCKS) -> Iterator[None]:
    """Do an errand while no other process does it; who comes second says so and waits. A kill lets go."""
    locks.mkdir(parents=True, exist_ok=True)
    with (locks / errand.replace(" ", "-")).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another make is {errand}; this one waits for it", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def new(folder: Path, locks: Path = LOCKS) -> None:
    """Make an environment, unless someone else just did."""
    with alone("installing", locks):
        if not (folder / "bin" / "python").exists():
            venv.create(folder, with_pip=True, symlinks=True)


def fill(stamp: Path, sources: Sequence[Path], locks: Path = LOCKS) -> None:
    """Install what the stamp stands for into the environment of this Python, unless someone else just did.

    Raises:
        subprocess.CalledProcessError: pip could not; what it said was shown.
    """
    with alone("installing", locks):
        if stamp.exists() and all(stamp.stat().st_mtime >= source.stat().st_mtime for source in sources):
            return
        bring_pip()
        listed = "requirements.txt" if stamp.stem == "full" else "tools/requirements-site.txt"
        pip("-r", listed, "-c", "constraints.txt")
        if stamp.stem == "full":
            pip("--no-deps", "-e", ".")
        stamp.touch()


def bring_pip() -> None:
    """See that this environment has pip: other tools make some without it, and a kill may come before it is there."""
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode:
        subprocess.run([sys.executable, "-m", "ensurepip", "--upgrade"], check=True)


def pip(*arguments: str) -> None:
    """Install something, and show what pip says: the reason of a failure stands in it."""
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", *arguments]
    subprocess.run(command, cwd=ROOT, check=True)


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description="Make and fill the environment.")
    commands = parser.add_subparsers(dest="what", required=True)
    commands.add_parser("new").add_argument("folder", type=Path)
    filling = commands.add_parser("fill")
    filling.add_argument("stamp", type=Path)
    filling.add_argument("sources", type=Path, nargs="*")
    wanted = parser.parse_args()
    try:
        new(wanted.folder) if wanted.what == "new" else fill(wanted.stamp, wanted.sources)
    except subprocess.CalledProcessError as error:
        sys.exit(f"\nThis failed, for the reason above: {' '.join(map(str, error.cmd))}")


if __name__ == "__main__":
    main()
