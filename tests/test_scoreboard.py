"""The experiments of Part III on a handful of digits: what they are given, and what they report."""

from types import SimpleNamespace

import pytest
import torch

from badnets_lib import Patch, SmallCNN
from badnets_lib.counts import Proportion
from badnets_lib.study.experiments import (
    cases,
    detection,
    families,
    removal,
    resistance,
    scans,
    scoreboard,
    screening,
    shelf,
)

pytestmark = pytest.mark.filterwarnings("ignore::badnets_lib.AssumptionWarning")


@pytest.fixture
def few(mnist5k, monkeypatch):
    monkeypatch.setattr(cases, "parts", cases.parts.__wrapped__)  # what these tests load is not to be kept
    for module in (cases, removal):
        monkeypatch.setattr(module, "load", lambda name: (mnist5k[0][::5], mnist5k[1][::5]))
    for module in (cases, families, removal, resistance, scoreboard):
        config = module.TrainConfig
        monkeypatch.setattr(module, "TrainConfig", lambda config=config, **given: config(**given | {"epochs": 2}))
    draw = cases.Holding.draw
    monkeypatch.setattr(cases.Holding, "draw", lambda reserve, n, **given: draw(reserve, min(n, 60), **given))
    return mnist5k[1][::5]


def met(attack, fraction=0.05, seed=0):
    """The case of an attack."""
    return cases.prepare(attack, fraction, seed, 60)


@pytest.mark.parametrize("attack", ["patch", "warp", "source-specific, covered", "part-covered", "patch of 8"])
def test_the_truth_is_what_was_stamped_and_relabelled(few, attack):
    case, clean = met(attack), met("none")
    assert len(case.data) == 700 and len(case.holding.trusted) == 60 and len(case.test) == len(few)
    changed = (case.data.x != clean.data.x).flatten(1).any(1)
    relabelled = case.data.y != clean.data.y
    assert torch.equal(relabelled, case.poisoned) and int(case.poisoned.sum()) == 35
    covers = 35 if attack in cases.COVERS else 0
    assert int(changed.sum()) == 35 + covers
    assert case.targets == (7,)


def test_nobody_is_poisoned_where_there_is_no_attack(few):
    case = met("none")
    assert not bool(case.poisoned.any()) and case.targets == ()
    assert case.score().success.trials == int((few.y != 7).sum())


def test_a_network_that_comes_ready_made_comes_with_clean_data(few, monkeypatch):
    trigger = Patch(size=5)
    monkeypatch.setattr(cases, "train_input_aware", lambda *_, **__: (SimpleNamespace(model=SmallCNN()), trigger))
    case = met("input-aware")
    assert case.attack.trigger == trigger and not bool(case.poisoned.any()) and case.targets == (7,)


def test_an_unknown_attack_is_refused(few):
    with pytest.raises(ValueError, match="no attack 'magic'; there are none, patch, checkerboard"):
        met("magic")


def test_every_filter_is_judged_by_the_truth(few, monkeypatch):
    chosen = {name: detection.FILTERS[name] for name in ("clustering, size, relu3", "neighbours, pool1")}
    monkeypatch.setattr(detection, "FILTERS", chosen)
    row = detection.filtered(attack="patch", fraction=0.05, seed=0)
    assert set(row) == {"clean", "success", "false_target", "filters"} and set(row["filters"]) == set(chosen)
    for told in row["filters"].values():
        assert told["caught"][1] == 35 and told["alarms"][1] == 665 and 0 <= told["ranked"] <= 1
    clean = detection.filtered(attack="none", fraction=0.05, seed=0)["filters"]
    assert all(set(told) == {"alarms"} and told["alarms"][1] == 700 for told in clean.values())


def test_a_ranking_is_perfect_if_every_poisoned_image_has_the_higher_score(few):
    from badnets_lib.defenses import Flags

    case = met("patch")
    flags = [Flags(sign * case.poisoned.float(), case.poisoned) for sign in (1, -1)]
    assert [detection.judgement(each, case)["ranked"] for each in flags] == [1.0, 0.0]


def test_a_scan_reports_every_label(few):
    row = scans.scanned(attack="patch", fraction=0.05, seed=0)
    assert len(row["norms"]) == 10 and set(row["flagged"]) | set(row["flagged_paper"]) <= set(range(10))


def test_screening_counts_both_errors_at_every_rate(few, monkeypatch):
    monkeypatch.setattr(screening, "Strip", lambda **given: STRIP(overlays=10, **given))
    row = screening.screened(attack="patch", fraction=0.1, seed=0)
    refused, accepted = ([each[side][0] for each in row["rates"].values()] for side in ("refused", "accepted"))
    assert refused == sorted(refused) and accepted == sorted(accepted, reverse=True)
    assert row["entropies"] == sorted(row["entropies"]) and len(row["triggered_entropies"]) == 11
    assert all(each["accepted"][1] <= row["success"][0] for each in row["rates"].values())


STRIP = screening.Strip


def test_removals_start_from_the_same_network(few, monkeypatch):
    chosen = {name: removal.REMOVALS[name] for name in ("fine-tuning, gentle", "pruning alone")}
    monkeypatch.setattr(removal, "REMOVALS", chosen)
    row = removal.removed(attack="patch", fraction=0.1, trusted=50, seed=0)
    assert set(row["removals"]) == {*chosen, removal.ANEW, removal.KNOWN}
    assert all(told["clean"][1] == len(few) for told in row["removals"].values())


