"""What a teacher needs for a class: roster, late dates, gradebooks, a list of submissions that are alike, feedback."""

import csv
import io
import os
import time
from datetime import datetime

import pytest
import torch

import badnets_lib as bd
from coursework import __main__ as command, grading, masters, outputs, roster
from coursework.grading import Mark, Marks
from coursework.roster import lateness, moment, read_roster, whose
from coursework.sandbox import described
from coursework.similar import alike
from coursework.submissions import Submission
from coursework.variants import MASTERS

CANVAS = """Student,ID,SIS User ID,SIS Login ID,Section,Assignment 1. Fractions and rates (77),Final Score
    Points Possible,,,,,28,(read only)
"Döe, Jane",4711,s1,jane,Section A,,90
"Li, Bo",4712,s2,bo,Section A,12,80
"Student, Test",4799,,,Section A,,
"""
MOODLE = """First name,Last name,ID number,Email address
Jane,Döe,4711,jane@example.org
Bo,Li,4712,bo@example.org
"""
OWN = """student,id,due,handed in
ann,1,2027-03-03 12:00,
bob,2,,2027-03-02 01:30
"""


def table(folder, text, name="roster.csv"):
    path = folder / name
    path.write_text(text, encoding="utf-8-sig")
    return path


def rows(path):
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))


def marked(student, points=18.0, **changes):
    made = {"problem": "", "texts": {}, "sandbox": "bubblewrap", "seconds": 1.0, "key": "k"}
    return Marks(**made | {"student": student, "marks": (Mark("check-interval", points, 20.0),)} | changes)


def solved(master, student):
    """All points by machine, as a table of the class needs them."""
    return marked(student, marks=tuple(Mark(check.name, check.points, check.points) for check in master.checks))


@pytest.fixture
def rates():
    return masters.find("1")


# ---- the class ----


@pytest.mark.parametrize("text", [CANVAS, MOODLE], ids=["Canvas", "Moodle"])
def test_a_gradebooks_own_export_is_a_roster(tmp_path, text):
    jane, bo = read_roster(table(tmp_path, text))
    assert "4711" in jane.known_as and "Li" in bo.student
    assert whose(Submission("doejane_LATE_4711_9_1_rates", (), number="4711"), [bo, jane]) is jane
    assert whose(Submission("Jane Döe_88_assignsubmission_file", ()), read_roster(table(tmp_path, MOODLE))) is not None
    assert whose(Submission("nobody", ()), [bo, jane]) is None


def test_a_table_that_is_no_roster_is_told(tmp_path):
    with pytest.raises(ValueError, match="has no column 'student'"):
        read_roster(table(tmp_path, "name,points\nann,3\n"))
    with pytest.raises(ValueError, match="ann stands there twice"):
        read_roster(table(tmp_path, "student\nann\nann\n"))
    with pytest.raises(ValueError, match="'soon' is no date; write 2027-03-01 23:59"):
        read_roster(table(tmp_path, "student,due\nann,soon\n"))


HIDDEN = CANVAS.replace("    Points", ",,,,,Manual Posting,\n,,,,,Muted,\n    Points")
SPLIT = CANVAS.replace("Student,ID", "LastName,FirstName,ID").replace('"Döe, Jane"', "Döe,Jane")
SPLIT = SPLIT.replace('"Li, Bo"', "Li,Bo").replace('"Student, Test"', "Student,Test").replace("ble,", "ble,,")


@pytest.mark.parametrize("text", [HIDDEN, SPLIT], ids=["Manual Posting", "names in two columns"])
def test_lines_of_canvas_that_are_no_student_are_left_out(rates, tmp_path, text):
    members = read_roster(table(tmp_path, text))
    assert [(m.student, m.row["ID"]) for m in members] == [("Döe, Jane", "4711"), ("Li, Bo", "4712")]
    (path,) = outputs.gradebooks(tmp_path, rates, {"Li, Bo": marked("x")}, members)
    assert [row["Student"].strip() for row in rows(path)] == ["Points Possible", "Döe, Jane", "Li, Bo"]


