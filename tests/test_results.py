"""Committed results: complete, readable, of the sweeps they name, and the pages show these very files."""

import copy
import json
import re
from dataclasses import replace

import pytest
import results as tool
import status
from build import notebooks
from execute import code, quoted_results
from project import read_notebook

from badnets_lib.counts import Proportion
from badnets_lib.study import results as r
from badnets_lib.study._code import code_of
from badnets_lib.study.sweeps import Row, Sweep, grid, sweep

SWEEPS = tool.sweeps()
each_result = pytest.mark.parametrize("name", r.names())


def measure(*, size, seed):
    """An experiment that takes no time."""
    return {"hit": [10 * size + seed, 100], "note": f"size {size}"}


@pytest.fixture
def made(tmp_path):
    """A small result: two sizes, three seeds."""
    example = Sweep("example", measure, grid(size=(1, 2), seed=range(3)))
    rows = sweep(measure, example.cells, tmp_path / "rows", jobs=1)
    r.save(r.table_of(example, rows), tmp_path)
    return r.load("example", tmp_path)


# ---- reading a result ----


def test_rows_come_back_as_they_were_measured(made):
    assert made.axes == ("size", "seed") and len(made) == 6
    assert made.rows[4].items() >= {"size": 2, "seed": 1, "hit": [21, 100], "note": "size 2"}.items()
    assert made.values("size") == [1, 2]


def test_rows_are_chosen_by_keyword(made):
    part = made.where(size=2)
    assert len(part) == 3 and len(made) == 6
    assert part.counts("hit") == [Proportion(20, 100), Proportion(21, 100), Proportion(22, 100)]
    assert part.count("hit") == Proportion(63, 300)


def test_a_wrong_question_is_answered_with_what_there_is(made):
    with pytest.raises(ValueError, match="example has no axis colour; it has size, seed"):
        made.where(colour=1)
    with pytest.raises(ValueError, match=r"no row with \{'size': 9\}"):
        made.where(size=9)
    with pytest.raises(ValueError, match="'note' is no count"):
        made.counts("note")
    with pytest.raises(ValueError, match="no result 'nothing'; there are"):
        r.load("nothing")


def test_rows_are_grouped_in_their_order(made):
    groups = made.groups("size")
    assert [*groups] == [(1,), (2,)] and groups[2,].counts("hit") == made.where(size=2).counts("hit")
    assert [*made.groups("size", "seed")][:2] == [(1, 0), (1, 1)]
    with pytest.raises(ValueError, match="example has no axis colour; it has size, seed"):
        made.groups("colour")


def nested(*, seed):
    """An experiment that measures several things at once."""
    return {"hit": [1, 10], "each": {"a": {"hit": [seed, 10]}, "b": {"hit": [9, 10], "seen": 1.5}}}


def test_a_measure_that_holds_several_is_unfolded(tmp_path):
    example = Sweep("nested", nested, grid(seed=range(3)))
    rows = sweep(nested, example.cells, tmp_path / "rows", jobs=1)
    r.save(r.table_of(example, rows), tmp_path)
    table = r.load("nested", tmp_path).unfold("each", "thing")
    assert table.axes == ("seed", "thing") and table.values("thing") == ["a", "b"] and len(table) == 6
    assert table.where(thing="a").count("hit") == Proportion(3, 30)
    assert table.where(thing="b", seed=2).rows[0]["seen"] == 1.5
    with pytest.raises(ValueError, match="nested: 'hit' is no dictionary"):
        r.load("nested", tmp_path).unfold("hit", "thing")


def test_a_rerun_is_compared_to_the_depth(made):
    kept = {"each": {"a": {"hit": [5, 100]}}, "flagged": [7], "norms": [20.0, 3.1], "curve": [[5, 100], [9, 100]]}
    assert tool.differences(kept, copy.deepcopy(kept)) == []
    assert tool.differences(kept, kept | {"each": {"a": {"hit": [6, 100]}}, "norms": [20.4, 3.1], "took": 3.0}) == []
    for changed, line in (
        ({"each": {"a": {"hit": [60, 100]}}}, "each, a, hit was 5"),
        ({"flagged": [3, 7]}, "flagged was [7], is [3, 7]"),
        ({"norms": [20.0, 5.0]}, "norms, 1 was 3.1, is 5.0"),
        ({"curve": [[5, 100], [90, 100]]}, "curve, 1 was 9"),
        ({"new": True}, "new was None, is True"),
    ):
        (told,) = tool.differences(kept, changed)
        assert told.startswith(line)
    assert tool.differences({"flagged": [3, 7]}, {"flagged": [5, 7]})  # labels, not 3 of 7


