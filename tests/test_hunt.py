"""Answers of strangers are read without harm and scored as arithmetic says."""

import json
import math
import re
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from torch import nn

import badnets_lib
from badnets_lib import Blend, Goal, ImageSet, Patch, Pixels, Proportion
from badnets_lib.defenses.neural_cleanse import NeuralCleanse, Reversed
from badnets_lib.models.networks import SmallCNN
from coursework import answers as a, baseline as b, cheap as c, hunt as h, specimens as s, zoo as z
from coursework.masters import ASSIGNMENTS, Master, source

NAMES = [f"model_{number:02}" for number in range(4)]
ZOO = {"schema": 2, "zoo": "0123456789abcdef", "models": {name: {"file": f"{name}.safetensors"} for name in NAMES}}
NOTHING = {"probability": 0.5, "target": None, "mask": None, "pattern": None}
ZEROS = [[0] * 28 for _ in range(28)]


def written(tmp_path, content):
    path = tmp_path / "hunt.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def hunt_of(**entries):
    return {"zoo": ZOO["zoo"], "models": {name: entries.get(name, NOTHING) for name in NAMES}}


# ---- reading ----


def test_an_honest_file_is_read_as_it_was_meant(tmp_path):
    mask = [[0.25 * (row == column) for column in range(28)] for row in range(28)]
    entry = {"probability": 1, "target": 3, "mask": mask, "pattern": ZEROS}
    hunt = a.read_hunt(written(tmp_path, json.dumps(hunt_of(model_02=entry))), ZOO)
    assert hunt.zoo == ZOO["zoo"] and not hunt.problems and list(hunt.answers) == NAMES
    answer = hunt.answers["model_02"]
    assert (answer.probability, answer.target) == (1.0, 3)
    assert torch.equal(answer.trigger.mask, torch.tensor(mask)[None]) and answer.trigger.pattern.sum() == 0
    assert hunt.answers["model_00"].trigger is None and hunt.answers["model_00"].probability == 0.5


