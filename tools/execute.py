"""Runs notebooks where they lie and notes in each how, when and with what it ran."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path
from typing import Any

LIBRARY = Path(__file__).resolve().parent.parent / "badnets_lib"
RESULTS = LIBRARY / "study" / "results"
FOR_THE_SITE = {"TQDM_DISABLE": "1", "OMP_WAIT_POLICY": "PASSIVE", "BADNETS_SITE": "1"}
CELL_LIMIT = 1800  # seconds; a cell this slow is stuck
FACTS = """
import json, torch
device = "cuda" if torch.cuda.is_available() else "cpu"
print(json.dumps({"torch": torch.__version__, "device": device, "threads": torch.get_num_threads()}))
"""


def kernel_environment() -> dict[str, str]:
    """What a chapter's kernel inherits: this process's variables, quiet, and the word that the site has the scripts.

    Figures are drawn in the notebook, whatever this process does with its own.
    """
    return {name: value for name, value in os.environ.items() if name != "MPLBACKEND"} | FOR_THE_SITE


class ChapterError(Exception):
    """A cell of a chapter failed."""


def torch_facts() -> dict[str, Any]:
    """Version, device and threads as a kernel finds them; a child is asked, so that this process needs no torch."""
    answer = subprocess.run([sys.executable, "-c", FACTS], capture_output=True, text=True, check=True)
    return dict(json.loads(answer.stdout.splitlines()[-1]))


def run_record(seconds: float, facts: dict[str, Any], earlier: dict[str, Any]) -> dict[str, Any]:
    """What the status page tells of one run. The time on another kind of device is kept from the earlier run."""
    return {
        "seconds": round(seconds),
        "seconds_by_device": earlier.get("seconds_by_device", {}) | {facts["device"]: round(seconds)},
        "python": platform.python_version(),
        **facts,
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }


def quoted_results(sources: Iterable[str]) -> dict[str, str]:
    """The committed results that code loads by name, each with the first 16 digits of its file's SHA-256."""
    names = {name for source in sources for name in re.findall(r"results\.load\(\"(\w+)\"\)", source)}
    return {name: hashlib.sha256((RESULTS / f"{name}.json").read_bytes()).hexdigest()[:16] for name in sorted(names)}


def time_line(run: dict[str, Any]) -> str:
    """The line in which a chapter states its measured times."""
    times = run["seconds_by_device"]
    parts = [
        f"{times[device]} s on {name}" if device in times else f"not yet measured on {name}"
        for device, name in (("cpu", "a CPU"), ("cuda", "a GPU"))
    ]
    return f"**Time:** {', '.join(parts)} ([status page](status.md))"


def state_time(notebook: Any) -> None:
    """Write the measured times into the opening of the chapter."""
    opening = notebook.cells[0]
    opening.source = re.sub(
        r"^\*\*Time:\*\*.*$", time_line(notebook.metadata["badnets_run"]), opening.source, flags=re.M
    )


def code(notebook: Any) -> list[str]:
    """The sources of the code cells."""
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def tidy(notebook: Any) -> None:
    """Drop what changes from run to run and tells a reader nothing, and fold what the page folds."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            fold(cell.metadata)
    notebook.metadata.get("language_info", {}).pop("version", None)


FOLDED = {
    "hide-input": ("source_hidden",),
    "remove-input": ("source_hidden",),
    "hide-cell": ("outputs_hidden", "source_hidden"),
    "remove-cell": ("outputs_hidden", "source_hidden"),
}
"""What JupyterLab folds of a cell, by the tag that folds it on the page."""


def fold(metadata: Any) -> None:
    """Fold a code cell in JupyterLab and on Colab as the page does: its tags decide."""
    hidden = {key: True for tag in metadata.get("tags", ()) for key in FOLDED.get(tag, ())}
    for key in ("jupyter", "cellView"):
        metadata.pop(key, None)
    if hidden:
        metadata.update(jupyter=hidden, cellView="form")


def execute(path: Path, facts: dict[str, Any]) -> float:
    """Run one notebook in its own folder, write the outputs into it, and return the seconds it took.

    Raises:
        ChapterError: A cell failed; the message holds the chapter, the cell and the traceback.
    """
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    notebook: Any = nbformat.read(path, as_version=4)
    at = {"cell": 0}

    def starting(cell: Any, cell_index: int) -> None:
        at["cell"] = cell_index

    def finished(cell: Any, cell_index: int, **_: Any) -> None:
        print(".", end="", flush=True)

    client = NotebookClient(
        notebook, timeout=CELL_LIMIT, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}},
        allow_errors=False, record_timing=False, store_widget_state=False, extra_arguments=["--log-level=ERROR"],
        on_cell_start=starting, on_cell_executed=finished,
    )  # fmt: skip
    start = time.perf_counter()
    try:
        client.execute(env=kernel_environment())
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        source = notebook.cells[at["cell"]].source
        raise ChapterError(f"{path.name}, cell {at['cell']}:\n\n{source}\n\n{plain(str(error))}") from None
    seconds = time.perf_counter() - start
    tidy(notebook)
    notebook.metadata["badnets_run"] = run_record(seconds, facts, notebook.metadata.get("badnets_run", {}))
    notebook.metadata["badnets_run"]["results"] = quoted_results(code(notebook))
    state_time(notebook)
    nbformat.write(notebook, path)
    return seconds


def plain(text: str) -> str:
    """Text without the colour codes of a terminal."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def decided_by(source: Path) -> str:
    """A hash over what decides the outputs of staged chapters: all that is staged, the library, Python."""
    digest = hashlib.sha256(platform.python_version().encode())
    for folder in (source, LIBRARY):
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def execute_all(
    paths: list[Path], keep: Callable[[Path], object] | None = None, kept: Path | None = None
) -> dict[str, float]:
    """Run notebooks one after another with a line of progress each, handing each to `keep` when it is done.

    Args:
        paths: The notebooks; they are run where they lie.
        keep: Called with each when it is done.
        kept: Folder in which each is kept when it is done, and from which it is taken instead of running it again.

    Returns:
        Seconds by name of the notebook.

    Raises:
        ChapterError: The first failure ends the run.
    """
    facts = torch_facts()
    print("torch {torch} on {device}, {threads} threads".format(**facts))
    times: dict[str, float] = {}
    for number, path in enumerate(paths, start=1):
        print(f"[{number}/{len(paths)}] {path.stem} ", end="", flush=True)
        done = kept / path.name if kept else None
        if done and done.exists():
            shutil.copy2(done, path)
            times[path.stem] = json.loads(path.read_bytes())["metadata"]["badnets_run"]["seconds"]
            print("is there from a run that was stopped")
            continue
        try:
            times[path.stem] = execute(path, facts)
        finally:
            print()
        print(f"      {times[path.stem]:.0f} s")
        if done:
            done.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, done.with_suffix(".part"))
            done.with_suffix(".part").replace(done)
        if keep is not None:
            keep(path)
    return times
