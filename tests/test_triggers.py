"""Every trigger obeys one contract: add a new class to `EXAMPLES` and it is covered."""

import json
from dataclasses import FrozenInstanceError, asdict

import pytest
import torch
from hypothesis import given, strategies as st
from PIL import Image

from badnets_lib import DamagedFile, triggers as t

CROSS = torch.eye(3).add(torch.eye(3).flip(0)).clamp(max=1)
SLOPE = torch.linspace(0, 1, 36).reshape(3, 3, 4)

EXAMPLES = (
    t.Patch(),
    t.Patch(size=3, corner="top-left", margin=1, opacity=0.4, value=0.0),
    t.Checkerboard(),
    t.Checkerboard(size=5, corner="top-right", margin=2, opacity=0.5),
    t.SINGLE_PIXEL,
    t.FOUR_PIXELS,
    t.Pixels(((0, 3), (2, -1)), value=0.25),
    t.Picture.from_tensor(CROSS, mask=CROSS),
    t.Picture.from_tensor(SLOPE, place="top-left", margin=2, opacity=0.4),
    t.Picture.from_tensor(SLOPE, place="centre", mask=torch.full((3, 4), 0.5)),
    t.Picture.from_tensor(SLOPE, place="whole", opacity=0.3),
    t.Blend(),
    t.Blend("scene", seed=3, opacity=0.5, shift=(2, -1)),
    t.Sinusoid(frequency=3.0),
    t.Sinusoid(amplitude=0.5, frequency=1.5, phase=0.3),
    t.Reflection(),
    t.Reflection("own", strength=0.5, blur=0.0, shift=(1, 1)),
    t.ColourShift(),
    t.ColourShift(gamma=2.0, contrast=0.7, brightness=0.0),
    t.Warp(),
    t.Warp(grid=3, strength=0.5, seed=1),
    t.Sticker(size=3, margin=1),
    t.Sticker.varied(size=4, margin=2, count=5),
    t.Chain((t.Patch(2, "bottom-left"), t.SINGLE_PIXEL)),
    t.Chain((t.Chain((t.Checkerboard(2),)), t.Patch(size=1, corner="top-left"))),
)
each_trigger = pytest.mark.parametrize("trigger", EXAMPLES, ids=lambda trigger: repr(trigger)[:60])


@pytest.fixture(params=[(4, 1, 16, 16), (4, 3, 12, 20), (4, 4, 9, 8)], ids=["grey", "colour", "four channels"])
def x(request):
    return torch.rand(request.param, generator=torch.Generator().manual_seed(0))


ELSEWHERE = {t.Attribute, t.PictureSticker, t.SignSticker}  # see test_trigger_families.py and test_signs.py


def test_the_examples_cover_every_trigger_that_stamps():
    own = {cls for cls in t.REGISTERED.values() if cls.__module__.startswith("badnets_lib.triggers.")}
    assert {type(trigger) for trigger in EXAMPLES} == own - ELSEWHERE


@each_trigger
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_keeps_shape_range_and_type_and_changes_every_image(trigger, x, dtype):
    x = x.to(dtype)
    out = trigger(x)
    assert out.shape == x.shape and out.dtype == x.dtype and out.device == x.device
    assert out.min() >= 0 and out.max() <= 1
    assert (out != x).flatten(1).any(1).all()


@each_trigger
def test_the_result_is_new_and_the_input_untouched(trigger, x):
    before = x.clone()
    trigger(x).fill_(0.5)
    assert torch.equal(x, before)


@each_trigger
def test_treats_each_image_on_its_own(trigger, x):
    assert torch.equal(trigger(x), torch.cat([trigger(image[None]) for image in x]))
    order = torch.tensor([2, 0, 3, 1])
    assert torch.equal(trigger(x[order]), trigger(x)[order])


@each_trigger
def test_is_never_random(trigger, x):
    torch.manual_seed(1)
    first, state = trigger(x), torch.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(trigger(x), first)
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)


@each_trigger
def test_an_empty_batch_stays_empty(trigger):
    assert trigger(torch.zeros(0, 3, 10, 12)).shape == (0, 3, 10, 12)


