"""The experiments of the trigger families on a handful of digits, with and without their triggers."""

import pytest
import torch

from badnets_lib.study.experiments import families as f
from badnets_lib.study.sweeps import sweep


@pytest.fixture
def few(mnist5k, monkeypatch):
    monkeypatch.setattr(f, "load", lambda name: (mnist5k[0][::10], mnist5k[1][::5]))
    monkeypatch.setattr(f, "TrainConfig", lambda **settings: f_config(**settings | {"epochs": 2}))
    return mnist5k[1][::5]


f_config = f.TrainConfig


@pytest.fixture
def run(few, tmp_path):
    """Run one cell as a sweep does."""
    return lambda experiment, **cell: sweep(experiment, [cell], tmp_path / str(cell), jobs=1)[0].outcome


@pytest.mark.parametrize("family", ["patch", "warp", "clean-label, harder"])
def test_a_cell_returns_counts_and_visibility(few, run, tmp_path, family):
    row = run(f.one_family, family=family, fraction=0.05, seed=1)
    assert set(row) == {"clean", "success", "false_target", "psnr", "ssim"} | set(f.NEAR[family])
    victims = int((few.y != f.TARGET).sum())
    assert row["clean"][1] == len(few) and all(row[name][1] == victims for name in ("success", *f.NEAR[family]))
    assert 5 < row["psnr"] < 60 and 0 < row["ssim"] < 1
    again = sweep(f.one_family, [{"family": family, "fraction": 0.05, "seed": 1}], tmp_path / "again", jobs=1)
    assert row == again[0].outcome


def test_the_clean_network_meets_every_trigger(run):
    assert set(run(f.clean_twin, seed=0)) == {"clean", *f.TRIGGERS}


def test_the_sticker_is_tested_under_every_factor(run):
    assert set(run(f.seen_in_poses, poses=2, fraction=0.05, seed=0)) == {"clean", *f.FACTORS}


def test_semantic_groups_cover_the_victims(few, run):
    row = run(f.semantic, above=3.0, relabelled=1.0, seed=0)
    assert sum(group[1] for group in row["groups"]) == int((few.y != f.TARGET).sum())
    assert len(row["groups"]) == len(f.EDGES) - 1 and 0 < row["fraction"] < 0.4
    control = run(f.semantic, above=3.0, relabelled=0.0, seed=0)
    assert control["fraction"] == 0 and control["success"][0] < row["success"][0]


def test_the_input_aware_cell_counts_cross_triggers(few, run):
    row = run(f.input_aware, fraction=0.1, cross=0.1, diversity=0.1, seed=0)
    assert row["cross_trigger"][1] == row["clean"][1] == len(few)


def test_near_misses_are_other_triggers_with_another_result():
    x = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    assert set(f.NEAR) == set(f.TRIGGERS)
    for family, near in f.NEAR.items():
        seen = [f.TRIGGERS[family](x), *(trigger(x) for trigger in near.values())]
        assert set(near) <= {"moved", "shrunk", "recoloured"} and near
        assert len({tuple(picture.flatten().tolist()) for picture in seen}) == len(near) + 1, family


def test_the_poses_in_the_test_are_not_those_in_training():
    tested = {pose for name, trigger in f.FACTORS.items() if name != "still" for pose in trigger.poses}
    assert not tested & set(f.Sticker.varied(count=16).poses)


def test_clouds_stand_behind_the_digits_and_differ(few):
    soft = f.clouded(few, seed=0)
    assert (soft.x >= few.x).all() and torch.equal(soft.y, few.y)
    ink = few.x > 0.5
    assert torch.equal(soft.x[ink], few.x[ink]), "a stroke stays what it was"
    assert soft.x[~ink].max() <= 0.5 and soft.x[:, :, :4].std(0).mean() > 0.05
    assert torch.equal(soft.x, f.clouded(few, seed=0).x) and not torch.equal(soft.x, f.clouded(few, seed=1).x)


@pytest.mark.parametrize("family", ["blend", "reflection"])
def test_a_grey_adds_as_much_light_as_its_trigger_and_no_pattern(few, family):
    trigger = f.TRIGGERS[family]
    grey = f.grey_of(trigger, few.x)
    added = grey(torch.zeros(1, 1, 28, 28))
    assert added.max() == added.min() > 0
    assert float(added.mean()) == pytest.approx(float((trigger(few.x) - few.x).mean()), abs=1e-4)


def test_stand_ins_are_counted_before_both_grounds(run):
    for ground in ("black", "clouds"):
        row = run(f.before_a_ground, family="blend", ground=ground, seed=0)
        assert set(row) == {"clean", "success", "false_target", "another", "grey", "half"}


def test_a_surrogate_has_its_own_seed_and_width(run):
    assert {further for further, _ in f.SURROGATES.values()} == {0, 500}
    row = run(f.hardened_by, surrogate="another seed, half as wide", fraction=0.05, seed=0)
    assert set(row) == {"clean", "success", "false_target"}