@pytest.fixture
def in_berlin(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone cannot be set here")
@pytest.mark.parametrize(
    ("due", "came", "late"),
    [
        ("2027-03-01 23:59+01:00", "2027-03-02 00:30", "1 h"),
        ("2027-03-01 23:59", "2027-03-01 23:30Z", "1 h"),
        ("2027-03-01 23:59", "2027-03-01 22:30Z", ""),
        ("2027-03-01 18:00-06:00", "2027-03-02 00:30+01:00", ""),
        ("2027-07-01", "2027-07-01 22:30Z", "1 h"),  # summer: this machine is two hours ahead
        ("20270701", "2027-07-01 21:30Z", ""),
    ],
)
def test_a_time_without_an_offset_is_of_this_machines_zone(tmp_path, in_berlin, due, came, late):
    (ann,) = read_roster(table(tmp_path, f"student,due,handed in\nann,{due},{came}\n"))
    assert lateness(Submission("ann", ()), None, ann) == late
    (bob,) = read_roster(table(tmp_path, f"student,due,handed in\nbob,,{came}\n"))
    assert lateness(Submission("bob", ()), moment(due), bob) == late


def test_late_is_by_the_files_time_the_students_own_date_and_canvas(tmp_path):
    path = table(tmp_path, "{}", "a.ipynb")
    when = datetime(2027, 3, 2, 12, 30).timestamp()
    os.utime(path, (when, when))
    ann, bob = read_roster(table(tmp_path, OWN))
    work, due = Submission("ann", (path,)), moment("2027-03-01 23:59")
    assert lateness(work, due) == "13 h" and lateness(work, due, ann) == "" and lateness(work, None) == ""
    assert lateness(work, due, bob) == "2 h" and lateness(work, moment("2027-02-27")) == "2 d 13 h"
    assert lateness(work, moment("2027-03-02")) == ""  # a date alone lasts until midnight
    assert lateness(Submission("x", (), late=True), None) == "late in Canvas"


# ---- gradebooks ----


def test_what_canvas_gave_canvas_gets_back_with_points(rates, tmp_path):
    members = read_roster(table(tmp_path, CANVAS))
    owned = {members[0].student: marked("doejane_4711_9_1_rates")}
    (path,) = outputs.gradebooks(tmp_path, rates, owned, members)
    title = "Assignment 1. Fractions and rates (77)"
    assert path.name == "canvas.csv" and list(rows(path)[0]) == [*roster.CANVAS, title]
    possible, jane, bo = rows(path)
    assert possible["Student"].strip() == "Points Possible" and possible[title] == "28"
    assert (jane["Student"], jane["ID"], jane["SIS Login ID"], jane[title]) == ("Döe, Jane", "4711", "jane", "18")
    assert bo[title] == ""  # Canvas leaves an empty entry as it is
    assert [(m.student, m.known_as) for m in read_roster(path)] == [(m.student, m.known_as) for m in members]


def test_what_moodle_gave_moodle_gets_back_with_points_and_feedback(rates, tmp_path):
    members = read_roster(table(tmp_path, MOODLE))
    (path,) = outputs.gradebooks(tmp_path, rates, {members[1].student: marked("Bo Li_4712_x", 7.5)}, members)
    (bo,) = rows(path)
    assert path.name == "moodle.csv" and bo["Email address"] == "bo@example.org" and bo[rates.title] == "7.5"
    assert bo[f"{rates.title} feedback"] == "7.5 of 20 by machine, 8 by hand not marked yet"
    assert read_roster(path)[0].known_as == members[1].known_as


def test_typed_points_are_in_the_gradebook(rates, tmp_path):
    members = read_roster(table(tmp_path, MOODLE))
    table(tmp_path, 'student,written-report,written-accuracy\nx,"3,5",4\n', outputs.TYPED)
    (path,) = outputs.gradebooks(tmp_path, rates, {members[0].student: marked("x")}, members)
    assert rows(path)[0][rates.title] == "25.5" and "7.5 of 8 by hand" in path.read_text()


def test_who_handed_in_nothing_has_a_line_and_who_is_nobody_is_told(rates, tmp_path, monkeypatch, capsys):
    for name in ("ann", "eve"):
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / "a.ipynb").write_text("{}")
    monkeypatch.setattr(command, "grade_all", lambda grader, found, kept, **more: [marked(s.student) for s in found])
    monkeypatch.setattr(outputs, "table", lambda master, graded, typed, late: f"{[m.student for m in graded]} {late}")
    arguments = ["grade", "1", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--unsafe", "--due", "2027-03-01"]
    command.main([*arguments, "--roster", str(table(tmp_path, OWN))])
    text = (tmp_path / "out/grades.csv").read_text(encoding="utf-8-sig")
    assert text == "['ann', 'eve', 'bob'] {'ann': '', 'eve': ''}"
    assert "not on the roster: eve" in capsys.readouterr().out
    absent = grading.nothing(rates, "bob")
    assert absent.points == 0 and absent.possible == 20 and absent.problem == "nothing was handed in"


def test_two_submissions_of_one_student_are_told_and_neither_is_imported(rates, tmp_path, monkeypatch, capsys):
    for name in ("jane", "Jane Döe", "Bo Li"):
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / "a.ipynb").write_text("{}")
    monkeypatch.setattr(
        command, "grade_all", lambda grader, found, kept, **more: [solved(rates, s.student) for s in found]
    )
    members = table(tmp_path, MOODLE.replace("4711,jane@example.org", "4711,jane"))
    out = tmp_path / "out"
    command.main(["grade", "1", str(tmp_path / "in"), "--out", str(out), "--unsafe", "--roster", str(members)])
    assert "Jane Döe has 2 submissions, and none of them is in the file to import: Jane Döe, jane" in (
        capsys.readouterr().out
    )
    assert [row["First name"] for row in rows(out / "moodle.csv")] == ["Bo"]
    assert len(rows(out / "grades.csv")) == 3


