"""The stored notebooks: complete, tidy, and what running them again gives."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from execute import ChapterError, decided_by, execute_all, fold, kernel_environment, time_line
from project import ROOT, config, figures_of, notebooks, read_notebook, slug

CHAPTERS = notebooks()
PLACES = re.compile(r"(/home/|/root/|/Users/|/private/|/tmp/|[A-Z]:\\Users)")


def code_cells(path: Path) -> list[dict[str, Any]]:
    return [cell for cell in read_notebook(path)["cells"] if cell["cell_type"] == "code"]


def in_order(path: Path) -> bool:
    counts = [cell["execution_count"] for cell in code_cells(path)]
    return counts == list(range(1, len(counts) + 1))


def alternative_text(cell: dict[str, Any]) -> str:
    return str(cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")).strip()


def noise(cell: dict[str, Any]) -> list[str]:
    """What a stored cell should not hold: errors, warnings, and paths of the machine that ran it."""
    found = []
    for output in cell["outputs"]:
        data = {kind: "".join(text) for kind, text in output.get("data", {}).items() if kind.startswith("text/")}
        if output["output_type"] == "error" or output.get("name") == "stderr":
            found.append(str(output))
        found += [text for text in ("".join(output.get("text", "")), *data.values()) if PLACES.search(text)]
    return found


def test_every_code_cell_was_run_in_order() -> None:
    assert CHAPTERS
    assert [path.name for path in CHAPTERS if not in_order(path)] == [], "run `make record`"


FOLDED = {"hide-input", "hide-cell", "remove-cell", "remove-input"}
OPEN_LINES = 14


def test_no_code_that_stands_open_is_longer_than_a_screen() -> None:
    """What draws a figure or sets a table is folded; the reader sees the picture first."""
    long = {
        f"{path.name}, {cell['id']}": len(cell["source"])
        for path in CHAPTERS
        for cell in code_cells(path)
        if not FOLDED & set(cell["metadata"].get("tags", [])) and len(cell["source"]) > OPEN_LINES
    }
    assert long == {}, "shorten it, or fold it: see CONTRIBUTING.md"


def test_no_errors_no_warnings_and_no_paths_of_one_machine_are_stored() -> None:
    assert {path.name: found for path in CHAPTERS for cell in code_cells(path) if (found := noise(cell))} == {}


NUMBER = r"([+\-\u2212]?\d+(?:\.\d+)?)"
WITH_INTERVAL = re.compile(rf"(?<!of )(?<![\d.,]){NUMBER}(?:%| points)?\s\[{NUMBER}%?,\s{NUMBER}%?\]")


def printed(cell: dict[str, Any]) -> str:
    """All text that a stored cell shows."""
    texts = [output.get("text", "") for output in cell["outputs"]]
    texts += [text for output in cell["outputs"] for kind, text in output.get("data", {}).items() if "text" in kind]
    return "\n".join("".join(text) for text in texts)


def outside(text: str) -> list[str]:
    """Values that do not lie in the interval printed behind them, beyond half a unit of the last digit of each."""
    found = []
    for match in WITH_INTERVAL.finditer(text):
        value, low, high = (float(number.replace("\u2212", "-")) for number in match.groups())
        step = max(0.5 / 10 ** len(number.partition(".")[2]) for number in match.groups())
        if not low - step <= value <= high + step:
            found.append(match.group(0))
    return found


def prose() -> Iterator[tuple[str, str]]:
    """(name, text) of all Markdown cells and pages."""
    for path in CHAPTERS:
        for cell in read_notebook(path)["cells"]:
            if cell["cell_type"] == "markdown":
                yield path.name, "".join(cell["source"])
    for page in (*sorted(CHAPTERS[0].parent.glob("*.md")), ROOT / "README.md"):
        yield page.name, page.read_text(encoding="utf-8")


def test_no_page_prints_a_value_outside_its_own_interval() -> None:
    assert outside("40.0% [41.0%, 60.0%]") and outside("39 points [40.1, 56.0]") and outside("3.14 [3.15, 3.16]")
    assert not outside("50% [41%, 60%], -1.0 points [-2.0, +0.5], \u22122 [\u22122.4, 1.0]")
    shown = [(path.name, printed(cell)) for path in CHAPTERS for cell in code_cells(path)]
    assert {name: wrong for name, text in (*shown, *prose()) if (wrong := outside(text))} == {}


def test_every_figure_has_alternative_text() -> None:
    bare = [
        (path.name, "".join(cell["source"]))
        for path in CHAPTERS
        for cell in code_cells(path)
        if figures_of(cell) and not alternative_text(cell)
    ]
    assert bare == []


def test_figures_are_stored_as_svg() -> None:
    """They are sharp on every screen and on paper, and a tenth of the weight."""
    kinds = {
        (path.name, kind)
        for path in CHAPTERS
        for cell in code_cells(path)
        for output in cell["outputs"]
        for kind in output.get("data", {})
        if kind.startswith("image/")
    }
    assert {kind for _, kind in kinds} == {"image/svg+xml"}, kinds


def test_jupyterlab_and_colab_fold_what_the_page_folds() -> None:
    folded = 0
    for path in CHAPTERS:
        for cell in code_cells(path):
            wanted = {key: value for key, value in cell["metadata"].items() if key not in ("jupyter", "cellView")}
            fold(wanted)
            assert cell["metadata"] == wanted, (path.name, cell["id"])
            folded += cell["metadata"].get("cellView") == "form"
    assert folded > 300
    both = {"tags": ["hide-cell", "exercise"]}
    fold(both)
    assert both["jupyter"] == {"source_hidden": True, "outputs_hidden": True} and both["cellView"] == "form"
    both["tags"] = []
    fold(both)
    assert both == {"tags": []}


def test_the_opening_states_the_measured_time_and_opens_in_colab() -> None:
    branch = config()["repository"]["branch"]
    for path in CHAPTERS:
        notebook = read_notebook(path)
        opening = "".join(notebook["cells"][0]["source"])
        assert time_line(notebook["metadata"]["badnets_run"]) in opening.splitlines(), path.name
        assert f"https://colab.research.google.com/github/{slug()}/blob/{branch}/chapters/{path.name}" in opening


@pytest.mark.notebooks
@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_running_it_again_gives_the_same(path: Path) -> None:
    """Asserts hold everywhere; cells tagged `nbval-check-output` print what is stored."""
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-current-env", "-p", "no:cacheprovider"]
    environment = kernel_environment() | {"OMP_NUM_THREADS": "1"}  # two chapters at once beat two threads for one
    run = subprocess.run([*command, str(path)], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1800)
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]


@pytest.mark.slow  # a kernel is started
def test_a_failing_chapter_stops_the_build_and_names_the_cell(tmp_path: Path) -> None:
    import nbformat

    cells = [nbformat.v4.new_code_cell("x = 1"), nbformat.v4.new_code_cell("x / 0")]
    path = tmp_path / "07_broken.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    with pytest.raises(ChapterError, match=r"07_broken\.ipynb, cell 1:[\s\S]*x / 0[\s\S]*ZeroDivisionError"):
        execute_all([path])


@pytest.mark.slow  # kernels are started
def test_a_stopped_run_goes_on_where_it_was(tmp_path: Path) -> None:
    import nbformat

    def staged(*sources: str) -> list[Path]:
        paths = [tmp_path / f"{number:02}_chapter.ipynb" for number in range(len(sources))]
        for path, source in zip(paths, sources, strict=True):
            nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)]), path)
        return paths

    first = f"open({str(tmp_path / 'runs')!r}, 'a').write('x'); print('done')"
    with pytest.raises(ChapterError, match=r"01_chapter"):
        execute_all(staged(first, "1 / 0"), kept=tmp_path / "kept")
    paths = staged(first, "print('too')")
    assert list(execute_all(paths, kept=tmp_path / "kept")) == ["00_chapter", "01_chapter"]
    assert (tmp_path / "runs").read_text() == "x", "the first chapter ran once"
    assert [code_cells(path)[0]["outputs"][0]["text"] for path in paths] == [["done\n"], ["too\n"]]


def test_what_a_stopped_run_kept_counts_for_the_same_sources_only(tmp_path: Path) -> None:
    (tmp_path / "chapters").mkdir()
    (tmp_path / "chapters" / "a.ipynb").write_text("{}")
    before = decided_by(tmp_path)
    assert decided_by(tmp_path) == before
    (tmp_path / "chapters" / "a.ipynb").write_text("{ }")
    assert decided_by(tmp_path) != before


@pytest.mark.slow  # a kernel is started
def test_a_run_leaves_its_record_and_no_time_stamps(tmp_path: Path) -> None:
    import nbformat

    path = tmp_path / "08_fine.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("print('hello')")]), path)
    assert list(execute_all([path])) == ["08_fine"]
    run = read_notebook(path)["metadata"]["badnets_run"]
    facts = {"seconds", "seconds_by_device", "python", "torch", "device", "threads", "date", "machine", "results"}
    assert set(run) == facts and run["seconds_by_device"] == {run["device"]: run["seconds"]}
    assert in_order(path)
    assert all("execution" not in cell["metadata"] for cell in code_cells(path))
