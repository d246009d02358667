"""The status page: how long each chapter ran, where, and with which versions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from project import ROOT, read_notebook, title
from results import sweeps

from badnets_lib.study import results
from badnets_lib.study.sweeps import Sweep

INTRO = """# Status of the chapters

Each row was written by the run that made the outputs you see in that chapter. On another machine, another version of
torch or another count of threads, training takes another course, and counts differ by some images.

| Chapter | Seconds | Device | Threads | Machine | torch | Python | Run on |
|---|---:|---|---:|---|---|---|---|
"""


def row(notebook: Path) -> str:
    """One chapter's line, from the metadata its run left; dashes where it has not been run."""
    content = read_notebook(notebook)
    run = content["metadata"].get("badnets_run", {})
    keys = ("seconds", "device", "threads", "machine", "torch", "python", "date")
    cells = [f"[{title(content)}]({notebook.name})"] + [str(run.get(key, "-")) for key in keys]
    return "| " + " | ".join(cells) + " |\n"


SPEED = """
## Speed of the library

Medians of one run of `make bench`, each way timed in turn with the plain one beside it, on {where}.
A ratio above 1 means that the library is faster than the plain way.

| What | Plain way | Library, ms | Plain, ms | Ratio |
|---|---|---:|---:|---:|
"""

CAUGHT = """What data filters caught, on one network for each attack (seed 0). First the published rules on both
sides, on the same features of the last hidden layer; "ART" is the adversarial-robustness-toolbox, whose clustering
begins at random, so that its lines differ from run to run, and whose spectral score is the uncentred one. Then the
library's own rules, which see more: neighbours in an early layer, or how clearly a class splits. Some of these attacks
get past them, too:
"""

MEMORY = """Peak memory beyond what the imports take, each task in a process of its own:

| What | Plain way | Library, MiB | Plain, MiB | Goal |
|---|---|---:|---:|---|
"""


def speed_table(record: Path) -> str:
    """The last benchmark run that was put on record, with its checks that speed costs no quality."""
    run = json.loads(record.read_text(encoding="utf-8"))
    rows = [
        "| {what} | {plain} | {ours:,.0f} | {theirs:,.0f} | {ratio:.2f} |".format(
            **entry | {"ours": 1000 * entry["ours"], "theirs": 1000 * entry["theirs"]}
        )
        for entry in run["rows"]
    ]
    memory = ["| {what} | {plain} | {ours:,.0f} | {theirs:,.0f} | {goal} |".format(**entry) for entry in run["memory"]]
    parts = [SPEED.format(where=run["where"]) + "\n".join(rows), "", MEMORY + "\n".join(memory), ""]
    parts += ["Clean accuracy of both ways:", ""]
    parts += [*listed(run["accuracy"]), ""]
    if run["caught"]:
        parts += [CAUGHT, *listed(run["caught"]), ""]
    if run.get("failed"):
        parts += ["These broke off and have no row:", "", *listed(run["failed"]), ""]
    return "\n".join(parts)


STUDY = """
## What the stored results cost

Each cell of a sweep trains and measures on one thread, so its minutes are minutes of one core. All {files} results took
{hours:.1f} core hours. "Code recorded" is "no" where some rows are older than the record of the code that made them;
`make results-check` compares those with a rerun like all others.

| Result | Chapter | Cells | Core minutes | Made on | Code recorded |
|---|---:|---:|---:|---|---|
"""


def study_row(name: str, chapter: str, table: results.Results) -> str:
    """One stored result's line."""
    made = table.origin
    known = "no" if results.UNKNOWN in made.code else "yes"
    cost = f"{len(table)} | {made.seconds / 60:.1f}"
    return f"| `{name}` | {chapter.partition('_')[0]} | {cost} | {' to '.join(made.dates)} | {known} |"


def study_table(sweeps: Mapping[str, Sweep]) -> str:
    """What every stored result cost, and whether the code that made each of its rows is known."""
    tables = {name: results.load(name) for name in sweeps}
    hours = sum(table.origin.seconds for table in tables.values()) / 3600
    lines = [
        study_row(name, sweeps[name].chapter, table)
        for name, table in sorted(tables.items(), key=lambda entry: (sweeps[entry[0]].chapter, entry[0]))
    ]
    return STUDY.format(files=len(tables), hours=hours) + "\n".join(lines) + "\n"


COLAB = """
## Where a Colab user runs them

Three chapters that together take every optional package ({chapters}) ran in a fresh environment, from an empty folder,
as their setup cell installed it:

"""

NO_RUN = """
## Where a Colab user runs them

`make colab` runs three chapters in a fresh environment, from an empty folder. No run is on record yet.
"""


def colab_section(record: Path) -> str:
    """When chapters last ran where the library was not installed, and what a dry run of the resolver found."""
    known = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    run, resolved = known.get("run"), known.get("resolved")
    parts = [NO_RUN]
    if run:
        line = "- last success: {date}, Python {python}, torch {torch}, numpy {numpy}, on {where}"
        parts = [
            COLAB.format(chapters=", ".join(name.partition("_")[0] for name in run["chapters"])),
            line.format(**run),
        ]
    if resolved:
        cases = "; ".join("Python {python} with torch {torch} and numpy {numpy}".format(**c) for c in resolved["cases"])
        parts += [
            "",
            f"A dry run of the resolver, which installs and runs nothing, found versions on {resolved['date']} for",
            cases + ".",
        ]
    return "\n".join(parts) + "\n"


def listed(lines: Iterable[str]) -> list[str]:
    """Lines as a Markdown list."""
    return [f"- {line}" for line in lines]


def status_page(notebooks: Iterable[Path]) -> str:
    """The whole page, as MyST Markdown."""
    rows = "".join(row(path) for path in notebooks)
    parts = [INTRO + rows, study_table(sweeps()), colab_section(ROOT / "tools" / "colab.json")]
    return "".join([*parts, speed_table(ROOT / "tools" / "bench.json")])
