"""How hard the variants are is on record, and the notes say what the record says."""

import json
from dataclasses import dataclass, field

import pytest

from coursework import hardness as h, masters
from coursework.variants import Variant

MASTERS = masters.every()
RECORDED = [master for master in MASTERS if h.place(master).is_file()]


@pytest.mark.parametrize("master", RECORDED, ids=lambda master: master.name)
def test_a_record_is_of_the_present_checks_and_solutions(master):
    record = json.loads(h.place(master).read_text(encoding="utf-8"))
    assert h.begun(master) == record, f"checks or solutions have changed since: run {record['command']}"
    good, fair = record["points"]["good"], record["points"]["fair"]
    assert list(good) == list(fair) == [str(number) for number in range(1, len(good) + 1)]
    most = sum(check.points for check in master.checks)
    assert all(0 <= each <= most for each in (*good.values(), *fair.values()))


@pytest.mark.parametrize("master", MASTERS, ids=lambda master: master.name)
def test_the_notes_say_how_hard_the_variants_are_as_it_is_on_record(master):
    notes = (master.folder / "notes.md").read_text(encoding="utf-8")
    if master in RECORDED:
        assert h.told(json.loads(h.place(master).read_text(encoding="utf-8"))) in notes
    else:
        assert f"Not recorded: `python -m coursework.hardness {master.name[0]}`" in notes


def test_the_assignments_that_train_little_are_recorded():
    assert {master.name for master in RECORDED} >= {"1_rates", "2_trigger", "3_twins", "6_hunt"}


@dataclass
class Asked:
    """A stand-in for an assignment of one check, that counts what is graded."""

    folder: object
    name: str = "1_rates"
    checks: list = field(default_factory=list)
    code: str = "assert interval(0, 10)"

    def given(self, variant):
        return [self.code]


def test_a_stopped_run_goes_on_where_it_was_and_a_changed_check_begins_anew(tmp_path, monkeypatch):
    master, graded = Asked(tmp_path), []
    monkeypatch.setattr(h, "solutions", lambda master: {"good": ["good"], "fair": ["fair"]})
    monkeypatch.setattr(h, "Grader", lambda master, variant, unsafe: variant)

    def points(variant, cells):
        graded.append((variant.number, cells[0]))
        if variant == Variant.draw(3, seed=1003):
            raise KeyboardInterrupt
        return 20.0 if cells == ["good"] else float(10 + variant.number)

    monkeypatch.setattr(h, "points", points)
    with pytest.raises(KeyboardInterrupt):
        h.measure(master, 4)
    monkeypatch.setattr(h, "points", lambda variant, cells: graded.append(variant.number) or 12.0)
    assert h.measure(master, 4)["points"]["fair"] == {"1": 11.0, "2": 12.0, "3": 12.0, "4": 12.0}
    assert graded == [(1, "good"), (1, "fair"), (2, "good"), (2, "fair"), (3, "good"), 3, 3, 4, 4]
    assert h.told(h.begun(master)) == (
        "`python -m coursework.hardness 1`, 4 variants: the good solution gets 20 points in 2, 12 points in 2; "
        "the fair one, with `normal_interval.py`, gets 12 points in 3, 11 points in 1."
    )
    master.code = "assert interval(0, 11)"
    assert h.begun(master)["points"] == {"good": {}, "fair": {}}