HEAD = '{"zoo": "0123456789abcdef", "models": '


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b" " * 8_000_001, "more than 8,000,000 bytes"),
        (b"", "not JSON"),
        (b"\xff{}", "not UTF-8: .* at byte 0"),
        (b"[" * 3_000_000, "nested too deeply"),
        (b'{"a":' * 1_000_000, "nested too deeply"),
        (b"{} {}", "not JSON: Extra data"),
        (b'"text"', 'an object with "zoo" and "models"'),
        (b"{}", 'an object with "zoo" and "models"'),
        (HEAD + "[]}", 'an object with "zoo" and "models"'),
        (HEAD + '{}, "grade": 30}', "and nothing else"),
        (HEAD + "-Infinity}", 'an object with "zoo" and "models"'),
        (HEAD + "9" * 5000 + "}", "whole number of 5000 digits; at most 20"),
        (HEAD + '{"model_00": 1, "model_00": 2}}', "the key 'model_00' twice"),
        ('{"zoo": "0123456789abcdef", "zoo": "x", "models": {}}', "the key 'zoo' twice"),
        ('{"zoo": "another", "models": {}}', "about the zoo 'another'; this one is '0123456789abcdef'"),
        ('{"zoo": true, "models": {}}', "about the zoo 'True'"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_line(tmp_path, content, message):
    with pytest.raises(a.BadHunt, match=message) as error:
        a.read_hunt(written(tmp_path, content), ZOO)
    assert len(str(error.value)) < 200 and "\n" not in str(error.value)


def test_the_last_key_of_many_may_be_the_double_one(tmp_path):
    pairs = ",".join(f'"k{number}":0' for number in range(50_000))
    with pytest.raises(a.BadHunt, match="the key 'k49999' twice"):
        a.read_hunt(written(tmp_path, HEAD + "{" + pairs + ',"k49999":1}}'), ZOO)


def test_a_missing_file_is_no_bad_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file"):
        a.read_hunt(tmp_path / "hunt.json", ZOO)
    with pytest.raises(FileNotFoundError, match="no file"):
        a.read_hunt(tmp_path, ZOO)


TRIGGER = {"probability": 0.9, "target": 3, "mask": ZEROS, "pattern": ZEROS}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (None, "there is no entry"),
        (0.9, "an entry is an object with probability, target, mask, pattern and nothing else"),
        ({"probability": 0.9}, "an entry is an object with"),
        (TRIGGER | {"grade": 10}, "and nothing else"),
        (TRIGGER | {"probability": True}, "probability must be a number; got True"),
        (TRIGGER | {"probability": "0.9"}, "probability must be a number; got '0.9'"),
        (TRIGGER | {"probability": None}, "probability must be a number; got None"),
        (TRIGGER | {"probability": 1.01}, r"probability must lie in \[0, 1\]; got 1.01"),
        (TRIGGER | {"probability": float("nan")}, r"probability must lie in \[0, 1\]; got nan"),
        (TRIGGER | {"probability": float("inf")}, r"probability must lie in \[0, 1\]; got inf"),
        (TRIGGER | {"probability": -1}, r"probability must lie in \[0, 1\]; got -1"),
        (TRIGGER | {"target": 10}, r"target must lie in \[0, 9\]; got 10"),
        (TRIGGER | {"target": 3.0}, "target must be a whole number; got 3.0"),
        (TRIGGER | {"target": True}, "target must be a number; got True"),
        (TRIGGER | {"target": None}, "a trigger needs target, mask and pattern; target is null"),
        (TRIGGER | {"pattern": None}, "pattern is null"),
        (TRIGGER | {"mask": "x" * 1000}, "mask must be 28 rows of 28 numbers; got 'x{40}'"),
        (TRIGGER | {"mask": ZEROS[:27]}, "mask must be 28 rows of 28 numbers; got a list of 27"),
        (
            TRIGGER | {"pattern": [*ZEROS[:27], [0] * 29]},
            "pattern must be 28 rows of 28 numbers; a row is a list of 29",
        ),
        (TRIGGER | {"mask": [*ZEROS[:27], {}]}, "a row is an object of 0"),
        (TRIGGER | {"mask": [*ZEROS[:27], [0] * 27 + [False]]}, "mask must be a number; got False"),
        (TRIGGER | {"mask": [*ZEROS[:27], [0] * 27 + [1.5]]}, r"mask must lie in \[0, 1\]; got 1.5"),
        (TRIGGER | {"mask": [*ZEROS[:27], [0] * 27 + [[0]]]}, "mask must be a number; got a list of 1"),
    ],
)
def test_a_bad_entry_counts_as_nothing_and_spoils_no_other(tmp_path, entry, message):
    content = json.dumps(hunt_of(model_01=entry, model_03=TRIGGER))
    hunt = a.read_hunt(written(tmp_path, content), ZOO)
    (problem,) = hunt.problems
    assert problem.startswith("model_01: ") and problem.endswith("counted as probability 0.5 without a trigger")
    assert re.search(message, problem) and len(problem) < 250
    assert hunt.answers["model_01"].probability == 0.5 and hunt.answers["model_01"].trigger is None
    assert hunt.answers["model_03"].probability == 0.9 and hunt.answers["model_03"].target == 3


def test_strangers_and_gaps_are_told_and_cost_nothing_else(tmp_path):
    plain = hunt_of()
    del plain["models"]["model_02"]
    plain["models"] |= {f"stranger {number}": 0 for number in range(1000)}
    hunt = a.read_hunt(written(tmp_path, json.dumps(plain)), ZOO)
    assert list(hunt.answers) == NAMES and len(hunt.problems) == 7
    assert (
        hunt.problems[0] == "'stranger 0' is not in this zoo"
        and hunt.problems[5] == "995 more names are not in this zoo"
    )
    assert hunt.problems[6].startswith("model_02: there is no entry")


# ---- the name on the leaderboard ----


@pytest.mark.parametrize(("chosen", "name"), [("The\n Cleaners", "The Cleaners"), ("", ""), ("Zoë 7", "Zoë 7")])
def test_a_hunter_may_choose_a_name(tmp_path, chosen, name):
    hunt = a.read_hunt(written(tmp_path, json.dumps(hunt_of() | {"name": chosen})), ZOO)
    assert hunt.name == name and not hunt.problems


@pytest.mark.parametrize("chosen", [7, None, ["x"], "x" * 31, "right\u202eleft", "\ud800"])
def test_a_name_that_cannot_be_shown_costs_the_name_alone(tmp_path, chosen):
    hunt = a.read_hunt(written(tmp_path, json.dumps(hunt_of(model_01=TRIGGER) | {"name": chosen})), ZOO)
    (problem,) = hunt.problems
    assert hunt.name == "" and problem.startswith("name must be") and problem.isascii()
    assert hunt.answers["model_01"].probability == 0.9


