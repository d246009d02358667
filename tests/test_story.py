"""The whole course in one place: load, plan, poison, train twins, score, report, save, and get the same numbers."""

import pytest
import torch

import badnets_lib as bd

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def story(mnist5k):
    train_set, test_set = mnist5k[0][slice(0, None, 2)], mnist5k[1]
    plan = bd.Attack(bd.Patch(), bd.Goal.all_to_one(7, 10)).plan(train_set, fraction=0.05, seed=1)
    config = bd.TrainConfig(epochs=3, batch_size=32, device="cpu")
    clean = bd.train(train_set, config)
    bad = bd.train(plan.poison(train_set), config, watch={"clean": test_set, "attack": plan.attack.on(test_set)})
    return train_set, test_set, plan, config, clean, bad


def test_the_backdoor_works_and_hides(story):
    _, test, plan, _, clean, bad = story
    twin, card = bd.score(clean.model, test, plan.attack), bd.score(bad.model, test, plan.attack)
    assert twin.clean.value > 0.93 and twin.success.value < 0.05  # the trigger alone does nothing
    assert card.clean.value > 0.93 and card.success.value > 0.9 and card.false_target.value < 0.05
    assert bd.clean_accuracy_drop(twin, card).interval()[0] < 0.02
    assert card.clean.trials == 1000 and card.success.trials == card.false_target.trials == 900
    assert bad.history[-1].watched == {"clean": card.clean, "attack": card.success}
    assert bd.confusion(bad.model, plan.attack.on(test))[7, 7] == card.success.hits


def test_the_plan_and_the_network_come_back_to_the_same_numbers(story, tmp_path):
    train_set, test, plan, config, _, bad = story
    plan.save(tmp_path / "plan.json")
    digest = bd.save_model(tmp_path / "bad.safetensors", bad.model, {"plan": "plan.json", "seed": config.seed})
    again = bd.PoisonPlan.load(tmp_path / "plan.json")
    network, origin = bd.load_model(tmp_path / "bad.safetensors", sha256=digest)
    assert bd.score(network, test, again.attack) == bd.score(bad.model, test, plan.attack)
    assert bd.weights_hash(network) == digest and origin["seed"] == 0
    assert again.poison(train_set).fingerprint == bad.fingerprint


def test_the_reloaded_plan_trains_to_the_same_weights(story, tmp_path):
    train_set, _, plan, config, _, bad = story
    again = bd.PoisonPlan.from_json(plan.to_json())
    assert bd.weights_hash(bd.train(again.poison(train_set), config).model) == bd.weights_hash(bad.model)


def test_the_report_tells_it_and_comes_back(story):
    train_set, test, plan, config, clean, bad = story
    report = bd.Report.of(
        plan,
        classes=train_set.classes,
        title="A white square on digits",
        attacker_access="5% of the training data",
        training=bd.evaluation.TrainingSection("together", f"{bad!r}, {config}"),
        backdoored=[bd.score(bad.model, test, plan.attack)],
        clean_twin=[bd.score(clean.model, test, plan.attack)],
        defense=bd.evaluation.DefenseSection("not tested", "the next chapter does"),
        limits="One seed, one data set, a digital trigger.",
    )
    assert report.poisoning.fraction == bd.Proportion(100, 2000) and "7" not in report.poisoning.sources
    assert str(bd.score(bad.model, test, plan.attack).success) in report.to_markdown()
    assert bd.Report.from_json(report.to_json()) == report


def test_flipped_labels_alone_are_no_backdoor(story):
    train_set, test, plan, config, *_ = story
    flipped = bd.train(bd.flip_labels(train_set, source=1, target=7, fraction=0.9), config)
    ones = test[test.y == 1]
    assert bd.clean_accuracy(flipped.model, ones).value < 0.5  # seen at once on clean images
    assert bd.attack_success_rate(flipped.model, test[test.y != 1], plan.attack).value < 0.2


def test_evasion_needs_no_training(story):
    _, test, _, _, clean, _ = story
    sample = test[torch.arange(0, 1000, 20)]
    attacked = bd.attacks.pgd(clean.model, sample.x, sample.y, eps=0.2, steps=5)
    hits = (bd.predict(clean.model, attacked).argmax(1) == sample.y).float().mean()
    assert hits < 0.5 < bd.clean_accuracy(clean.model, sample).value
