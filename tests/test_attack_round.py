"""Students' plans are read without harm, and played as the rules say."""

import pytest
import torch

from badnets_lib import Attack, Blend, Goal, Patch, Pixels, Proportion
from badnets_lib.triggers import Chain
from coursework import __main__ as command, attack_round as r
from coursework.specimens import digits

GOAL = Goal.all_to_one(3, 10)


def plan(trigger=None, images=70, data=None):
    data = data or digits()[0]
    return Attack(trigger or Blend("noise", opacity=0.2, seed=1), GOAL).plan(data, fraction=images / len(data), seed=0)


def handed(tmp_path, content):
    path = tmp_path / "plan.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# ---- reading ----


def test_a_plan_within_the_budget_is_read_as_it_was_saved(tmp_path):
    made = plan()
    made.save(tmp_path / "plan.json")
    assert r.read_plan(tmp_path / "plan.json") == made and len(made.indices) == r.MOST_IMAGES


@pytest.mark.parametrize(("content", "message"), [
    (b" " * 200_001, "more than 200,000 bytes"),
    (b"", "not a plan"),
    (b"\xff\xfe", "not a plan"),
    (b"[" * 100_000, "not a plan"),
    (b"{}", "not a plan"),
    (b'"<script>"', "not a plan"),
])  # fmt: skip
def test_what_is_no_plan_is_refused_in_one_line(tmp_path, content, message):
    with pytest.raises(r.BadPlan, match=message) as error:
        r.read_plan(handed(tmp_path, content))
    assert "\n" not in str(error.value) and len(str(error.value)) < 300 and "<script>" not in str(error.value)


@pytest.mark.parametrize(("made", "message"), [
    (lambda: plan(images=71), "poisons 71 images; the budget is 70"),
    (lambda: plan(Chain((Patch(), Patch(corner="top-left")))), "must be one of Blend, .* got Chain"),
])  # fmt: skip
def test_the_budget_holds(tmp_path, made, message):
    with pytest.raises(r.BadPlan, match=message):
        r.read_plan(handed(tmp_path, made().to_json()))


@pytest.mark.parametrize(("made", "message"), [
    (lambda: plan(data=digits()[2]), "does not fit the training digits"),
    (lambda: plan(Patch(size=8)), "have a PSNR of .* dB; at least 16"),
    (lambda: plan(Pixels(((27, 27),))), None),
])  # fmt: skip
def test_a_plan_for_other_digits_or_with_a_stamp_that_is_easily_seen_is_not_played(monkeypatch, made, message):
    monkeypatch.setattr(r, "train", lambda *_: pytest.fail("nothing is trained") if message else stop())
    with pytest.raises(r.BadPlan if message else Reached, match=message):
        r.play(made(), seed=0)


class Reached(Exception):
    pass


def stop():
    raise Reached


# ---- points ----


def outcome(success=900, clean=980, **caught):
    return r.Outcome(Proportion(success, 900), Proportion(clean, 1000), caught)


def test_points_by_hand():
    assert outcome(900, s=0, a=0, n=0).points == 10
    assert outcome(450, s=0, a=0, n=0).points == 5
    assert outcome(900, s=0.6, a=0.3, n=1).points == 3.67
    assert outcome(900, s=1, a=1, n=1).points == 0
    assert outcome(900, clean=949, s=0, a=0, n=0).points == 0, "clean accuracy is lost"
    assert "| caught by n | 100% |" in outcome(n=1.0).to_markdown()


def test_flagging_everything_catches_nothing():
    truth = torch.arange(100) < 10
    assert r.caught_by(truth, truth) == 1 and r.caught_by(~truth, truth) == 0
    assert r.caught_by(torch.ones(100).bool(), truth) == 0
    assert r.caught_by(torch.arange(100) < 55, truth) == pytest.approx(0.5)


# ---- the command ----


def test_no_two_sections_share_seed_and_scores(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("monday", "friday"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}s_student.json").write_text("{}")
        command.main(["attack", name])
    monday, friday = (command.OUT / "attack" / command.section(tmp_path / name) for name in ("monday", "friday"))
    assert "mondays_student" in (monday / "attack.csv").read_text() and (monday / "seed").exists()
    assert "mondays_student" not in (friday / "attack.csv").read_text() and (friday / "seed").exists()


@pytest.mark.slow  # a network is trained and scanned
def test_a_class_is_played_under_one_secret_seed(tmp_path, monkeypatch, recwarn):
    (tmp_path / "in" / "ann").mkdir(parents=True)
    plan(Patch(size=3)).save(tmp_path / "in" / "ann" / "plan.json")
    (tmp_path / "in" / "bob.json").write_text("{}")
    seeds = []
    monkeypatch.setattr(command, "play", lambda given, seed: seeds.append(seed) or r.play(given, seed=seed))
    command.main(["attack", str(tmp_path / "in"), "--out", str(tmp_path / "out")])
    table = (tmp_path / "out" / "attack.csv").read_text(encoding="utf-8-sig").splitlines()
    assert table[0] == "student,attack_success,clean_accuracy,caught,points,of,problem"
    ann, bob = table[1:]
    assert ann.startswith("ann,") and "NeuralCleanse 100%" in ann and bob.startswith("bob,,,,0,10,")
    assert seeds == [int((tmp_path / "out" / "seed").read_text())]
    assert "attack success rate" in (tmp_path / "out" / "feedback" / "ann.md").read_text()