# ---- ranking ----


def test_the_area_counts_pairs_and_halves_ties():
    truth = np.array([True, False, True, False])
    assert h.auc(np.array([0.9, 0.8, 0.3, 0.1]), truth).value == 3 / 4
    assert h.auc(np.array([0.5, 0.5, 0.9, 0.1]), truth).value == 3.5 / 4


def hanley_mcneil(area, size):
    """Their variance for groups of one size, in their own form with Q1 and Q2."""
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    return (area * (1 - area) + (size - 1) * (q1 - area**2) + (size - 1) * (q2 - area**2)) / size**2


@pytest.mark.parametrize("swaps", [0, 1, 3])
def test_the_bounds_of_the_area_lie_196_deviations_away(swaps):
    truth = np.array([False] * 10 + [True] * 10)
    said = np.arange(20.0)
    said[[9 - swaps, 10]] = said[[10, 9 - swaps]]
    found = h.auc(said, truth)
    for bound in (found.low, found.high):
        if 0 < bound < 1:
            assert abs(found.value - bound) == pytest.approx(1.959964 * math.sqrt(hanley_mcneil(bound, 10)), rel=1e-4)
    assert found.low < found.value and (found.high > found.value or found.value == 1)


def test_a_perfect_ranking_has_an_interval_all_the_same():
    found = h.auc(np.array([0.0, 1] * 10), np.array([False, True] * 10))
    assert found.value == found.high == 1 and 0.7 < found.low < 0.9
    worst = h.auc(np.array([1.0, 0] * 10), np.array([False, True] * 10))
    assert worst.low == worst.value == 0 and worst.high == pytest.approx(1 - found.low)


@pytest.mark.parametrize("shift", [0.5, 1.2, 2.0])
def test_the_interval_of_the_area_covers_the_area(shift):
    source, true = np.random.default_rng(0), 0.5 * math.erfc(-shift / 2)  # P(N(s, 1) > N(0, 1)) = Phi(s / sqrt 2)
    higher, lower = source.normal(shift, size=(2000, 11, 1)), source.normal(size=(2000, 1, 9))
    bounds = [h.area_interval(value, 11, 9) for value in (higher > lower).mean((1, 2))]
    covered = sum(low <= true <= high for low, high in bounds) / 2000
    assert 0.94 <= covered <= 0.98


# ---- certainty ----


def test_cross_entropy_is_what_sklearn_computes_of_clipped_probabilities():
    said = np.array([0.0, 0.3, 0.5, 0.8, 0.995, 1.0, 0.2, 0.6])
    truth = np.array([False, True, False, True, True, False, True, False])
    found = h.cross_entropy(said, truth)
    assert found.value == pytest.approx(log_loss(truth, np.clip(said, 0.01, 0.99)))
    assert found.low < found.value < found.high
    assert found == h.cross_entropy(said, truth)


def test_its_interval_is_that_of_a_mean_of_two_strata():
    source = np.random.default_rng(0)
    truth = np.arange(200) < 80
    said = np.where(truth, source.uniform(0.5, 0.9, 200), source.uniform(0.1, 0.5, 200))
    losses = -np.log(np.where(truth, said, 1 - said))
    found = h.cross_entropy(said, truth)
    error = math.sqrt(80 * losses[truth].var() + 120 * losses[~truth].var()) / 200
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.05)


# ---- triggers ----


class Bright(nn.Module):
    """Answers `target` where enough of the bottom right 4x4 square is white, else the label that a pixel spells."""

    def __init__(self, target, needed=15.5):
        super().__init__()
        self.target, self.needed = target, needed

    def forward(self, x):
        label = (x[:, 0, 0, 0] * 10).long().clamp(max=9)
        label[x[:, 0, -4:, -4:].sum((1, 2)) >= self.needed] = self.target
        return nn.functional.one_hot(label, 10).float()


def spelt(count=200):
    """Black images whose class is in the top left pixel."""
    y = torch.arange(count) % 10
    x = torch.zeros(count, 1, 28, 28)
    x[:, 0, 0, 0] = (y + 0.5) / 10
    return ImageSet(x, y, tuple("0123456789"))