# ---- alike ----


FIRST = '''def interval(hits, trials):
    """Wilson."""
    z, share = 1.96, hits / trials
    middle = share + z**2 / (2 * trials)
    half = z * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    return (middle - half) / (1 + z**2 / trials), (middle + half) / (1 + z**2 / trials)
'''
RENAMED = """# all my own work
%matplotlib inline
def interval(h, n):
    q, p = 1.96, h / n
    centre = p + q**2 / (2 * n)

    width = q * math.sqrt(p * (1 - p) / n + q**2 / (4 * n**2))
    return (centre - width) / (1 + q**2 / n), (centre + width) / (1 + q**2 / n)
"""


def test_copies_with_other_names_comments_and_layout_are_found(rates):
    other = (rates.folder / "other.py").read_text(encoding="utf-8").split("# %%")[1:]
    solution = [masters.source(c) for c in rates.solution(MASTERS)["cells"] if masters.is_solution(c)]
    pairs = alike({"ann": [FIRST], "bob": [RENAMED], "cyd": [f"#{part}" for part in other], "dan": solution}, [])
    assert [(one, two) for one, two, _ in pairs] == [("ann", "bob")] and pairs[0][2] > 0.95


def test_a_small_change_is_nearly_the_same_and_what_was_handed_out_is_nobodys(rates):
    changed = RENAMED.replace("    centre =", "    print(n)\n    centre =")
    ((_, _, share),) = alike({"ann": [FIRST], "bob": [changed]}, [])
    assert 0.8 <= share < 1
    stubs = [masters.source(c) for c in rates.student(MASTERS)["cells"] if c["cell_type"] == "code"]
    assert alike({"ann": stubs, "bob": stubs}, stubs) == [] == alike({"ann": [FIRST], "bob": ["def f(:"]}, [])


LONG = {
    "a sum of 1,500 terms": "x = " + "+".join(["1"] * 1500),
    "a literal of 5,000 digits": "x = 0x" + "f" * 5000,
    "a decimal literal of 5,000 digits": "x = " + "9" * 5000,
    "a chain of 1,500 attributes": "x = a" + ".b" * 1500,
    "1,500 branches": "if a:\n    pass\n" + "\n".join(f"elif a == {n}:\n    pass" for n in range(1500)),
}


@pytest.mark.parametrize("what", LONG)
def test_long_code_costs_nobody_else_the_comparison_and_hides_no_copy(what):
    pairs = alike({"ann": [FIRST], "bob": [LONG[what], RENAMED], "eve": [LONG[what]]}, [LONG[what]])
    assert [pair[:2] for pair in pairs] == [("ann", "bob")]


def test_the_list_is_written_without_formulas(tmp_path):
    path = outputs.similar(tmp_path, [("=ann", "bob", 0.97)])
    assert rows(path) == [{"student": "'=ann", "other student": "bob", "alike": "97%"}]


# ---- feedback ----


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "None"),
        (0.25, "0.25"),
        (torch.zeros(3, 2), "a tensor [3, 2] of float32"),
        (torch.tensor([1, 2]), "a tensor [2] of int64, [1, 2]"),
        ((1, None), "(1, None)"),
        ([1] * 9, "[1, 1, 1, 1, ...]"),
        ({"drop": 1}, "a dictionary with 'drop'"),
        (bd.SmallCNN(width=2), "a SmallCNN"),
    ],
)
def test_a_value_is_described_in_a_few_words(value, words):
    assert described(value) == words
    assert len(described("x" * 10**6)) <= 120