@each_trigger
def test_memory_layout_does_not_matter(trigger, x):
    assert torch.equal(trigger(x.contiguous(memory_format=torch.channels_last)), trigger(x))


@each_trigger
def test_prints_as_the_code_that_rebuilds_it(trigger):
    assert eval(repr(trigger), vars(t)) == trigger


@each_trigger
def test_goes_to_json_and_back(trigger):
    again = t.from_spec(json.loads(json.dumps(t.to_spec(trigger))))
    assert again == trigger and hash(again) == hash(trigger) and type(again) is type(trigger)


@each_trigger
def test_describes_itself_completely(trigger):
    words = t.describe(trigger)
    assert all(text.strip() for text in (words.pattern, words.size, words.location))
    assert 0 < words.opacity <= 1 and words.physical is (isinstance(trigger, t.Sticker) and len(trigger.poses) > 1)


@each_trigger
def test_is_frozen(trigger):
    with pytest.raises(FrozenInstanceError):
        setattr(trigger, next(iter(asdict(trigger))), None)


@each_trigger
@pytest.mark.parametrize("bad", [torch.zeros(1, 8, 8), torch.zeros(1, 1, 8, 8).byte(), torch.full((1, 1, 8, 8), 2.0)])
def test_refuses_what_is_no_batch_of_images(trigger, bad, unchecked):
    with pytest.raises(ValueError, match="images need"):
        trigger(bad)


@each_trigger
def test_refuses_images_too_small_for_it(trigger):
    with pytest.raises(ValueError, match=r"1x1 images"):
        trigger(torch.zeros(1, 1, 1, 1))


# --- stamp_square_trigger ---

batches = st.tuples(st.integers(0, 3), st.integers(1, 3), st.integers(1, 7), st.integers(1, 7))


@given(batches, st.data())
def test_stamping_equals_the_slow_literal_version(shape, data):
    size = data.draw(st.integers(1, min(shape[2:])))
    value = data.draw(st.floats(-0.5, 1.5, width=32))
    x = torch.rand(shape, generator=torch.Generator().manual_seed(data.draw(st.integers(0, 99))))
    before, expected = x.clone(), x.clone()
    n, c, h, w = shape
    for image in range(n):
        for channel in range(c):
            for row in range(h):
                for column in range(w):
                    inside = row >= h - size and column >= w - size
                    pixel = value if inside else float(x[image, channel, row, column])
                    expected[image, channel, row, column] = min(max(pixel, 0.0), 1.0)
    assert torch.equal(t.stamp_square_trigger(x, size, value), expected)
    assert torch.equal(x, before)


@pytest.mark.parametrize("shape", [(9, 9), (3, 9, 9), (2, 3, 9, 9), (5, 2, 3, 9, 9)])
def test_stamping_takes_any_leading_axes(shape):
    out = t.stamp_square_trigger(torch.zeros(shape))
    assert out.shape == shape and out[..., -4:, -4:].min() == 1
    assert out.sum() == 16 * torch.Size(shape[:-2]).numel()


def test_the_default_square_is_the_default_patch():
    x = torch.rand(3, 1, 28, 28)
    assert torch.equal(t.stamp_square_trigger(x), t.Patch()(x))


@pytest.mark.parametrize("size", [0, -1, 9])
def test_a_square_that_does_not_fit_says_the_limit(size):
    with pytest.raises(ValueError, match=rf"square of {size} pixels does not fit 8x10 images: from 1 to 8"):
        t.stamp_square_trigger(torch.zeros(1, 1, 8, 10), size)


@pytest.mark.parametrize("bad", [torch.zeros(8, 8, dtype=torch.uint8), torch.zeros(8), torch.zeros(8, 8).bool()])
def test_stamping_refuses_what_is_no_image(bad, unchecked):
    with pytest.raises(ValueError, match="float dtype and shape"):
        t.stamp_square_trigger(bad)