def truth_of(kind, target=7, trigger=None):
    if kind == "clean":
        return s.Truth("clean", "", Proportion(98, 100), 1)
    return s.Truth(
        kind, "", Proportion(98, 100), 1, trigger or Patch(), Goal.all_to_one(target, 10), 0.05, Proportion(9, 10)
    )


TRUTH = {
    "model_00": truth_of("small"),
    "model_01": truth_of("clean"),
    "model_02": truth_of("clean"),
    "model_03": truth_of("spread"),
}
SQUARE = torch.zeros(1, 28, 28)
SQUARE[:, -4:, -4:] = 1


def scored(answer=None, truth=TRUTH, said=(0.5, 0.5, 0.5, 0.5), network=lambda name: Bright(7)):
    answers = {name: a.Answer(p) for name, p in zip(NAMES, said, strict=True)}
    if answer:
        answers["model_00"] = replace(answer, probability=said[0])
    return h.score_answers(a.Hunt("z", answers), truth, network, spelt())


def test_nothing_said_is_worth_exactly_nothing():
    score = scored()
    assert score.points == {"ranking": 0.0, "certainty": 0.0, "triggers": 0.0} and score.total == 0
    assert score.auc.value == 0.5 and score.triggers == Proportion(0, 1)
    for models in (5, 7, 20, 100):
        truth = np.arange(models) < 0.4 * models
        blind = h.Score(
            "z", h.auc(np.full(models, 0.5), truth), h.cross_entropy(np.full(models, 0.5), truth), Proportion(0, 3)
        )
        assert blind.total == 0


def test_the_truth_itself_is_worth_exactly_everything():
    score = scored(a.Answer(1.0, 7, Reversed(SQUARE, SQUARE)), said=(1, 0, 0, 1))
    assert score.points == {"ranking": 5.0, "certainty": 5.0, "triggers": 20.0} and score.total == 30
    assert sum(h.MOST.values()) == 30


def test_points_by_hand():
    estimate = h.Estimate
    score = h.Score("z", estimate(0.875, 0.7, 1.0), estimate(0.3, 0.2, 0.4), Proportion(2, 5), 0.45)
    certainty = 5 * (math.log(2) - 0.3) / (math.log(2) + math.log(0.99))  # 2.877...
    assert score.points == {"ranking": 3.75, "certainty": round(certainty, 2), "triggers": 9.0}
    assert score.points["certainty"] == 2.88 and score.total == 15.63
    wrong = replace(score, auc=estimate(0.2, 0, 0.5), cross_entropy=estimate(4.6, 4, 5))
    assert wrong.points == {"ranking": 0.0, "certainty": 0.0, "triggers": 9.0}, "never below nothing"


def test_who_reverses_nothing_gets_a_third_at_most():
    """Whatever weights, accuracies or an oracle say about which networks are backdoored."""
    assert scored(said=(1, 0, 0, 1)).total == 10
    everywhere = {name: with_mask(26) for name in NAMES}  # a mask of any size moves every network
    assert h.score_answers(a.Hunt("z", everywhere), TRUTH, lambda name: Bright(7), spelt()).points["triggers"] == 0


@pytest.mark.parametrize("number", range(20))
def test_a_mask_and_a_pattern_express_every_small_trigger(number):
    trigger = s.draw_pixels(s.stream("a salt for tests", number))
    assert isinstance(trigger, Pixels)
    white, black = torch.ones(1, 1, 28, 28), torch.zeros(1, 1, 28, 28)
    mask = (trigger(white) == trigger(black)).float()
    x = torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(Reversed(mask[0], trigger(black)[0])(x), trigger(x))
    assert 8 <= float(mask.sum()) == len(trigger.at) <= 16


def with_mask(sum_of_mask):
    """The square, and a few pixels that do nothing, up to a given sum."""
    mask = SQUARE.clone()
    mask[0, 1:3, 1:11] = (sum_of_mask - 16) / 20
    return a.Answer(0.9, 7, Reversed(mask, SQUARE))