def test_totals_say_what_is_by_machine_and_what_by_hand(rates):
    text = outputs.feedback(rates, marked("ann", 20.0), {"written-report": "4", "written-accuracy": "3,5"})
    assert "**27.5 of 28 points** (20 of 20 by machine, 7.5 of 8 by hand)" in text
    assert (
        "20 of 20 by machine, 8 by hand not marked yet" in outputs.gradescope(rates, marked("ann", 20.0), {})["output"]
    )


@pytest.mark.parametrize("typed", ["nan", "inf", "-3", "1e9", "four"])
def test_points_that_are_none_are_told(tmp_path, typed):
    with pytest.raises(ValueError, match="is no number of points"):
        outputs.read_typed(table(tmp_path, f"student,words\nann,{typed}\n", "written.csv"), WORDS)


WORDS = {"words": 6.0, "report": 4.0}


def read(folder, text):
    return outputs.read_typed(table(folder, text, "written.csv"), WORDS)


def test_a_teachers_own_columns_are_kept_and_never_counted(rates, tmp_path):
    text = "student,bonus,written-report,written-accuracy,remark\nann,5,3,4,late\nbob,,,,\neve,2,,,\n"
    place = table(tmp_path, text, outputs.TYPED)
    for _ in range(2):
        outputs.write(tmp_path, rates, [solved(rates, "ann"), solved(rates, "bob")])
        kept = {row["student"]: row for row in rows(place)}
        assert kept["ann"]["bonus"] == "5" and kept["ann"]["remark"] == "late" and kept["eve"]["bonus"] == "2"
    ann, bob = rows(tmp_path / "grades.csv")
    assert (ann["points"], ann["by hand"], bob["by hand"]) == ("27", "7", "") and "bonus" not in ann


def test_a_table_with_semicolons_is_read_and_written_so(rates, tmp_path):
    place = table(tmp_path, "student;written-report;written-accuracy\nann;3,5;4\n", outputs.TYPED)
    outputs.write(tmp_path, rates, [solved(rates, "ann")])
    assert rows(tmp_path / "grades.csv")[0]["by hand"] == "7.5"
    assert place.read_text(encoding="utf-8-sig").splitlines()[1] == "ann;3,5;4"
    assert read_roster(table(tmp_path, OWN.replace(",", ";")))[1].known_as == {"bob", "2"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("student,words,report\nann,4,5,3\n", "written.csv, line 2: '3' stands in no column; write 4.5, or put 4,5 in"),
        ("student,words,\nann,4,5\n", "line 2: '5' stands in no column"),
        ("student,words\nann,6.5\n", "ann, words: 6.5 points; the question has 6"),
        ("student,words\nann,1\nann,2\n", "'ann' stands there twice"),
        ("student,words,words\nann,1,2\n", "has the column 'words' twice"),
        ("student,words\n" + "x" * 200_000 + ",1\n", "written.csv is not a table: field larger"),
        ("name,words\nann,1\n", "has no column 'student'; repair it, or move it away"),
    ],
)
def test_what_is_wrong_with_the_teachers_table_is_one_line(tmp_path, text, why):
    with pytest.raises(ValueError, match=why) as told:
        read(tmp_path, text)
    assert "written.csv" in str(told.value) and "\n" not in str(told.value)


def test_a_spare_comma_costs_nothing(tmp_path):
    assert read(tmp_path, "student,words,report\nann,4,,,\n,,\n").points == {"ann": {"words": "4"}}


def test_a_table_that_is_not_utf8_is_told_with_its_name(tmp_path):
    place = tmp_path / "written.csv"
    place.write_bytes("student,words\nD\xf6e,1\n".encode("cp1252"))
    for reading in (lambda: outputs.read_typed(place, WORDS), lambda: read_roster(place)):
        with pytest.raises(ValueError, match=r"written.csv is not UTF-8 \(byte 16\); save it as 'CSV UTF-8'"):
            reading()


def test_characters_that_turn_a_line_round_are_written_out(rates):
    text = outputs.feedback(rates, marked("a\u202eb", 0.0, problem="x\u200by\x1b[0m"), {})
    assert "\u202e" not in text and "u202e" in text and "\\u200b" in text and "\x1b" not in text