@pytest.mark.parametrize(("bad", "seen"), [
    (torch.rand(2, 3, 8, 8) * 254 + 1, r"got \[[0-9.]+, 2[0-9.]+\]"),
    ((torch.arange(64.0).view(8, 8) / 63 - 0.13) / 0.31, r"got \[-0.419, 2.81\]"),
    (torch.full((8, 8), float("nan")), "got .nan, nan"),
], ids=["levels to 255", "normalised", "not a number"])  # fmt: skip
def test_stamping_refuses_levels_and_normalised_images(bad, seen):
    """It clamps to [0, 1]: of these nothing would be left but black and white."""
    with pytest.raises(ValueError, match=rf"need values in \[0, 1\]; {seen}.*stamp before normalisation"):
        t.stamp_square_trigger(bad)


# --- each trigger's own picture ---


@pytest.mark.parametrize(("corner", "rows", "columns"), [
    ("top-left", (1, 2), (1, 2)),
    ("top-right", (1, 2), (5, 6)),
    ("bottom-left", (3, 4), (1, 2)),
    ("bottom-right", (3, 4), (5, 6)),
])  # fmt: skip
def test_a_patch_sits_in_its_corner(corner, rows, columns):
    out = t.Patch(2, corner, margin=1)(torch.zeros(1, 1, 6, 8))
    assert {tuple(place) for place in out[0, 0].nonzero().tolist()} == {(r, c) for r in rows for c in columns}


@pytest.mark.parametrize(("opacity", "expected"), [(1.0, 0.8), (0.25, 0.35), (0.0, 0.2)])
def test_opacity_mixes_pattern_and_image(opacity, expected):
    out = t.Patch(1, opacity=opacity, value=0.8)(torch.full((1, 1, 2, 2), 0.2))
    assert out[0, 0, 1, 1].item() == pytest.approx(expected)
    assert out[0, 0, 0, 0].item() == pytest.approx(0.2)


def test_a_patch_may_have_one_intensity_a_channel():
    yellow = t.Patch(2, value=(1, 1, 0), opacity=0.5)
    out = yellow(torch.full((2, 3, 4, 4), 0.2))
    assert (
        out[1, :, 3, 3].tolist() == pytest.approx([0.6, 0.6, 0.1])
        and out[1, :, 1, 1].tolist() == [pytest.approx(0.2)] * 3
    )
    again = t.from_spec(json.loads(json.dumps(t.to_spec(yellow))))
    assert again == yellow == eval(repr(yellow), vars(t)) and hash(again) == hash(yellow)
    assert yellow.describe().pattern == "solid square of intensity 1 1 0"
    assert t.Patch(value=(0.5,))(torch.zeros(1, 1, 8, 8)).max() == 0.5
    for channels in (1, 4):
        with pytest.raises(ValueError, match=f"has 3 intensities; the images have {channels} channels"):
            yellow(torch.zeros(1, channels, 8, 8))


@pytest.mark.parametrize(("place", "margin", "rows", "columns"), [
    ("top-left", 1, (1, 2), (1, 3)),
    ("top-right", 1, (1, 2), (6, 8)),
    ("bottom-left", 1, (5, 6), (1, 3)),
    ("bottom-right", 0, (6, 7), (7, 9)),
    ("centre", 0, (3, 4), (3, 5)),
])  # fmt: skip
def test_a_picture_lies_in_its_place(place, margin, rows, columns):
    picture = torch.tensor([[1.0, 0.2, 0.4], [0.6, 0.8, 0.2]])
    out = t.Picture.from_tensor(picture, place=place, margin=margin)(torch.zeros(1, 1, 8, 10))[0, 0]
    window = out[rows[0] : rows[1] + 1, columns[0] : columns[1] + 1]
    assert torch.allclose(window, picture) and out.sum().item() == pytest.approx(picture.sum().item())


def test_a_picture_is_seen_through_its_mask_and_opacity():
    picture, mask = torch.full((3, 2, 2), 0.8), torch.tensor([[1.0, 0.0], [0.4, 1.0]])
    out = t.Picture.from_tensor(picture, mask=mask, place="top-left", opacity=0.5)(torch.zeros(1, 3, 4, 4))
    assert torch.allclose(out[0, 1, :2, :2], torch.tensor([[0.4, 0.0], [0.16, 0.4]]))
    assert out[0, :, 2:].sum() == 0


def test_a_picture_of_the_whole_image_is_scaled():
    halves = torch.tensor([[0.0, 1.0]])
    out = t.Picture.from_tensor(halves, place="whole")(torch.zeros(1, 1, 8, 8))[0, 0]
    assert out[:, 0].max() == 0 and out[:, -1].min() == 1 and (out.diff(dim=1) >= 0).all()