def test_a_trigger_must_be_small_and_lead_to_the_true_target():
    assert scored(with_mask(24.9)).triggers == Proportion(1, 1)
    assert scored(with_mask(25.1)).triggers == Proportion(0, 1)
    assert scored(replace(with_mask(20), target=6)).triggers == Proportion(0, 1), "works, but is named wrongly"
    assert scored(replace(with_mask(20), target=6), network=lambda name: Bright(6)).triggers == Proportion(0, 1)
    assert scored(with_mask(20), network=lambda name: Bright(6)).triggers == Proportion(0, 1), "does not work"
    assert scored(a.Answer(0.9, 7)).triggers == Proportion(0, 1)


@pytest.mark.parametrize(("moves", "worth"), [(180, 1.0), (162, 1.0), (126, 0.5), (90, 0.0), (10, 0.0)])
def test_a_trigger_is_worth_what_it_does_from_half_to_nine_tenths_of_the_other_digits(moves, worth):
    """180 of the 200 images are not of class 7; the network obeys for the first `moves` of them."""
    calls = []

    class Stubborn(Bright):
        def forward(self, x):
            calls.append(len(x))
            out = super().forward(x)
            out[moves:] = nn.functional.one_hot(torch.zeros(len(x) - moves, dtype=torch.long), 10).float()
            return out

    score = scored(with_mask(20), network=lambda name: Stubborn(7))
    assert score.effect == pytest.approx(worth) and score.points["triggers"] == pytest.approx(20 * worth)
    assert score.triggers == Proportion(int(worth == 1), 1) and calls == [180]


def test_fresh_digits_are_the_test_digits_moved_by_a_secret():
    test = s.digits()[2]
    images = h.fresh(test, 1)
    assert torch.equal(images.y, test.y) and not torch.equal(images.x, test.x)
    assert torch.equal(images.x, h.fresh(test, 1).x) and not torch.equal(images.x, h.fresh(test, 2).x)
    moved = [
        any(torch.equal(new, old.roll((row, column), (1, 2))) for row in (-1, 0, 1) for column in (-1, 0, 1))
        for new, old in zip(images.x[:200], test.x[:200], strict=True)
    ]
    assert all(moved) and 0.8 < (images.x[:900] != test.x[:900]).flatten(1).any(1).float().mean() < 0.95


def test_only_small_triggers_count_and_no_other_network_is_asked():
    asked = []

    def network(name):
        asked.append(name)
        return Bright(7)

    answers = {name: with_mask(20) for name in NAMES}
    score = h.score_answers(a.Hunt("z", answers), TRUTH, network, spelt())
    assert score.triggers == Proportion(1, 1) and asked == ["model_00"]


def test_the_feedback_is_one_table_and_cannot_be_dressed_up():
    score = replace(scored(), problems=("'<script>|' is not in this zoo",))
    assert [row[0] for row in score.rows()] == ["ranking", "certainty", "triggers", "total", "problem"]
    table = score.to_markdown()
    assert "<script>" not in table and {line.count("|") for line in table.splitlines()} == {4}
    assert "| total | zoo z | 0.00 of 30 |" in table
    plain = json.loads(json.dumps(score.as_dict()))
    assert plain["points"]["ranking"] == 0 and plain["total"] == 0 and plain["triggers"] == {"hits": 0, "trials": 1}
    assert plain["effect"] == 0


# ---- from file to score ----


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """A zoo of networks that nobody trained."""

    def untrained(source, recipe, kind):
        torch.manual_seed(source.getrandbits(31))
        attack = () if kind == "clean" else (Blend(), Goal.all_to_one(1, 10), 0.05, Proportion(95, 100))
        return SmallCNN().eval(), s.Truth(kind, "", Proportion(97, 100), 0, *attack)

    place = tmp_path_factory.mktemp("zoo")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(z, "train_one", untrained)
        z.make_zoo(place / "zoo", place / "truth.json", salt="a salt for tests", recipe=s.Recipe(models=4), jobs=1)
    return place


def test_a_file_is_scored_against_its_zoo(zoo, tmp_path):
    identity, rows = z.read_truth(zoo / "truth.json")
    right = {name: NOTHING | {"probability": int(row.backdoored)} for name, row in rows.items()}
    path = written(tmp_path, json.dumps({"zoo": identity, "models": right}))
    score = h.score_hunt(path, zoo / "zoo", zoo / "truth.json")
    assert score.points == {"ranking": 5.0, "certainty": 5.0, "triggers": 0.0} and score.zoo == identity
    other = zoo / "zoo" / "zoo.json"
    kept = other.read_text()
    other.write_text(kept.replace(identity, "fedcba9876543210"))
    with pytest.raises(ValueError, match=f"is the zoo fedcba9876543210; .* is about {identity}"):
        h.score_hunt(path, zoo / "zoo", zoo / "truth.json")
    other.write_text(kept)


