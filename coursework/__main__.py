"""The coursework's commands, as `python -m coursework --help` lists them."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from badnets_lib.files import write_atomically

from . import masters, outputs, submissions
from .adapters import AdapterRecipe
from .answers import BadHunt
from .attack_round import BadPlan, Outcome, play, read_plan
from .baseline import scan_zoo
from .grading import Grader, Marks, grade_all, nothing, seed_of
from .hunt import Score, score_hunt
from .roster import Member, lateness, moment, read_roster, whose
from .sandbox import NoSandbox
from .similar import alike
from .specimens import Recipe
from .submissions import Unreadable
from .variants import Variant
from .zoo import make_zoo

OUT = Path("_build") / "coursework"


def build(variant: int, out: Path | None) -> None:
    """Write every assignment's notebooks for students and for teachers."""
    numbers = Variant.draw(variant)
    out = out or OUT / f"variant-{variant}"
    for master in masters.every():
        for kind, notebook in (("student", master.student(numbers)), ("solution", master.solution(numbers))):
            path = out / kind / f"{master.name}.ipynb"
            write_atomically(path, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
            print(path)


def grade(
    assignment: str,
    folder: str,
    variant: int,
    out: Path | None,
    *,
    unsafe: bool,
    workers: int,
    again: list[str],
    roster: Path | None = None,
    due: str = "",
) -> None:
    """Grade a folder of submissions and say where the marks are."""
    if not folder:
        raise ValueError("say which folder holds the submissions: make grade ASSIGNMENT=2 FROM=folder")
    master = masters.find(assignment)
    found = submissions.find(Path(folder))
    members, last = read_roster(roster) if roster else [], moment(due)
    out = out or marks_folder(master.name, variant, Path(folder))
    kept = out / "kept"
    outputs.read_typed(out / outputs.TYPED, master.written)  # what cannot be read is told before hours of grading
    grader = Grader(master, Variant.draw(variant, seed=seed_of(kept)), unsafe=unsafe)
    graded = grade_all(grader, found, kept, workers=workers, again=again)
    owners = {submission.student: whose(submission, members) for submission in found}
    late = {each.student: lateness(each, last, owners[each.student]) for each in found}
    owned = by_owner(graded, owners)
    absent = [nothing(master, member.student) for member in members if member.student not in owned]
    print(f"{len(graded)} submissions: {outputs.write(out, master, [*graded, *absent], late)}")
    single = {name: one for name, (one, *more) in owned.items() if not more}
    for path in outputs.gradebooks(out, master, single, members):
        print(f"to import: {path}")
    tell(graded, owned, [student for student, owner in owners.items() if members and owner is None])
    compare(out, master, grader.variant, found)
    if master.written:
        print(f"type the points of written answers into {out / outputs.TYPED}, and grade again to add them up")


def by_owner(graded: Sequence[Marks], owners: Mapping[str, Member | None]) -> dict[str, list[Marks]]:
    """The marks of each member of the class who handed something in: one, or several if it came under several names."""
    owned: dict[str, list[Marks]] = {}
    for marks in graded:
        owner = owners[marks.student]
        if owner is not None:
            owned.setdefault(owner.student, []).append(marks)
    return owned


def tell(graded: Sequence[Marks], owned: Mapping[str, Sequence[Marks]], strangers: Sequence[str]) -> None:
    """Print what a teacher must look at."""
    for name, several in owned.items():
        if len(several) > 1:
            handed_in = ", ".join(marks.student for marks in several)
            print(f"{name} has {len(several)} submissions, and none of them is in the file to import: {handed_in}")
    if strangers:
        print(f"not on the roster: {', '.join(strangers)}")
    for marks in graded:
        if marks.waiting:
            print(f"{marks.student}: {outputs.waiting(marks)}; grade again when it has more")


def compare(out: Path, master: masters.Master, variant: Variant, found: list[submissions.Submission]) -> None:
    """Write the list of submissions that are alike."""
    handed_out = [masters.source(cell) for cell in master.student(variant)["cells"] if cell["cell_type"] == "code"]
    pairs = alike({each.student: sources_of(each, master, variant) for each in found}, handed_out)
    print(f"{len(pairs)} pairs are alike: {outputs.similar(out, pairs)}")


def sources_of(submission: submissions.Submission, master: masters.Master, variant: Variant) -> list[str]:
    """The code of a submission; none if it cannot be read, whatever is wrong with it: the table says so already."""
    try:
        return submissions.read(submission, master, variant).sources
    except Exception:
        return []


def marks_folder(assignment: str, variant: int, folder: Path) -> Path:
    """Where the marks of a class go: no other assignment, variant or folder shares it."""
    return OUT / "marks" / assignment / f"variant-{variant}" / section(folder)


def section(folder: Path) -> str:
    """A name for what belongs to a folder of submissions: no other folder shares it."""
    whole = folder.resolve()
    mark = hashlib.sha256(os.fsencode(whole)).hexdigest()[:8]
    return f"{submissions.file_name(whole.name)}-{mark}"


def zoo(salt: str, models: int, out: Path, kind: str = "networks") -> None:
    """Make the networks or adapters of a hunt, the private truth about them, and the hunt to beat."""
    public, truth, baseline = out / "zoo", out / "truth.json", out / "baseline.json"
    recipe = AdapterRecipe(models=models) if kind == "adapters" else Recipe(models=models)
    made = make_zoo(public, truth, salt=salt, recipe=recipe)
    scan_zoo(public, baseline)
    score = score_hunt(baseline, public, truth)
    print(f"hand out {public} ({models} {kind}, zoo {made['zoo']}); keep {truth} and the salt")
    print(f"to beat: {score.total:g} of 30 (AUC {score.auc}, cross-entropy {score.cross_entropy})")


def hunt(folder: Path, out: Path) -> None:
    """Score everybody's hunt.json against the zoo that `zoo` made; a folder of scores for each folder of hunts."""
    scored: dict[str, Score | str] = {}
    for submission in submissions.find(folder, ".json"):
        try:
            path, _ = submissions.only(submission, begins="hunt")
            scored[submission.student] = score_hunt(path, out / "zoo", out / "truth.json")
        except (BadHunt, Unreadable) as error:
            scored[submission.student] = str(error)
    scored[outputs.BASELINE] = score_hunt(out / "baseline.json", out / "zoo", out / "truth.json")
    place = out / "scores" / section(folder)
    print(f"{len(scored) - 1} hunts: {outputs.hunts(place, scored)}")
    print(f"to put online, after the deadline: {place / 'leaderboard.html'}")


def attack(folder: Path, out: Path | None) -> None:
    """Play everybody's plan.json against the detectors."""
    out = out or OUT / "attack" / section(folder)
    seed = seed_of(out)
    played: dict[str, Outcome | str] = {}
    for submission in submissions.find(folder, ".json"):
        try:
            path, _ = submissions.only(submission, begins="plan")
            played[submission.student] = play(read_plan(path), seed=seed)
        except (BadPlan, Unreadable) as error:
            played[submission.student] = str(error)
    print(f"{len(played)} attacks: {outputs.attacks(out, played)}")


COMMANDS: dict[str, Callable[..., None]] = {"build": build, "grade": grade, "zoo": zoo, "hunt": hunt, "attack": attack}


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="python -m coursework", description="Build and grade the coursework.")
    commands = parser.add_subparsers(dest="command", required=True)
    building = commands.add_parser("build", help="write the students' and the teachers' notebooks")
    building.add_argument("--out", type=Path, help="where to; by default _build/coursework/variant-N")
    grading = commands.add_parser("grade", help="grade a folder of submissions")
    grading.add_argument("assignment", help="how its folder's name begins: 1, 2, ...")
    grading.add_argument("folder", help="holds <student>/anything.ipynb or <student>.ipynb")
    grading.add_argument("--out", type=Path, help="where to; by default _build/coursework/marks/...")
    grading.add_argument("--unsafe", action="store_true", help="run students' code without a sandbox")
    grading.add_argument("--workers", type=int, default=2, help="submissions graded at a time")
    grading.add_argument(
        "--again", action="append", default=[], metavar="NAME",
        help="grade this student, or this check of everybody, again although marks are kept; 'lost' for every check "
        "that someone lost to time or memory",
    )  # fmt: skip
    making = commands.add_parser("zoo", help="make the networks of the capstone from a secret salt")
    making.add_argument("--salt", required=True, help="kept secret; take one from secrets.token_hex()")
    making.add_argument("--models", type=int, default=20, help="how many; more make narrower intervals")
    making.add_argument(
        "--kind", choices=("networks", "adapters"), default="networks",
        help="whole networks, or one honest network and low-rank adapters for it",
    )  # fmt: skip
    hunting = commands.add_parser("hunt", help="score a folder of hunt.json against that zoo")
    hunting.add_argument("folder", type=Path, help="holds <student>/hunt.json or <student>.json")
    attacking = commands.add_parser("attack", help="play a folder of plan.json against the course's detectors")
    attacking.add_argument("folder", type=Path, help="holds <student>/plan.json or <student>.json")
    attacking.add_argument("--out", type=Path, help="of seed and scores; by default _build/coursework/attack/...")
    grading.add_argument("--roster", type=Path, help="a table of the class, or Canvas's or Moodle's export of it")
    grading.add_argument(
        "--due", default="",
        help="when the work was due, such as '2027-03-01 23:59'; a time of this machine's zone, unless it says +01:00",
    )  # fmt: skip
    for command in (making, hunting):
        command.add_argument("--out", type=Path, default=OUT / "hunt", help="of zoo, truth, baseline and scores")
    for command in (building, grading):
        command.add_argument("--variant", type=int, default=0, help="the cohort's number, such as 2027")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    wanted = vars(arguments(given))
    try:
        COMMANDS[wanted.pop("command")](**wanted)
    except (ValueError, FileNotFoundError, NoSandbox) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