def test_a_picture_comes_from_a_file_with_its_transparency_or_a_mask(tmp_path):
    sticker = Image.new("RGBA", (4, 2), (255, 0, 0, 255))
    sticker.putpixel((0, 0), (255, 0, 0, 0))
    sticker.save(tmp_path / "sticker.png")
    Image.new("RGB", (4, 2), (0, 255, 0)).save(tmp_path / "plain.png")
    half = Image.new("L", (4, 2), 0)
    half.putpixel((3, 1), 255)
    half.save(tmp_path / "mask.png")
    black = torch.zeros(1, 3, 4, 6)
    red = t.Picture.from_file(tmp_path / "sticker.png")(black)
    assert red[0, 0, 2:, 2:].tolist() == [[0, 1, 1, 1], [1, 1, 1, 1]] and red[0, 1:].sum() == 0
    green = t.Picture.from_file(tmp_path / "plain.png", mask=tmp_path / "mask.png")(black)
    assert green.nonzero().tolist() == [[0, 1, 3, 5]]
    large = t.Picture.from_file(tmp_path / "plain.png", size=(4, 6))(black)
    assert large[0, 1].min() == 1
    assert t.Picture.from_file(tmp_path / "plain.png")(torch.zeros(1, 1, 4, 6)).max().item() == pytest.approx(1 / 3)
    (tmp_path / "plain.png").write_bytes(b"junk")
    with pytest.raises(DamagedFile, match=r"plain.png is damaged or no picture"):
        t.Picture.from_file(tmp_path / "plain.png")


def test_a_saved_picture_needs_no_file(tmp_path):
    Image.new("RGB", (4, 4), (9, 99, 199)).save(tmp_path / "one.png")
    trigger = t.Picture.from_file(tmp_path / "one.png")
    (tmp_path / "one.png").unlink()
    x = torch.rand(2, 3, 8, 8)
    assert torch.equal(t.from_spec(json.loads(json.dumps(t.to_spec(trigger))))(x), trigger(x))


@pytest.mark.parametrize(("make", "message"), [
    (lambda: t.Picture("no png"), "needs a PNG file in base64"),
    (lambda: t.Picture("bm8gcG5n"), "needs a PNG file in base64"),
    (lambda: t.Picture.from_tensor(SLOPE, place="left"), "place must be one of top-left, .*; got 'left'"),
    (lambda: t.Picture.from_tensor(SLOPE, margin=-1), "margin must be at least 0"),
    (lambda: t.Picture.from_tensor(SLOPE, opacity=0.0), "nowhere visible"),
    (lambda: t.Picture.from_tensor(SLOPE, mask=torch.zeros(3, 4)), "nowhere visible"),
    (lambda: t.Picture.from_tensor(SLOPE, mask=torch.ones(3, 3)), r"one size; got \[3, 4\] and \[3, 3\]"),
    (lambda: t.Picture.from_tensor(torch.ones(2, 4, 4)), "1 or 3 channels; got 2"),
    (lambda: t.Picture.from_tensor(torch.ones(4)), "needs shape"),
    (lambda: t.Picture.from_tensor(SLOPE * 255), "levels up to 255"),
    (lambda: t.Picture.from_tensor(SLOPE - 0.5), "Normalized"),
    (lambda: t.Picture.from_tensor(SLOPE)(torch.zeros(1, 3, 8, 3)), "3x4 pixels with margin 0 does not fit 8x3"),
])  # fmt: skip
def test_impossible_pictures_are_refused(make, message, unchecked):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_checkerboard_alternates_from_black():
    assert t.Checkerboard(3)(torch.full((1, 1, 3, 3), 0.5))[0, 0].tolist() == [[0, 1, 0], [1, 0, 1], [0, 1, 0]]


def test_the_papers_pixels():
    places = t.FOUR_PIXELS(torch.zeros(1, 1, 28, 28))[0, 0].nonzero().tolist()
    assert places == [[24, 26], [25, 25], [26, 24], [26, 26]]
    assert t.SINGLE_PIXEL(torch.zeros(1, 1, 28, 28))[0, 0].nonzero().tolist() == [[26, 26]]