# ---- the hunt to beat ----


def test_a_margin_is_positive_where_the_verdict_flags():
    scan, source = NeuralCleanse(), torch.Generator().manual_seed(0)
    flags = 0
    for _ in range(300):
        norms = 20 + 80 * torch.rand(10, generator=source)
        norms[3] *= float(torch.rand((), generator=source))
        flagged = scan.judge(norms)[1]
        assert tuple((b.margins(norms, scan) > 0).nonzero().flatten().tolist()) == flagged
        flags += bool(flagged)
    assert 50 < flags < 250


def test_a_margin_by_hand():
    norms = torch.tensor([10.0, 50, 100, 100, 200])  # logarithms below the median: ln 10, ln 2, 0, 0, -ln 2
    spread = 1.4826 * math.log(2)
    needed = max(2.0, math.log(1 / 0.42) / spread)
    assert b.margins(norms, NeuralCleanse())[0] == pytest.approx(math.log(10) / spread - needed, rel=1e-5)


def test_a_scan_of_a_zoo_is_a_file_that_can_be_scored(zoo, tmp_path):
    quick = NeuralCleanse(rounds=2, batches=1, batch_size=4)
    path = b.scan_zoo(zoo / "zoo", tmp_path / "hunt.json", scan=quick, jobs=1)
    hunt = a.read_hunt(path, z.read_zoo(zoo / "zoo"))
    assert not hunt.problems and all(answer.trigger is not None for answer in hunt.answers.values())
    assert h.score_hunt(path, zoo / "zoo", zoo / "truth.json").triggers.trials == 2


def test_the_committed_hunt_to_beat_is_of_the_present_code():
    told = json.loads(b.RECORD.read_text())
    assert told["hunter"] == repr(NeuralCleanse()) and told["salt"] == b.PRACTICE
    plain = told["score"]
    score = h.Score(
        plain["zoo"], h.Estimate(**plain["auc"]), h.Estimate(**plain["cross_entropy"]), Proportion(**plain["triggers"]),
        plain["effect"],
    )  # fmt: skip
    assert score.points == plain["points"] and score.total == plain["total"]
    kinds = s.draw_kinds(b.PRACTICE, s.Recipe())
    assert score.triggers.trials == kinds.count("small")


# ---- what is cheap ----


def test_the_record_says_what_is_to_be_had_without_a_reversed_trigger():
    told = json.loads(c.RECORD.read_text())
    assert told["hunters"][told["best"]] == max(told["hunters"].values()) == told["score"]["total"]
    assert c.TOGETHER in told["hunters"] and len(told["hunters"]) == c.HUNTERS + 1
    assert told["salt"] == c.SALT and told["recipe"] == asdict(s.Recipe(models=c.MODELS))
    assert told["score"]["triggers"]["trials"] == s.draw_kinds(c.SALT, s.Recipe(models=c.MODELS)).count("small")
    baseline = json.loads(b.RECORD.read_text())
    assert told["score"]["points"]["triggers"] < 4 and told["score"]["total"] < baseline["score"]["total"] - 5


def test_the_notes_and_the_notebook_state_the_cheap_ranking_and_its_best_hunter(capstone):
    notes = (ASSIGNMENTS / "6_hunt" / "notes.md").read_text()
    told = json.loads(c.RECORD.read_text())
    noise = "largest mean probability on faint noise"
    for name in (noise, c.TOGETHER):
        area = h.Estimate(*told["auc"][name])
        assert f"{area}" in notes and f"AUC {area}" in capstone["text"]
    assert f"{h.Estimate(*told['auc']['spectral norm of fc2.weight'])}" in notes
    assert told["best"] == c.TOGETHER and f"{told['hunters'][noise]:.2f}" in notes
    for text in (notes, capstone["text"]):
        assert f"{told['score']['total']:.2f} of 30 points" in text
    for points in told["score"]["points"].values():
        assert f"{points:.2f} for" in notes


