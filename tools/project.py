"""The project's own facts, each read from the one file that owns it."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = ROOT / "chapters"

MOVED = {
    "01_threat_model": "03_threat_model",
    "02_construction": "01_construction",
    "03_poisoning_fraction": "04_poisoning_fraction",
    "04_attack_success_rate": "02_attack_success_rate",
    "10_traffic_signs": "11_traffic_signs",
    "11_supply_chain": "13_supply_chain",
    "12_beyond_badnets": "15_beyond_badnets",
    "13_poisoned_data": "16_poisoned_data",
    "14_reversed_triggers": "17_reversed_triggers",
    "15_run_time": "18_run_time",
    "16_removal": "19_removal",
    "17_resistant_training": "20_resistant_training",
    "18_scoreboard": "21_scoreboard",
    "19_audit": "22_audit",
    "20_language_model": "23_language_model",
    "21_what_survives": "24_what_survives",
    "22_parts": "25_parts",
    "23_noise": "26_noise",
    "24_many_trainers": "27_many_trainers",
    "25_promises": "28_promises",
}
"""Former names of chapters; their addresses lead to the present ones."""


@dataclass(frozen=True)
class Page:
    """One page of the table of contents.

    Args:
        part: Caption of its part; empty for the front page.
        name: File name without its ending, such as `03_threat_model`.
    """

    part: str
    name: str

    @property
    def notebook(self) -> Path:
        """Where its notebook lies, if it is one."""
        return CHAPTERS / f"{self.name}.ipynb"


def settings() -> dict[str, Any]:
    """All of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def address() -> str:
    """The repository's address, without a slash at the end."""
    return str(settings()["project"]["urls"]["Repository"]).rstrip("/")


def slug() -> str:
    """The `owner/name` of the repository."""
    return "/".join(address().split("/")[-2:])


def site() -> str:
    """Where the built book is published: the repository's own Pages address."""
    owner, name = slug().split("/")
    return f"https://{owner}.github.io/{name}/"


def layers() -> list[list[str]]:
    """The library's modules by layer, lowest first, as the import contract has them."""
    contracts = settings()["tool"]["importlinter"]["contracts"]
    (contract,) = [c for c in contracts if c["type"] == "layers"]
    return [[name.strip() for name in layer.split("|")] for layer in reversed(contract["layers"])]


def config() -> dict[str, Any]:
    """All of _config.yml."""
    return dict(yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8")))


def contents() -> list[Page]:
    """The pages in reading order, as _toc.yml has them."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    pages = [Page("", Path(toc["root"]).name)]
    for part in toc["parts"]:
        pages += [Page(part["caption"], Path(chapter["file"]).name) for chapter in part["chapters"]]
    return pages


def notebooks() -> list[Path]:
    """The notebooks in reading order."""
    return [page.notebook for page in contents() if page.notebook.exists()]


def title(notebook: dict[str, Any]) -> str:
    """The first heading of a notebook."""
    for cell in notebook["cells"]:
        for line in "".join(cell["source"]).splitlines():
            if cell["cell_type"] == "markdown" and line.startswith("# "):
                return line[2:].strip()
    return "Untitled"


def figures_of(cell: dict[str, Any]) -> list[str]:
    """The figures that a cell of a notebook stores, as SVG."""
    stored = (output.get("data", {}) for output in cell.get("outputs", ()))
    return ["".join(data["image/svg+xml"]) for data in stored if "image/svg+xml" in data]


def read_notebook(path: Path) -> dict[str, Any]:
    """A notebook as plain data.

    Raises:
        ValueError: The file is none; the text names it.
    """
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        conflict = re.search(rb"^<{7} ", path.read_bytes(), re.MULTILINE)
        why = "it holds the marks of a merge conflict" if conflict else error
        raise ValueError(f"{path} is not a notebook: {why}") from None