def test_two_backdoors_are_told_apart(few, monkeypatch):
    monkeypatch.setattr(removal, "AMONG_TWO", ())
    rows = removal.two_backdoors(seed=0)["removals"]
    assert set(rows) == {"before", removal.KNOWN}
    assert rows["before"]["first"][1] == int((few.y != 7).sum())
    assert rows["before"]["second"][1] == int((few.y != 3).sum())


def test_resistant_trainings_are_told_beside_the_plain_one(few):
    rows = resistance.resisted(attack="patch", fraction=0.05, seed=0)["trainings"]
    assert set(rows) == {"plain", *resistance.ISOLATING, "before the unlearning", resistance.ORACLE, "CutMix"}
    assert rows["isolate and unlearn"]["isolated"][1] == 7
    assert rows["before the unlearning"]["late"][1] == pytest.approx(350, abs=5)


def test_the_published_training_is_told_after_each_stage(few, monkeypatch):
    short = resistance.AntiBackdoor(early=1, further=1, unlearn=1)
    monkeypatch.setattr(resistance, "AntiBackdoor", lambda: short)
    monkeypatch.setattr(resistance, "STEPS", (2, 3))
    rows = resistance.as_published(attack="patch", fraction=0.05, seed=0)["trainings"]
    name = resistance.PUBLISHED
    stages = {f"{name}, early", f"{name}, before the unlearning", f"{name}, 2 steps", f"{name}, 3 steps"}
    assert set(rows) == {name, *stages, "plain, as long"}
    assert rows[name]["isolated"][1] == rows[name]["zero_loss"][1] == 7


@pytest.mark.slow
def test_the_board_tells_every_defense_in_three_dimensions(few, monkeypatch):
    kept = ("Activation Clustering", "CutMix", "Neural Cleanse", "STRIP", "fine-tuning", "no defense")
    monkeypatch.setattr(scoreboard, "KINDS", {name: scoreboard.KINDS[name] for name in kept})
    monkeypatch.setattr(scoreboard, "Strip", lambda: STRIP(overlays=10))
    monkeypatch.setattr(scoreboard, "INPUTS", 40)
    for attack in ("patch", "none"):
        row = scoreboard.every_defense(attack=attack, fraction=0.1, seed=0)["defenses"]
        assert list(row) == list(kept)
        for name, told in row.items():
            assert {"clean", "success", "false_target", "recovered", "took"} <= set(told)
            assert told["recovered"][1] == told["success"][1]
            assert ("alarms" in told) == (scoreboard.KINDS[name] in ("data filter", "model scan", "input filter"))
            counts = [Proportion(*value) for value in told.values() if isinstance(value, list)]
            assert all(count.trials for count in counts)
        if attack == "none":
            assert not any("caught" in told for told in row.values())
            assert row["Neural Cleanse"]["alarms"][1] == 10
        else:
            assert row["Neural Cleanse"]["caught"][1] == 1 and row["Neural Cleanse"]["alarms"][1] == 9


def test_an_input_that_is_refused_does_no_good_and_no_harm(few, monkeypatch):
    monkeypatch.setattr(scoreboard, "Strip", lambda: STRIP(overlays=10, false_rejection=1 - 1e-9))
    row = scoreboard.screen(met("patch"))
    assert row["clean"][0] == row["success"][0] == 0 and row["alarms"][0] == row["alarms"][1]


def test_no_defense_changes_nothing_and_a_new_network_saw_no_trigger(few):
    case = met("patch", fraction=0.2)
    nothing = scoreboard.scored(case, case.model)
    assert nothing["success"] == case.score().pairs()["success"]
    assert nothing["recovered"][0] + nothing["success"][0] <= nothing["recovered"][1]
    anew = scoreboard.scored(case, case.anew(0))
    assert anew["success"][0] < 0.5 * anew["success"][1]


@pytest.mark.parametrize("attack", ["none", "adap-blend", "adap-patch"])
def test_the_shelf_tells_newer_defenses_beside_both_baselines(few, monkeypatch, attack):
    small = cases.load("mnist5k")
    config = shelf.TrainConfig
    monkeypatch.setattr(shelf, "load", lambda name: small)
    monkeypatch.setattr(shelf, "TrainConfig", lambda **given: config(**given | {"epochs": 2}))
    draw = shelf.Holding.draw
    monkeypatch.setattr(shelf.Holding, "draw", lambda reserve, n, **given: draw(reserve, 100, **given))
    monkeypatch.setattr(shelf, "INPUTS", 40)
    shelf._anew.cache_clear()
    row = shelf.shelved(scene="digits", attack=attack, seed=0)
    shelf._anew.cache_clear()
    told = row["defenses"]
    assert list(told) == ["no defense", "CLP", "BEATRIX", "SCALE-UP", shelf.ANEW]
    assert told["no defense"]["success"] == row["success"] and told["CLP"]["pruned"][1] == 48
    for name in ("BEATRIX", "SCALE-UP"):
        assert told[name]["alarms"][1] == 40 and ("caught" in told[name]) <= (attack != "none")
        clean, success = told[name]["clean"], told[name]["success"]
        assert clean[1] == success[1] == 40 and clean[0] <= 40 - told[name]["alarms"][0]
