import json

import pytest
import torch

from badnets_lib import Goal, ImageSet, PoisonPlan
from badnets_lib.semantic import carriers, draw_semantic, score_semantic
from badnets_lib.triggers import Attribute, from_spec, slant, stroke_thickness, to_spec


def bars(*widths, slope=0.0, size=24):
    """White bars of the given widths; each leans by `slope` pixels to the right per pixel upwards."""
    x = torch.zeros(len(widths), 1, size, size)
    for image, width in enumerate(widths):
        for row in range(2, size - 2):
            left = round(size / 2 - width / 2 + slope * (size / 2 - row))
            x[image, 0, row, left : left + width] = 1
    return x


@pytest.fixture
def data():
    """40 bars in 2 classes; every fourth is thick."""
    return ImageSet(bars(*[6 if number % 4 == 0 else 2 for number in range(40)]), torch.arange(40) // 2 % 2, ("a", "b"))


THICK = Attribute("thickness", 4.0)
GOAL = Goal.all_to_one(1, 2)


# --- the attribute ---


def test_thickness_is_the_width_of_a_stroke():
    found = stroke_thickness(bars(2, 4, 6))
    # an upright bar of width w and length 20 has area 20 w and a border of 40 + 2 w pixel sides
    assert found.tolist() == pytest.approx([2 * 20 * w / ((40 + 2 * w) * torch.pi / 4) for w in (2, 4, 6)])
    assert found[0] < found[1] < found[2]


def test_a_flat_image_has_neither_thickness_nor_slant():
    flat = torch.cat([torch.zeros(1, 1, 8, 8), torch.full((1, 1, 8, 8), 0.5)])
    assert stroke_thickness(flat).tolist() == [0, 0]
    assert slant(flat).tolist() == pytest.approx([0, 0])


@pytest.mark.parametrize("slope", [-0.5, 0.0, 0.4])
def test_slant_is_the_lean_of_a_stroke(slope):
    assert float(slant(bars(3, slope=slope))[0]) == pytest.approx(slope, abs=0.03)


def test_thicker_digits_measure_thicker(mnist5k):
    x = mnist5k[1].x[::20]
    fat = torch.nn.functional.max_pool2d(x, 3, 1, 1)
    assert (stroke_thickness(fat) > stroke_thickness(x) + 0.5).all()


def test_it_selects_and_changes_nothing(data):
    chosen = THICK.selects(data.x)
    assert chosen.tolist() == [number % 4 == 0 for number in range(40)]
    out = THICK(data.x[chosen])
    assert torch.equal(out, data.x[chosen]) and out.data_ptr() != data.x.data_ptr()
    assert THICK(data.x[:0]).shape == (0, 1, 24, 24)


def test_images_without_the_attribute_are_refused(data):
    with pytest.raises(ValueError, match="selects images and changes none; 30 of these 40 24x24 images"):
        THICK(data.x)


def test_it_goes_to_json_and_back_and_describes_itself():
    assert from_spec(json.loads(json.dumps(to_spec(THICK)))) == THICK
    assert "thickness above 4" in THICK.describe().pattern and not THICK.describe().physical


@pytest.mark.parametrize(("make", "message"), [
    (lambda: Attribute("colour"), "measure must be one of thickness, slant; got 'colour'"),
    (lambda: Attribute(above=float("nan")), "above must be a number"),
])  # fmt: skip
def test_impossible_settings_are_refused(make, message, unchecked):
    with pytest.raises(ValueError, match=message):
        make()


# --- the plan ---


def test_the_plan_relabels_every_carrier_and_changes_no_pixel(data):
    plan = draw_semantic(data, THICK, GOAL)
    assert plan.indices == tuple(n for n in range(0, 40, 4) if data.y[n] == 0)
    poisoned = plan.poison(data)
    assert torch.equal(poisoned.x, data.x)
    assert (poisoned.y != data.y).nonzero().flatten().tolist() == list(plan.indices)
    assert PoisonPlan.from_json(plan.to_json()) == plan


def test_a_fraction_takes_some_of_the_carriers(data):
    every = set(draw_semantic(data, THICK, GOAL).indices)
    draws = [draw_semantic(data, THICK, GOAL, fraction=0.1, seed=seed) for seed in range(6)]
    assert all(len(draw.indices) == 4 and set(draw.indices) < every and draw.fraction == 0.1 for draw in draws)
    assert len({draw.indices for draw in draws}) > 1
    assert draw_semantic(data, THICK, GOAL, fraction=0.1, seed=3) == draws[3]


def test_carriers_are_what_the_attack_wants(data):
    plan = draw_semantic(data, THICK, GOAL)
    assert len(carriers(data, THICK)) == 10
    assert len(plan.attack(carriers(data, THICK))) == len(plan.indices)
    with pytest.raises(ValueError, match="selects images"):
        plan.attack(data)


@pytest.mark.parametrize(("fraction", "count"), [(0.5, 20), (0.0, 0)])
def test_a_fraction_beyond_the_carriers_is_refused(data, fraction, count):
    with pytest.raises(ValueError, match=rf"asks for {count} of 40 images; .* allow 1 to \d+"):
        draw_semantic(data, THICK, GOAL, fraction=fraction)


def test_a_clean_label_goal_is_refused(data):
    with pytest.raises(ValueError, match="leaves it nothing to do"):
        draw_semantic(data, THICK, Goal((1, 1), clean_label=True))


# --- the score ---


class ByThickness(torch.nn.Module):
    """Answers 1 for thick strokes and 0 otherwise, whatever the label."""

    def forward(self, x):
        return torch.nn.functional.one_hot((stroke_thickness(x) > 4.0).long(), 2).float()


def test_the_card_counts_carriers_and_others_apart(data):
    card = score_semantic(ByThickness(), data, draw_semantic(data, THICK, GOAL))
    thick = THICK.selects(data.x)
    assert card.success.hits == card.success.trials == int((thick & (data.y == 0)).sum())
    assert card.false_target.hits == 0 and card.false_target.trials == int((~thick & (data.y == 0)).sum())
    assert card.clean.hits == int((~thick & (data.y == 0)).sum()) and card.clean.trials == 30


def test_the_card_wants_an_attribute_and_images_without_it(data):
    plan = draw_semantic(data, THICK, GOAL)
    with pytest.raises(ValueError, match="all 10 images have the attribute"):
        score_semantic(ByThickness(), carriers(data, THICK), plan)
    from badnets_lib import Patch

    other = PoisonPlan.draw(data, Patch(), GOAL, fraction=0.1)
    with pytest.raises(ValueError, match="needs a plan whose trigger is an Attribute; got Patch"):
        score_semantic(ByThickness(), data, other)
