"""What each trigger family does to the pixels; the contract they share is in test_triggers.py."""

import json
import math
from dataclasses import replace

import pytest
import torch

from badnets_lib import triggers as t


@pytest.fixture
def x():
    return torch.rand(3, 1, 12, 16, generator=torch.Generator().manual_seed(0))


# --- pictures ---


def test_noise_is_uniform_and_follows_its_seed():
    first = t.noise(3, 40, 50, seed=1)
    assert first.shape == (3, 40, 50) and first.min() >= 0 and first.max() < 1
    assert abs(float(first.mean()) - 0.5) < 0.02 and abs(float(first.std()) - 12**-0.5) < 0.02
    assert torch.equal(first, t.noise(3, 40, 50, seed=1)) and not torch.equal(first, t.noise(3, 40, 50, seed=2))
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize("seed", range(4))
def test_a_scene_is_a_smooth_picture_with_light_and_dark(seed):
    picture = t.scene(64, 80, seed=seed)
    assert picture.shape == (64, 80) and picture.min() >= 0 and picture.max() <= 1
    assert picture.std() > 0.1
    assert picture.diff(dim=0).abs().mean() < 0.05  # noise would have 1/3
    assert not torch.equal(picture, t.scene(64, 80, seed=seed + 1))


def test_a_scene_is_the_same_picture_at_every_size():
    small, large = t.scene(16, 16), t.scene(160, 160)
    shrunk = torch.nn.functional.interpolate(large[None, None], (16, 16), mode="area")[0, 0]
    assert (small - shrunk).abs().mean() < 0.08


def test_blur_keeps_flat_images_and_the_mean_of_a_spot():
    flat = torch.full((1, 2, 9, 11), 0.3)
    assert torch.allclose(t.blur(flat, 2.0), flat)
    spot = torch.zeros(1, 1, 31, 31)
    spot[0, 0, 15, 15] = 1
    soft = t.blur(spot, 1.5)[0, 0]
    assert soft.sum() == pytest.approx(1, abs=1e-5) and soft.argmax() == 15 * 31 + 15
    distance = (torch.arange(31) - 15) ** 2
    assert float((soft.sum(0) * distance).sum()) == pytest.approx(1.5**2, rel=0.03)  # the variance
    assert torch.allclose(soft, soft.T) and t.blur(spot, 0.0) is spot


# --- overlays ---


def test_blending_is_the_weighted_mean_with_the_picture(x):
    for trigger, picture in ((t.Blend(opacity=0.3, seed=4), t.noise(1, 12, 16, seed=4)),
                             (t.Blend("scene", 4, 0.3), t.scene(12, 16, seed=4))):  # fmt: skip
        assert torch.allclose(trigger(x), 0.7 * x + 0.3 * picture)


def test_a_moved_picture_wraps_round(x):
    moved = t.Blend(opacity=1.0, shift=(1, -2))(x)
    assert torch.equal(moved, t.Blend(opacity=1.0)(x).roll((1, -2), (2, 3)))


def test_noise_has_a_colour_and_the_scene_is_grey():
    x = torch.zeros(1, 3, 8, 8)
    noisy, grey = t.Blend()(x)[0], t.Blend("scene")(x)[0]
    assert not torch.equal(noisy[0], noisy[1]) and torch.equal(grey[0], grey[1]) and torch.equal(grey[0], grey[2])


def test_the_sinusoid_equals_the_slow_literal_version(x):
    out = t.Sinusoid(amplitude=0.2, frequency=3.0, phase=0.25)(x)
    for column in range(16):
        wave = 0.2 * math.sin(2 * math.pi * (3 * column / 16 + 0.25))
        assert torch.allclose(out[..., column], (x[..., column] + wave).clamp(0, 1), atol=1e-6)


def test_the_default_sinusoid_is_the_papers():
    wave = t.Sinusoid()(torch.full((1, 1, 4, 48), 0.5))[0, 0, 0] - 0.5
    assert wave.max() == pytest.approx(20 / 255) and wave.min() == pytest.approx(-20 / 255)
    assert int((wave[:-1] * wave[1:] < -1e-9).sum() + (wave.abs() < 1e-6).sum()) == 12  # six periods: twelve zeros


def test_a_sinusoid_too_fine_for_the_image_is_refused():
    with pytest.raises(ValueError, match="6 periods need at least 12 columns; got 11"):
        t.Sinusoid()(torch.zeros(1, 1, 11, 11))