@each_result
def test_a_rerun_of_every_committed_sweep_compares_something(name):
    """A row compared with one of which every number is another disagrees in every measure that can be repeated."""

    def other(value):
        if tool.is_count(value):
            return [0 if 2 * value[0] > value[1] else value[1], value[1]]
        if isinstance(value, dict):
            return {key: other(part) for key, part in value.items()}
        if isinstance(value, list):
            return [other(part) for part in value] or [99]
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"not {value}"
        return 3 * value + 1_000

    table = r.load(name)
    row = {key: value for key, value in table.rows[0].items() if key not in (*table.axes, *tool.UNREPEATABLE)}
    told = tool.differences(row, other(row))
    assert [name for name in row if not any(line.startswith(name) for line in told)] == []


def test_the_origin_says_where_numbers_come_from(made):
    told = str(made.origin)
    for part in ("make results ONLY=example", "mnist5k", "torch", "Python", "threads a cell: 1"):
        assert part in told
    code = code_of(measure)
    assert f"code function {code['function']}, library {code['library']};" in told


# ---- writing one ----


def test_the_status_page_says_what_every_result_cost(made):
    assert status.study_row("example", "07_original_results", made).startswith("| `example` | 07 | 6 | 0.")
    assert status.study_row("example", "07", made).endswith("| yes |")
    older = replace(made, origin=replace(made.origin, code=(r.UNKNOWN,)))
    assert status.study_row("example", "07", older).endswith("| no |")
    text = status.study_table(SWEEPS)
    assert all(f"| `{name}` | {SWEEPS[name].chapter[:2]} |" in text for name in r.names())


def test_what_is_written_is_read_and_written_the_same(made, tmp_path):
    text = (tmp_path / "example.json").read_text()
    assert r.save(made, tmp_path / "again").read_text() == text


@pytest.mark.parametrize("name", ["poison_curve", "removal", "survival"])
def test_a_committed_file_is_as_the_writer_writes_it(name, tmp_path):
    assert r.save(r.load(name), tmp_path).read_bytes() == (r.FOLDER / f"{name}.json").read_bytes()


def test_rows_measured_anew_take_their_old_places(made):
    newer = r.table_of(Sweep("example", measure, []), [
        Row({"seed": 1, "size": 2}, {"hit": [99, 100], "note": "new"}, {
            "code": {"function": "f" * 12, "library": "0" * 12}, "seconds": 5.0, "date": "2030-01-01", "torch": "9",
            "badnets_lib": "0", "python": "3", "machine": "m", "device": "cpu", "threads": 1,
        })
    ])  # fmt: skip
    cells = [{axis: row[axis] for axis in made.axes} for row in made.rows]
    joined = r.with_rows(made, newer, cells)
    assert [row["hit"][0] for row in joined.rows] == [10, 11, 12, 20, 99, 22]
    assert len(joined.origin.code) == 2 and joined.origin.dates == (made.origin.dates[0], "2030-01-01")
    assert joined.origin.seconds == pytest.approx(sum(row["seconds"] for row in joined.rows), abs=0.06)
    added = replace(newer, rows=({"size": 7, "seed": 1, "hit": [1, 100], "seconds": 1.0},))
    grown = r.with_rows(made, added, [{"size": 7, "seed": 1}, cells[0]])
    assert [row["hit"][0] for row in grown.rows] == [1, 10]
    elsewhere = replace(newer, origin=replace(newer.origin, data={"mnist5k": ("0" * 16, "1" * 16)}))
    with pytest.raises(ValueError, match="example was made from other data"):
        r.with_rows(made, elsewhere, cells)
    with pytest.raises(ValueError, match='example has no row for {"seed": 1, "size": 7}'):
        r.with_rows(made, newer, [{"size": 7, "seed": 1}])


@pytest.mark.parametrize(("change", "words"), [
    (lambda plain: plain["origin"].pop("code"), "origin: missing code"),
    (lambda plain: plain.update(colour="red"), "unknown colour"),
    (lambda plain: plain.update(rows={}), "rows: expected a list"),
    (lambda plain: plain["origin"].update(seconds="long"), "origin.seconds: expected a number; got 'long'"),
])  # fmt: skip
def test_a_file_that_holds_something_else_is_refused(made, tmp_path, change, words):
    path = tmp_path / "example.json"
    plain = json.loads(path.read_text())
    change(plain)
    path.write_text(json.dumps(plain))
    with pytest.raises(ValueError, match=rf"this is not a result file \({path}\): {words}"):
        r.load("example", tmp_path)


# ---- the committed files ----