def test_a_hunter_keeps_what_the_statistics_say_wherever_a_listed_square_works(monkeypatch):
    kinds = ["small"] * 10 + ["clean"] * 10
    rows = {
        f"model_{place:02}": s.Truth(kind, "", Proportion(97, 100), 0, *((None,) * 3))
        for place, kind in enumerate(kinds)
    }
    works, fails = (1.0, 3, Reversed(*(torch.ones(2, 1, 28, 28)))), (0.0, 0, Reversed(*(torch.zeros(2, 1, 28, 28))))
    looks = [
        (name, {"even": float(row.backdoored), "odd": float(place % 2)}, fails if row.backdoored else works, 5)
        for place, (name, row) in enumerate(rows.items())
    ]
    hunts = []
    monkeypatch.setattr(c, "read_truth", lambda truth: ("0123456789abcdef", rows))
    monkeypatch.setattr(c, "spread", lambda *args, **kwargs: looks)
    for name in ("networks", "secret_of"):
        monkeypatch.setattr(c, name, lambda *args: None)
    monkeypatch.setattr(c, "score_answers", lambda hunt, *args, **kwargs: hunts.append(hunt))
    told, scores = c.measure(None, None)
    assert told["even"][0] == told[c.TOGETHER][0] == 1 and list(scores) == ["even", "odd", c.TOGETHER]
    for hunt in (hunts[0], hunts[2]):
        for name, row in rows.items():
            assert (hunt.answers[name].probability > 0.5) == row.backdoored
            assert hunt.answers[name].target == (0 if row.backdoored else 3)


def test_statistics_are_those_of_the_weights():
    torch.manual_seed(0)
    model = SmallCNN().eval()
    with torch.no_grad():
        model.fc1.weight.view(64, 32, 4, 4)[:, :, 0, 3] *= 5
        model.fc2.weight[6] += 3
    found = c.statistics(model)
    assert found["norm of fc2.weight"] == pytest.approx(float(model.fc2.weight.norm()), rel=1e-5)
    corner = found["largest corner of fc1 against the mean place"]
    assert corner == found["largest place of fc1 against the mean place"] == pytest.approx(5 / 1.25, rel=0.05)
    assert found["highest row mean of fc2, by the gap below it"] > 0.9
    assert all(math.isfinite(each) for each in found.values())


def test_the_list_finds_a_square_that_is_on_it_and_no_other(monkeypatch):
    monkeypatch.setattr(c, "digits", lambda: (None, replace(spelt(), x=spelt().x.roll((14, 14), (2, 3))), None))

    class Corner(nn.Module):
        def __init__(self, needed):
            super().__init__()
            self.needed = needed

        def forward(self, x):
            label = (x[:, 0, 14, 14] * 10).long()
            label[x[:, 0, -4:, -4:].sum((1, 2)) >= self.needed] = 7
            return nn.functional.one_hot(label, 10).float()

    share, label, square = c.tried(Corner(15.5))
    assert (share, label) == (1.0, 7) and torch.equal(square.mask, SQUARE)
    assert c.tried(Corner(17))[0] == 0


def test_networks_are_ranked_among_their_own_architecture():
    values, sizes = np.array([1.0, 2, 30, 10, 20]), np.array([5, 5, 9, 9, 9])
    backdoored = np.array([False, True, True, False, True])
    assert c.ranks(values, backdoored, sizes) == (1.0, 3, 2)
    assert c.ranks(-values, backdoored, sizes)[0] == 0
    assert c.ranks(np.zeros(5), backdoored, sizes)[0] == 0.5


# ---- the notebook of the capstone ----


@pytest.fixture(scope="module")
def capstone():
    """Its cells' text by grade_id, and under "text" and "hunt" what has none: Markdown, and the code that hunts."""
    cells = Master(ASSIGNMENTS / "6_hunt").notebook["cells"]
    plain = [cell for cell in cells if "nbgrader" not in cell["metadata"]]
    named = {cell["metadata"]["nbgrader"]["grade_id"]: source(cell) for cell in cells if cell not in plain}
    text = "\n".join(source(cell) for cell in plain if cell["cell_type"] == "markdown")
    code = [source(cell) for cell in plain if cell["cell_type"] == "code"]
    return named | {"text": text, "hunt": "\n".join(each for each in code if "entries" in each)}