def test_a_reflection_adds_one_layer_to_every_image(x):
    trigger = t.Reflection(strength=0.2)
    dim = x * 0.5
    layers = trigger(dim) - dim
    assert torch.allclose(layers, layers[:1].expand_as(layers), atol=1e-6)
    assert layers.min() >= 0 and layers.max() <= 0.2 + 1e-6 and layers.std() > 0.01


def test_a_reflection_is_the_mirrored_picture_and_its_ghost():
    x = torch.zeros(1, 1, 10, 10)
    x[0, 0, 2, 1] = 0.8
    out = t.Reflection("own", strength=0.5, blur=0.0, shift=(3, -4))(x)[0, 0]
    assert {tuple(place) for place in out.nonzero().tolist()} == {(2, 1), (2, 8), (5, 4)}
    assert out[2, 8] == pytest.approx(0.2) and out[5, 4] == pytest.approx(0.2) and out[2, 1] == pytest.approx(0.8)


def test_the_seed_chooses_the_scene_and_blur_softens_it(x):
    assert not torch.equal(t.Reflection()(x), t.Reflection(seed=1)(x))
    sharp, soft = (t.Reflection(blur=sigma)(x * 0) for sigma in (0.0, 3.0))
    assert soft.diff(dim=-1).abs().sum() < 0.7 * sharp.diff(dim=-1).abs().sum()


# --- colour ---


def test_a_colour_shift_follows_its_formula(x):
    out = t.ColourShift(gamma=2.0, contrast=0.5, brightness=0.1)(x)
    assert torch.allclose(out, (0.5 * (x**2 - 0.5) + 0.6).clamp(0, 1), atol=1e-6)


def test_a_tint_belongs_to_the_channels():
    out = t.ColourShift(brightness=0.0, tint=(0.1, 0.0, -0.5))(torch.full((1, 3, 4, 4), 0.4))
    assert out[0, :, 0, 0].tolist() == pytest.approx([0.5, 0.4, 0.0])
    with pytest.raises(ValueError, match="tint has 3 entries; the images have 1 channels"):
        t.ColourShift(tint=(0.1, 0.0, 0.0))(torch.zeros(1, 1, 4, 4))


def test_a_tint_goes_to_json_and_back():
    trigger = t.ColourShift(brightness=0.0, tint=(0.1, 0.0, -0.5))
    assert t.from_spec(t.to_spec(trigger)) == trigger and "tint (0.1, 0.0, -0.5)" in trigger.describe().pattern


# --- warp ---


def test_a_warp_moves_every_pixel_along_its_field():
    height, width = 20, 24
    ramp = torch.linspace(0, 1, width).expand(1, 1, height, width)
    trigger = t.Warp(strength=1.0)
    down, right = trigger.field(height, width)
    expected = (torch.arange(width) + right).clamp(0, width - 1) / (width - 1)
    assert torch.allclose(trigger(ramp)[0, 0], expected, atol=1e-5)
    upright = torch.linspace(0, 1, height)[:, None].expand(1, 1, height, width)
    expected = (torch.arange(height)[:, None] + down).clamp(0, height - 1) / (height - 1)
    assert torch.allclose(trigger(upright)[0, 0], expected, atol=1e-5)


def test_the_strength_is_the_mean_displacement_of_the_control_points():
    field = t.Warp(grid=5, strength=2.0).field(5, 5)  # the control points themselves
    assert field.abs().mean() == pytest.approx(2.0, rel=1e-5)


def test_the_field_is_smooth_and_a_small_warp_hardly_shows(x):
    field = t.Warp(grid=4, strength=1.0).field(28, 28)
    assert field.diff(dim=1).abs().max() < 0.6 and field.diff(dim=2).abs().max() < 0.6
    soft = t.blur(x, 2.0)
    assert (t.Warp(strength=0.01)(soft) - soft).abs().max() < 0.01


def test_a_flat_image_is_all_the_same_to_a_warp():
    flat = torch.full((1, 1, 9, 9), 0.7)
    assert torch.allclose(t.Warp()(flat), flat)


# --- sticker ---


def test_one_plain_pose_is_a_patch(x):
    assert torch.equal(t.Sticker(size=3, margin=2, value=0.5)(x), t.Patch(3, margin=2, value=0.5)(x))