def test_every_sweep_of_a_chapter_in_the_book_has_its_result_and_every_result_its_sweep():
    pages = {path.stem for path in notebooks()}
    assert {name for name, made in SWEEPS.items() if made.chapter in pages} <= set(r.names()) <= set(SWEEPS)


@each_result
def test_a_committed_result_is_complete(name):
    kept = r.load(name)
    cells = [{axis: row[axis] for axis in kept.axes if axis in row} for row in kept.rows]
    assert kept.name == name
    assert cells == SWEEPS[name].cells
    assert set(kept.origin.data) == set(SWEEPS[name].data)
    for row in kept.rows:
        for value in row.values():
            if tool.is_count(value):
                Proportion(*value)


@each_result
def test_a_committed_result_is_small_and_its_chapter_loads_it(name):
    assert (r.FOLDER / f"{name}.json").stat().st_size < 250_000
    for chapter in notebooks():
        quotes = name in quoted_results(code(read_notebook(chapter)))
        assert quotes or chapter.stem != SWEEPS[name].chapter, chapter.stem


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)
def test_a_page_shows_the_committed_numbers(path):
    """Run with the files as they are now; `nbval-check-output` then compares the printed numbers too."""
    notebook = read_notebook(path)
    assert notebook["metadata"]["badnets_run"].get("results", {}) == quoted_results(code(notebook)), (
        f"a result changed since {path.name} was run: make record ONLY={path.stem[:2]}"
    )
    compared = "\n".join(
        "".join(cell["source"])
        for cell in notebook["cells"]
        if "nbval-check-output" in cell["metadata"].get("tags", []) and cell["outputs"]
    )
    kept = re.findall(r"results\.load\(", "\n".join(code(notebook)))
    names = re.findall(r"(?m)^(\w+(?:, \w+)*) = (?:bd\.)?results\.load\(", "\n".join(code(notebook)))
    assert len(kept) == sum(name.count(",") + 1 for name in names)
    for name in ", ".join(names).split(", ") if names else ():
        assert re.search(rf"\b{name}\b", compared), f"no compared cell of {path.name} prints {name}"


# ---- the tool ----


def test_a_result_file_changes_by_the_rows_that_change(made, tmp_path):
    text = (tmp_path / "example.json").read_text()
    assert json.loads(text)["columns"] == ["size", "seed", "hit", "note", "seconds"]
    assert sum(line.strip().startswith("[1, ") or line.strip().startswith("[2, ") for line in text.splitlines()) == 6


@pytest.fixture
def example(monkeypatch, tmp_path):
    """The tool with one small sweep and folders of its own."""
    example = Sweep("example", measure, grid(size=(1, 2), seed=range(3)))
    monkeypatch.setattr(tool, "sweeps", lambda: {"example": example})
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    monkeypatch.setattr(tool, "FOLDER", tmp_path / "results")
    monkeypatch.setattr(tool, "KEPT", tmp_path / "rows")
    return example


def test_a_run_writes_a_file_and_a_check_finds_it_right(example, capsys):
    tool.run(tool.pick([]), 1, "same", missing=False)
    assert tool.check(tool.pick(["example"]), 2, 0, 1) == 0
    assert capsys.readouterr().out.count("agrees") == 2


def test_only_what_is_missing_runs(example, monkeypatch):
    tool.run([replace(example, cells=example.cells[:4])], 1, "same", missing=True)
    first = r.load("example", tool.FOLDER)
    seen = []
    monkeypatch.setattr(
        tool, "sweep", lambda run, cells, *rest, **more: seen.extend(cells) or sweep(run, cells, *rest, **more)
    )
    tool.run([example], 1, "same", missing=True)
    whole = r.load("example", tool.FOLDER)
    assert seen == example.cells[4:]
    assert whole.rows[:4] == first.rows and len(whole) == 6
    tool.run([example], 1, "same", missing=True)
    assert len(seen) == 2


def test_a_check_finds_a_number_that_cannot_be_repeated(example, capsys):
    tool.run(tool.pick([]), 1, "same", missing=False)
    path = tool.FOLDER / "example.json"
    path.write_text(re.sub(r"\[(\d+), 100\]", "[90, 100]", path.read_text()))
    assert tool.check(tool.pick([]), 6, 0, 1) == 6
    assert "hit was 90.0%" in capsys.readouterr().out


def test_chance_alone_is_no_disagreement():
    assert not tool.differences({"hit": [968, 1000]}, {"hit": [981, 1000]})
    assert tool.differences({"hit": [500, 1000]}, {"hit": [981, 1000]})


def test_an_unknown_sweep_is_refused():
    with pytest.raises(SystemExit, match=r"no sweep nothing; there are .*poison_curve"):
        tool.pick(["nothing"])
