"""Checks the site's scripts without Node: types, lint and style, as deno.json says. Nothing is downloaded.

python tools/scripts.py        check, as `make lint` does
python tools/scripts.py style  rewrite the scripts in the style that is checked
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from deno import find_deno_bin
from project import ROOT

SCRIPTS = ("badnets_lib/display/web", "chapters/_static")
CHECKS = (
    ("check", "--quiet", "--no-remote", "--cached-only", *SCRIPTS),
    ("lint", "--quiet", *SCRIPTS),
    ("fmt", "--quiet", "--check"),
)


def deno(*arguments: str) -> bool:
    """Whether deno is content."""
    environment = os.environ | {"DENO_NO_UPDATE_CHECK": "1"}
    return subprocess.run([find_deno_bin(), *arguments], cwd=ROOT, env=environment).returncode == 0


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description="Check the site's scripts.")
    parser.add_argument("what", nargs="?", default="check", choices=["check", "style"])
    commands = [("fmt", "--quiet")] if parser.parse_args().what == "style" else CHECKS
    if not all([deno(*command) for command in commands]):
        sys.exit(1)
    print("scripts: types, lint and style are in order")


if __name__ == "__main__":
    main()