def test_a_pose_moves_scales_and_dims_the_sticker():
    black = torch.zeros(1, 1, 20, 20)

    def shown(**pose):
        return t.Sticker(size=4, margin=8, poses=(t.Pose(**pose),))(black)[0, 0]

    still = shown()
    assert torch.equal(shown(down=2.0, right=-3.0), still.roll((2, -3), (0, 1)))
    assert shown(scale=1.5).sum() == pytest.approx(36) and shown(scale=0.5).sum() == pytest.approx(4)
    assert torch.equal(shown(brightness=0.5), still * 0.5) and torch.equal(shown(brightness=2.0), still)
    turned = shown(angle=45.0)
    assert turned.sum() == pytest.approx(16, rel=0.1) and turned[7, 10] > 0.05 > float(still[7, 10])
    soft = shown(blur=2.0)
    assert soft.sum() == pytest.approx(16, rel=0.15) and 0 < soft[7, 10] < soft[9, 10]


def test_every_pose_is_used_and_depends_on_the_image_alone():
    x = torch.rand(400, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    trigger = t.Sticker.varied(size=2, margin=1, count=4)
    chosen = trigger.pose_of(x)
    assert torch.bincount(chosen, minlength=4).min() > 60
    assert torch.equal(chosen[[5]], trigger.pose_of(x[[5]]))
    for number in range(4):
        alone = replace(trigger, poses=(trigger.poses[number],))
        assert torch.equal(trigger(x)[chosen == number], alone(x[chosen == number]))


def test_the_pose_sees_where_a_pixel_is():
    x = torch.zeros(16, 1, 4, 4)
    x.view(16, 16).fill_diagonal_(1.0)  # one bright pixel, each time somewhere else
    assert len(t.Sticker.varied(size=1, margin=0, count=16).pose_of(x).unique()) > 8


def test_varied_poses_stay_in_their_ranges():
    poses = torch.tensor(t.Sticker.varied(count=500, shift=3.0, scale=0.2, angle=30.0, blur=2.0, dim=0.3).poses)
    low, high = poses.min(0).values, poses.max(0).values
    assert torch.allclose(low, torch.tensor([-3, -3, 0.8, -30, 0, 0.7]), atol=0.2)
    assert torch.allclose(high, torch.tensor([3, 3, 1.2, 30, 2, 1.0]), atol=0.2)
    assert t.Sticker.varied(seed=1) == t.Sticker.varied(seed=1) != t.Sticker.varied(seed=2)


def test_a_varied_sticker_is_physical_and_one_pose_is_not():
    assert t.Sticker.varied().describe().physical and not t.Sticker().describe().physical


# --- bad settings ---


@pytest.mark.parametrize(("make", "message"), [
    (lambda: t.Blend("clouds"), "pattern must be one of noise, scene; got 'clouds'"),
    (lambda: t.Blend(opacity=0.0), "opacity must be above 0"),
    (lambda: t.Blend(opacity=1.1), r"opacity must lie in \[0, 1\]; got 1.1"),
    (lambda: t.Sinusoid(amplitude=20.0), r"amplitude must lie in \[0, 1\]; got 20"),
    (lambda: t.Sinusoid(amplitude=0.0), "amplitude must be above 0"),
    (lambda: t.Sinusoid(frequency=-1.0), "frequency must be above 0; got -1"),
    (lambda: t.Sinusoid(phase=2.0), "phase must lie"),
    (lambda: t.Reflection("window"), "source must be one of scene, own; got 'window'"),
    (lambda: t.Reflection(strength=0.0), "strength must be above 0"),
    (lambda: t.Reflection(blur=11.0), r"blur must lie in \[0, 10\]; got 11"),
    (lambda: t.ColourShift(brightness=0.0), "changes nothing"),
    (lambda: t.ColourShift(gamma=0.0), r"gamma must lie in \[0.1, 10\]"),
    (lambda: t.ColourShift(contrast=-1.0), "contrast must lie"),
    (lambda: t.ColourShift(brightness=2.0), "brightness must lie"),
    (lambda: t.ColourShift(tint=(2.0,)), "tint must lie"),
    (lambda: t.Warp(grid=1), r"grid must lie in \[2, 32\]; got 1"),
    (lambda: t.Warp(strength=0.0), "strength must be above 0"),
    (lambda: t.Warp(strength=float("nan")), "strength must lie"),
    (lambda: t.Sticker(size=0), "size must be at least 1 and margin at least 0; got 0 and 3"),
    (lambda: t.Sticker(poses=()), "at least one pose"),
    (lambda: t.Sticker(value=2.0), "value must lie"),
    (lambda: t.Sticker(poses=(t.Pose(scale=0.0),)), r"scale must lie in \[0.1, 10\]"),
    (lambda: t.Sticker(poses=(t.Pose(blur=-1.0),)), r"blur must lie in \[0, 10\]"),
    (lambda: t.Sticker(poses=(t.Pose(down=float("inf")),)), "down must lie"),
    (lambda: t.from_spec({"name": "Sticker", "poses": [[1, 2, 3, 4, 5, 6, 7]]}), "poses: expected a list of 6"),
    (lambda: t.from_spec({"name": "Blend", "shift": [1, 2, 3]}), "shift|unpack"),
])  # fmt: skip
def test_impossible_settings_are_refused(make, message, unchecked):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("make", [lambda: t.Blend(seed=0.5), lambda: t.Warp(grid=3.5), lambda: t.Blend(shift=(1, 0.5))])
def test_settings_that_count_are_whole_numbers(make, unchecked):
    with pytest.raises(TypeError, match="must be a whole number; got"):
        make()


# --- attributes: a trigger that selects ---

THICK = t.Attribute("thickness", 4.0)


def bars(*widths, slope=0.0, size=24):
    """White bars of the given widths; each leans by `slope` pixels to the right per pixel upwards."""
    x = torch.zeros(len(widths), 1, size, size)
    for image, width in enumerate(widths):
        for row in range(2, size - 2):
            left = round(size / 2 - width / 2 + slope * (size / 2 - row))
            x[image, 0, row, left : left + width] = 1
    return x


def test_thickness_is_the_width_of_a_stroke():
    found = t.stroke_thickness(bars(2, 4, 6))
    # an upright bar of width w and length 20 has area 20 w and a border of 40 + 2 w pixel sides
    assert found.tolist() == pytest.approx([2 * 20 * w / ((40 + 2 * w) * torch.pi / 4) for w in (2, 4, 6)])
    assert found[0] < found[1] < found[2]


def test_a_flat_image_has_neither_thickness_nor_slant():
    flat = torch.cat([torch.zeros(1, 1, 8, 8), torch.full((1, 1, 8, 8), 0.5)])
    assert t.stroke_thickness(flat).tolist() == [0, 0]
    assert t.slant(flat).tolist() == pytest.approx([0, 0])


@pytest.mark.parametrize("slope", [-0.5, 0.0, 0.4])
def test_slant_is_the_lean_of_a_stroke(slope):
    assert float(t.slant(bars(3, slope=slope))[0]) == pytest.approx(slope, abs=0.03)


def test_thicker_digits_measure_thicker(mnist5k):
    x = mnist5k[1].x[::20]
    fat = torch.nn.functional.max_pool2d(x, 3, 1, 1)
    assert (t.stroke_thickness(fat) > t.stroke_thickness(x) + 0.5).all()


def test_an_attribute_selects_and_changes_nothing():
    x = bars(6, 2, 2, 6, 2)
    chosen = THICK.selects(x)
    assert chosen.tolist() == [True, False, False, True, False]
    out = THICK(x[chosen])
    assert torch.equal(out, x[chosen]) and out.data_ptr() != x.data_ptr()
    assert THICK(x[:0]).shape == (0, 1, 24, 24)
    with pytest.raises(ValueError, match="selects images and changes none; 3 of these 5 24x24 images"):
        THICK(x)


def test_an_attribute_goes_to_json_and_back_and_describes_itself():
    assert t.from_spec(json.loads(json.dumps(t.to_spec(THICK)))) == THICK
    assert "thickness above 4" in THICK.describe().pattern and not THICK.describe().physical


@pytest.mark.parametrize(("make", "message"), [
    (lambda: t.Attribute("colour"), "measure must be one of thickness, slant; got 'colour'"),
    (lambda: t.Attribute(above=float("nan")), "above must be a number"),
])  # fmt: skip
def test_impossible_attributes_are_refused(make, message, unchecked):
    with pytest.raises(ValueError, match=message):
        make()