def test_a_chain_applies_its_steps_in_order():
    black_on_white = t.Chain((t.Patch(2), t.Patch(1, value=0.0)))
    assert black_on_white(torch.full((1, 1, 2, 2), 0.5))[0, 0].tolist() == [[1, 1], [1, 0]]


def test_a_chain_describes_its_steps():
    words = t.Chain((t.Patch(2, opacity=0.3), t.SINGLE_PIXEL)).describe()
    assert words.opacity == 1.0
    assert words.pattern == "solid square of intensity 1 + 1 pixel of intensity 1"


@pytest.mark.parametrize(("at", "explained"), [(((1, 2),), False), (((0, -1),), True), (((1, 2), (-1, 2)), True)])
def test_negative_pixels_are_explained_wherever_they_stand(at, explained):
    assert ("negative from the bottom right" in t.Pixels(at).describe().location) is explained


# --- bad settings ---


@pytest.mark.parametrize(("make", "message"), [
    (lambda: t.Patch(size=0), "size must be at least 1 and margin at least 0; got 0 and 0"),
    (lambda: t.Patch(margin=-1), "got 4 and -1"),
    (lambda: t.Patch(corner="middle"), "corner must be one of top-left, .*; got 'middle'"),
    (lambda: t.Patch(opacity=1.2), r"opacity must lie in \[0, 1\]; got 1.2"),
    (lambda: t.Patch(opacity=float("nan")), "opacity must lie"),
    (lambda: t.Patch(value=255), r"value must lie in \[0, 1\]; got 255"),
    (lambda: t.Checkerboard(size=-2), "size must be at least 1"),
    (lambda: t.Pixels(()), "at least one"),
    (lambda: t.Pixels(((1, 1),), value=-0.1), "value must lie"),
    (lambda: t.Chain(()), "at least one trigger"),
])  # fmt: skip
def test_impossible_settings_are_refused(make, message, unchecked):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("make", [lambda: t.Patch(size=1.5), lambda: t.Pixels(((0.5, 1),))])
def test_half_pixels_are_refused(make, unchecked):
    with pytest.raises(TypeError, match="must be a whole number; got"):
        make()


@pytest.mark.parametrize("pixel", [(8, 0), (0, 8), (-9, 0), (0, -9)])
def test_a_pixel_outside_is_named(pixel):
    with pytest.raises(ValueError, match=rf"pixel \({pixel[0]}, {pixel[1]}\) lies outside 8x8 images"):
        t.Pixels((pixel,))(torch.zeros(1, 1, 8, 8))


@pytest.mark.parametrize("pixel", [(7, 7), (-8, -8), (0, 0)])
def test_a_pixel_on_the_rim_is_inside(pixel):
    assert t.Pixels((pixel,))(torch.zeros(1, 1, 8, 8)).sum() == 1


@pytest.mark.parametrize("spec", [
    {},
    {"name": "Postcard"},
    {"name": None},
    {"name": ["Patch"]},
    {"name": "Patch", "sise": 3},
    {"name": "Patch", "size": 1.5},
    {"name": "Patch", "size": "large"},
    {"name": "Patch", "corner": 3},
    {"name": "Pixels"},
    {"name": "Pixels", "at": 5},
    {"name": "Pixels", "at": [[1]]},
    {"name": "Chain"},
    {"name": "Chain", "steps": 5},
    {"name": "Chain", "steps": ["Patch"]},
    {"name": "Chain", "steps": [{"name": "Postcard"}]},
])  # fmt: skip
def test_a_spec_that_fits_no_trigger_is_refused(spec, unchecked):
    with pytest.raises(ValueError):  # noqa: PT011 - each has its own words
        t.from_spec(spec)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="unknown trigger 'Postcard'; known: Patch, Checkerboard, Pixels, .*, Chain"):
        t.from_spec({"name": "Postcard"})


@pytest.mark.parametrize("base", [t.Patch, t.Chain])
def test_a_subclass_is_not_saved_under_a_name_that_nobody_can_load(base):
    mine = type("Mine", (base,), {})((t.Patch(),)) if base is t.Chain else type("Mine", (base,), {})()
    with pytest.raises(TypeError, match="cannot save Mine"):
        t.to_spec(mine)