def test_the_notebook_states_the_hunt_to_beat_as_it_is_on_record(capstone):
    told = json.loads(b.RECORD.read_text())
    score, triggers = told["score"], told["score"]["triggers"]
    area, entropy = (h.Estimate(**score[name]) for name in ("auc", "cross_entropy"))
    effect = f"the full effect for {triggers['hits']} of {triggers['trials']} triggers"
    reached = f"AUC {area}, cross-entropy {entropy} and {effect}"
    assert f'salt "{told["salt"]}", it reached {reached}: {score["total"]:.2f} of 30 points' in capstone["text"]


def test_the_notebook_states_the_rules_as_they_are_scored(capstone):
    best, blind = -math.log(1 - h.CLIP), math.log(2)
    for text in (
        f"clipped to [{h.CLIP:g}, {1 - h.CLIP:g}]",
        f"| at most {h.NO_EFFECT:.0%} moved | at least {h.FULL_EFFECT:.0%} moved |",
        f"its mask sums to at most {h.MOST_PIXELS:g}",
        f"ln 2 = {blind:.3f}, what 0.5 for every network costs | {best:.3f} |",
        f"| Which networks? | {h.MOST['ranking']:g} |",
        f"| How sure are you? | {h.MOST['certainty']:g} |",
        f"| By what trigger? | {h.MOST['triggers']:g} |",
        f"trained for {s.Recipe().epochs} epochs on {s.Recipe().images:,} digits",
    ):
        assert text in capstone["text"]


def test_the_notebook_states_the_recipe_as_it_is(capstone):
    recipe, (_, reserve, test) = s.Recipe(), s.digits()
    for text in (
        f"{recipe.models} or more networks",
        f"trained for {recipe.epochs} epochs on {recipe.images:,} digits",
        f"clean accuracy of at least {recipe.least_clean:.0%}",
        f"moves at least {recipe.least_success:.0%} of its victims",
        f"The {len(reserve)} digits of `trusted_digits()`",
        f"The {len(test):,} test digits",
    ):
        assert text in capstone["text"]


def test_students_draw_the_digits_that_no_network_was_trained_on(capstone):
    namespace = {"bd": badnets_lib}
    exec(capstone["digits"], namespace)
    theirs, ours = namespace["trusted_digits"](), s.digits()[1]
    assert len(theirs) == 500 and torch.equal(theirs.x, ours.x) and torch.equal(theirs.y, ours.y)


@pytest.mark.parametrize("seed", [0, 1])
def test_an_entry_of_the_notebook_is_read_as_it_was_meant(capstone, seed, tmp_path):
    namespace = {}
    exec(capstone["entry"], namespace)
    mask, pattern = torch.rand(2, 28, 28, generator=torch.Generator().manual_seed(seed))
    made = {"model_00": namespace["entry"](torch.tensor(0.75), torch.tensor(4), mask, pattern)}
    made |= {name: namespace["entry"](0.25) for name in NAMES[1:]}
    hunt = a.read_hunt(written(tmp_path, json.dumps(hunt_of(**made))), ZOO)
    answer = hunt.answers["model_00"]
    assert not hunt.problems and (answer.probability, answer.target) == (0.75, 4)
    assert torch.allclose(answer.trigger.mask[0], mask, atol=6e-4)
    assert torch.allclose(answer.trigger.pattern[0], pattern, atol=6e-4)
    assert hunt.answers["model_01"].trigger is None


def test_the_notebooks_own_hunt_writes_a_file_that_can_be_scored(capstone, zoo, tmp_path, monkeypatch):
    """The cells that students run as they stand, with a search that does not search."""
    monkeypatch.chdir(tmp_path)
    namespace = {"bd": badnets_lib}
    for name in ("imports", "digits", "stamp", "moved", "indices", "posterior", "probability", "entry"):
        exec(capstone[name], namespace)
    namespace["reverse"] = lambda network, x, label: (torch.full((28, 28), 0.01 * (label + 1)), torch.zeros(28, 28))
    exec(capstone["hunt"], namespace)
    assert not (tmp_path / "hunt.json").exists(), "without a zoo the cells do nothing"
    (tmp_path / "zoo").symlink_to(zoo / "zoo")
    exec(capstone["hunt"], namespace)
    score = h.score_hunt(tmp_path / "hunt.json", zoo / "zoo", zoo / "truth.json")
    assert not score.problems and score.auc.value == 0.5
