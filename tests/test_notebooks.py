"""The stored notebooks: complete, tidy, and what running them again gives."""

from __future__ import annotations

import base64
import io
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from execute import ChapterError, execute_all, kernel_environment, slimmer, time_line
from project import ROOT, address, notebooks, read_notebook, slug

CHAPTERS = notebooks()
PLACES = re.compile(r"(/home/|/root/|/Users/|/private/|/tmp/|[A-Z]:\\Users)")
IMAGES = ("image/png", "image/jpeg", "image/svg+xml")

each_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)


def code_cells(path: Path) -> list[dict[str, Any]]:
    return [cell for cell in read_notebook(path)["cells"] if cell["cell_type"] == "code"]


def outputs(path: Path) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    return [(cell, output) for cell in code_cells(path) for output in cell["outputs"]]


def has_image(output: dict[str, Any]) -> bool:
    return any(kind in output.get("data", {}) for kind in IMAGES)


def alternative_text(cell: dict[str, Any]) -> str:
    return str(cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")).strip()


def texts(path: Path) -> list[str]:
    """Everything a reader sees as text: sources and outputs, without the bytes of images."""
    notebook = read_notebook(path)
    found = ["".join(cell["source"]) for cell in notebook["cells"]]
    for _, output in outputs(path):
        found.append("".join(output.get("text", "")))
        found += ["".join(v) for kind, v in output.get("data", {}).items() if kind.startswith("text/")]
    return found


def test_there_are_chapters() -> None:
    assert CHAPTERS


@each_chapter
def test_every_code_cell_was_run_in_order(path: Path) -> None:
    counts = [cell["execution_count"] for cell in code_cells(path)]
    assert counts == list(range(1, len(counts) + 1)), "run `make record`"


@each_chapter
def test_no_errors_and_no_noise_are_stored(path: Path) -> None:
    for cell, output in outputs(path):
        assert output["output_type"] != "error", "".join(cell["source"])
        assert output.get("name") != "stderr", "".join(cell["source"])


@each_chapter
def test_every_figure_has_alternative_text(path: Path) -> None:
    pictured = [cell for cell, output in outputs(path) if has_image(output)]
    assert not ["".join(cell["source"]) for cell in pictured if not alternative_text(cell)]


@each_chapter
def test_the_run_is_on_record(path: Path) -> None:
    run = read_notebook(path)["metadata"].get("badnets_run", {})
    facts = {"seconds", "seconds_by_device", "python", "torch", "device", "threads", "date", "machine"}
    assert set(run) - {"results"} == facts
    assert run["seconds_by_device"][run["device"]] == run["seconds"]


@each_chapter
def test_the_opening_states_the_measured_time(path: Path) -> None:
    notebook = read_notebook(path)
    assert time_line(notebook["metadata"]["badnets_run"]) in "".join(notebook["cells"][0]["source"]).splitlines()


@each_chapter
def test_nothing_tells_of_one_machine_or_moment(path: Path) -> None:
    for text in texts(path):
        assert not PLACES.search(text), text
    assert all("execution" not in cell["metadata"] for cell in code_cells(path))


@each_chapter
def test_the_chapter_opens_in_colab(path: Path) -> None:
    first = "".join(read_notebook(path)["cells"][0]["source"])
    assert f"https://colab.research.google.com/github/{slug()}/blob/main/chapters/{path.name}" in first


@each_chapter
def test_the_first_code_cell_installs_the_library_everywhere_alike(path: Path) -> None:
    first, same = "".join(code_cells(path)[0]["source"]), "".join(code_cells(CHAPTERS[0])[0]["source"])
    assert first == same
    assert re.findall(r"https://github\.com/[\w.-]+/[\w-]+", first) == [address()]


@each_chapter
def test_running_it_again_gives_the_same(path: Path) -> None:
    """Asserts hold everywhere; cells tagged `nbval-check-output` print what is stored."""
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-current-env", "-p", "no:cacheprovider"]
    environment = kernel_environment() | {"OMP_NUM_THREADS": "1"}  # two chapters at once beat two threads for one
    run = subprocess.run([*command, str(path)], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1800)
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]


def test_a_failing_chapter_stops_the_build_and_names_the_cell(tmp_path: Path) -> None:
    import nbformat

    cells = [nbformat.v4.new_code_cell("x = 1"), nbformat.v4.new_code_cell("x / 0")]
    path = tmp_path / "07_broken.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    with pytest.raises(ChapterError, match=r"07_broken\.ipynb, cell 1:[\s\S]*x / 0[\s\S]*ZeroDivisionError"):
        execute_all([path])


def test_a_run_leaves_its_record_and_no_time_stamps(tmp_path: Path) -> None:
    import nbformat

    path = tmp_path / "08_fine.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("print('hello')")]), path)
    assert list(execute_all([path])) == ["08_fine"]
    test_the_run_is_on_record(path)
    test_every_code_cell_was_run_in_order(path)
    test_nothing_tells_of_one_machine_or_moment(path)


def test_a_picture_of_many_colours_is_stored_in_fewer() -> None:
    from PIL import Image

    def stored(picture: Image.Image) -> str:
        file = io.BytesIO()
        picture.save(file, "PNG")
        return base64.b64encode(file.getvalue()).decode()

    source = random.Random(0)
    noise = bytes(place // 16 + source.randrange(60) for place in range(3 * 32 * 32))
    photograph = Image.frombytes("RGB", (32, 32), noise).resize((256, 256), Image.Resampling.BILINEAR)
    slim = slimmer(stored(photograph))
    assert 2 * len(slim) < len(stored(photograph))
    found = Image.open(io.BytesIO(base64.b64decode(slim))).convert("RGB")
    assert max(abs(a - b) for a, b in zip(found.tobytes(), photograph.tobytes(), strict=True)) < 40
    chart = stored(Image.new("RGB", (64, 64)))
    assert slimmer(chart) == chart, "what is small already stays as it is"