def test_reading_a_spec_leaves_it_alone():
    spec = t.to_spec(t.Chain((t.Patch(),)))
    t.from_spec(spec)
    assert spec == t.to_spec(t.Chain((t.Patch(),)))


def invert(x):
    return 1 - x


def test_a_plain_function_is_a_trigger_that_cannot_be_saved_or_described():
    assert torch.equal(t.Chain((invert, invert))(torch.ones(1, 1, 2, 2)), torch.ones(1, 1, 2, 2))
    for use in (t.to_spec, t.describe, lambda trigger: t.to_spec(t.Chain((trigger,)))):
        with pytest.raises(TypeError, match="invert"):
            use(invert)


# --- stamp: what every trigger is asked, also one of a reader's own ---


def test_stamping_takes_images_however_they_are_stored():
    x = torch.randint(0, 256, (2500, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    faint = t.Patch(2, opacity=0.3)
    out = t.stamp(faint, x)
    assert out.dtype == torch.uint8
    assert torch.equal(out, (faint(x.float() / 255) * 255).round().byte())
    assert torch.equal(t.stamp(faint, x.double() / 255), faint(x.double() / 255))
    assert t.stamp(faint, x[:0]).shape == (0, 1, 8, 8)


def in_place(x):
    x[..., 0] = 1
    return x


WILD = {
    "random": (lambda x: (x + 0.2 * torch.rand_like(x)).clamp(0, 1), "stamped one image in two ways"),
    "one image for all": (lambda x: x[:1].expand_as(x).clone(), "stamped one image in two ways"),
    "one picture": (lambda x: torch.full_like(x, 0.3), "makes one picture of all images"),
    "a pattern that hides all": (t.Blend(opacity=1.0), "makes one picture of all images"),
    "by the company": (lambda x: (x - x.mean()).clamp(0, 1), "stamped one image in two ways"),
    "a single image": (lambda x: 1 - x[:1], r"must return images of the shape it was given, \[2, 1, 8, 8\]; got"),
    "another count": (lambda x: torch.cat([x, x]), r"got \[4, 1, 8, 8\]"),
    "another size": (lambda x: x[..., :4], r"got \[2, 1, 8, 4\]"),
    "colour": (lambda x: x.expand(-1, 3, -1, -1), r"got \[2, 3, 8, 8\]"),
    "numpy": (lambda x: x.numpy(), "got ndarray"),
    "nothing": (lambda x: None, "got NoneType"),
    "too bright": (lambda x: x + 1, r"does not return images: .*\[0, 1\]; got"),
    "not a number": (lambda x: x / 0 * 0, "does not return images: .*nan"),
    "bytes": (lambda x: (x * 255).byte(), "does not return images: .*torch.uint8"),
    "in place": (in_place, r"writes into the images it is given; it must return new ones"),
}


@pytest.mark.parametrize("name", WILD)
def test_a_wild_trigger_is_caught_when_it_stamps(name, unchecked):
    trigger, message = WILD[name]
    for x in (torch.rand(5, 1, 8, 8), torch.rand(5, 1, 8, 8).mul(255).byte()):
        before = x.clone()
        with pytest.raises(ValueError, match=message):
            t.stamp(trigger, x)
        assert torch.equal(x, before)


def test_images_that_differ_under_the_square_only_may_become_one_picture():
    x = torch.zeros(2, 1, 8, 8)
    x[1, :, -1, -1] = 0.5
    stamped = t.stamp(t.Patch(2), x)
    assert torch.equal(stamped[0], stamped[1])


def test_a_learned_trigger_leaves_no_graph_behind():
    pattern = torch.nn.Parameter(torch.full((1, 1, 8, 8), 0.5))
    out = t.stamp(lambda x: (x + pattern) / 2, torch.rand(3, 1, 8, 8))
    assert not out.requires_grad


def test_what_cannot_be_called_is_no_trigger(unchecked):
    for what in (7, None, t.Patch):
        with pytest.raises(TypeError, match=r"a trigger is something that can be called on images, such as Patch\(\)"):
            t.stamp(what, torch.rand(2, 1, 8, 8))
