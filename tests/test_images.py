import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from badnets_lib import AssumptionWarning, Attack, Goal, ImageSet, Patch
from badnets_lib.data.images import check_images, stored_like, to_unit

AB = ("a", "b")


def images(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("x", "message"), [
    (torch.zeros(2, 8, 8), r"need shape \[N, C, H, W\]; got \[2, 8, 8\]"),
    (torch.zeros(2, 1, 8, 8, dtype=torch.int16), "float dtype in .*torch.int16"),
    (torch.zeros(5, 48, 64, 3), r"in \[5, 48, 64, 3\] the last axis looks like the channels .*layout='HWC'"),
    (torch.zeros(5, 16, 16, 1), "the last axis looks like the channels"),
    (torch.full((1, 1, 2, 2), 255.0), r"values in \[0, 1\]; got \[255, 255\]"),
    (torch.full((1, 1, 2, 2), -0.1), r"values in \[0, 1\]"),
    (torch.full((1, 1, 2, 2), float("nan")), r"values in \[0, 1\]; got \[nan"),
    (torch.full((1, 1, 2, 2), float("inf")), r"values in \[0, 1\]"),
])  # fmt: skip
def test_images_that_are_none_are_refused(unchecked, x, message):
    with pytest.raises(ValueError, match=message):
        check_images(x)
    with pytest.raises(ValueError, match=message):
        ImageSet(x, torch.zeros(len(x), dtype=torch.long), AB)


def test_bytes_are_kept_but_not_computed_with(unchecked):
    x = torch.randint(0, 256, (6, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    data = ImageSet(x, torch.arange(6) % 2, AB)
    assert data.x is x and data[2:4].x.dtype == torch.uint8
    with pytest.raises(ValueError, match="float dtype in .*torch.uint8"):
        check_images(x)
    same = replace(data, x=x.float() / 255)
    assert same.fingerprint == data.fingerprint == replace(data, x=x.double() / 255).fingerprint
    assert torch.equal(to_unit(x), same.x) and torch.equal(stored_like(same.x, x), x)
    assert to_unit(same.x) is same.x and stored_like(same.x, torch.empty(0).half()).dtype == torch.float16


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_images_as_narrow_as_channels_are_images(channels):
    assert len(ImageSet(torch.zeros(2, 3, 8, channels), torch.zeros(2).long(), AB)) == 2


def test_one_bad_pixel_among_many_is_found():
    x = images(50, 1, 8, 8)
    x[37, 0, 3, 3] = 1.001
    with pytest.raises(ValueError, match=r"got \[.*, 1\]"):
        check_images(x)


def test_checking_returns_the_same_tensor_and_allows_an_empty_batch():
    x, none = images(2, 3, 4, 5), torch.zeros(0, 1, 4, 4)
    assert check_images(x) is x and check_images(none) is none


@pytest.mark.parametrize(("y", "groups", "message"), [
    (torch.zeros(4), None, "integer dtype; got torch.float32"),
    (torch.zeros(4, dtype=torch.bool), None, "integer dtype; got torch.bool"),
    (torch.zeros(4, 1, dtype=torch.long), None, r"shape \[N\].*\[4, 1\]"),
    (torch.zeros(3, dtype=torch.long), None, "4 images but 3 labels"),
    (torch.tensor([0, 1, 2, 0]), None, r"labels must lie in \[0, 2\); got 0 to 2"),
    (torch.tensor([0, -1, 0, 0]), None, r"labels must lie in \[0, 2\); got -1 to 0"),
    (torch.zeros(4, dtype=torch.long, device="meta"), None, "images are on cpu but labels on meta"),
    (torch.zeros(4, dtype=torch.long), torch.zeros(5, dtype=torch.long), "4 images but 5 group numbers"),
    (torch.zeros(4, dtype=torch.long), torch.zeros(4, dtype=torch.long, device="meta"), "but group numbers on meta"),
])  # fmt: skip
def test_labels_and_groups_that_do_not_fit_are_refused(unchecked, y, groups, message):
    with pytest.raises(ValueError, match=message):
        ImageSet(images(4, 1, 4, 4), y, AB, groups)


def test_a_wrong_shape_is_caught_by_the_signature_too():
    with pytest.raises(TypeError):
        ImageSet(images(4, 1, 4, 4), torch.zeros(4), AB)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_every_integer_label_type_counts_and_hashes_alike(dtype):
    y = torch.tensor([0, 2, 2, 1, 2])
    data = ImageSet(images(5, 1, 4, 4), y.to(dtype), ("a", "b", "c", "d"))
    assert data.counts() == [1, 1, 3, 0]
    assert data.fingerprint == ImageSet(images(5, 1, 4, 4), y, ("a", "b", "c", "d")).fingerprint


def test_selection_keeps_images_labels_and_groups_together(tiny):
    data = replace(tiny, groups=torch.arange(60))
    for keep in (torch.tensor([5, 1, 8]), data.y == 2, slice(10, 20)):
        part = data[keep]
        assert torch.equal(part.x, data.x[part.groups])
        assert torch.equal(part.y, data.y[part.groups])
        assert part.classes == data.classes
    assert len(data[slice(0, 0)]) == 0
    assert data[torch.tensor([5, 1, 8])].groups.tolist() == [5, 1, 8]


def test_going_to_the_same_device_is_free(tiny):
    assert tiny.to("cpu") is tiny


def test_repr_says_what_it_is(tiny):
    assert repr(tiny) == f"ImageSet(60 images of 1x8x8, 3 classes, {tiny.fingerprint})"


@given(st.integers(0, 59), st.floats(0.01, 1))
def test_the_fingerprint_follows_one_changed_pixel(index, change):
    data = ImageSet(torch.zeros(60, 1, 4, 4), torch.arange(60) % 2, AB)
    before = data.fingerprint
    assert len(before) == 16 and int(before, 16) >= 0
    data.x[index, 0, 1, 1] += change
    assert data.fingerprint != before
    data.x[index, 0, 1, 1] = 0
    assert data.fingerprint == before


def test_the_fingerprint_sees_labels_order_and_shape(tiny):
    order = torch.arange(59, -1, -1)
    others = [
        tiny,
        replace(tiny, y=(tiny.y + 1) % 3),
        tiny[order],
        replace(tiny, x=tiny.x.reshape(60, 1, 4, 16)),
        replace(tiny, x=tiny.x / 2),
    ]
    assert len({each.fingerprint for each in others}) == len(others)
    assert tiny[order][order].fingerprint == tiny.fingerprint
    assert replace(tiny, x=tiny.x.contiguous(memory_format=torch.channels_last)).fingerprint == tiny.fingerprint


def test_the_fingerprint_of_tensors_that_torch_does_not_count_or_would_differentiate(tiny):
    assert replace(tiny, x=tiny.x.clone().requires_grad_()).fingerprint == tiny.fingerprint
    with torch.inference_mode():
        data = replace(tiny, x=tiny.x.clone())
        assert data.fingerprint == data.fingerprint == tiny.fingerprint
        data.x[0] = 0.0  # nobody counts this edit, so the hash is made anew
        assert data.fingerprint != tiny.fingerprint


def test_a_replaced_image_set_does_not_inherit_the_old_fingerprint(tiny):
    before = tiny.fingerprint  # kept, and must not be handed on
    assert replace(tiny, x=tiny.x * 0.5).fingerprint != before


@given(st.integers(0, 1000), st.floats(0.1, 0.9))
def test_split_is_stratified_complete_and_repeatable(seed, fraction):
    y = torch.tensor([0] * 40 + [1] * 20)
    data = ImageSet(torch.zeros(60, 1, 2, 2), y, AB, torch.arange(60))
    rest, held = data.split(fraction, seed=seed)
    assert sorted(rest.groups.tolist() + held.groups.tolist()) == list(range(60))
    assert held.counts() == [round(40 * fraction), round(20 * fraction)]
    assert data.split(fraction, seed=seed)[1].groups.tolist() == held.groups.tolist()


def test_split_follows_the_seed(tiny):
    draws = {
        tuple(replace(tiny, groups=torch.arange(60)).split(0.5, seed=seed)[1].groups.tolist()) for seed in range(5)
    }
    assert len(draws) == 5


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1)), min_size=4, max_size=40), st.integers(0, 99))
def test_no_group_ends_on_both_sides(films, seed):
    """Also when one film shows several classes."""
    groups, y = torch.tensor(films).T
    data = ImageSet(torch.zeros(len(y), 1, 2, 2), y, AB, groups)
    try:
        rest, held = data.split(0.5, seed=seed)
    except ValueError:  # one side would be empty: tested below
        return
    assert not set(rest.groups.tolist()) & set(held.groups.tolist())
    assert len(rest) + len(held) == len(data)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, 2.0, float("nan")])
def test_split_refuses_an_impossible_fraction(tiny, fraction):
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        tiny.split(fraction)


def test_split_refuses_to_leave_a_side_empty(tiny):
    with pytest.raises(ValueError, match=r"holding out 0.01 of 60 images leaves one side empty"):
        tiny.split(0.01)


def test_splitting_leaves_the_global_random_state_alone(tiny):
    before = torch.get_rng_state()
    tiny.split(0.5, seed=3)
    assert torch.equal(torch.get_rng_state(), before)


# --- a fingerprint that cannot go stale ---


def test_the_fingerprint_follows_edits_through_numpy():
    pixels, labels = np.full((20, 1, 4, 4), 0.25, np.float32), np.arange(20) % 2
    data = ImageSet(torch.from_numpy(pixels), torch.from_numpy(labels), AB)
    first = data.fingerprint
    assert data.fingerprint == first
    pixels[3] = 0.5
    second = data.fingerprint
    labels[:] = 0
    assert len({first, second, data.fingerprint}) == 3
    torch_made = ImageSet(torch.zeros(20, 1, 4, 4), torch.zeros(20).long(), AB)
    before = torch_made.fingerprint
    torch_made.x.numpy()[0] = 1.0
    assert torch_made.fingerprint != before


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32, torch.float64, torch.bfloat16])
def test_the_fingerprint_follows_edits_that_torch_does_not_count(kind):
    data = ImageSet(torch.zeros(20, 1, 4, 4, dtype=kind), torch.arange(20) % 2, AB)
    seen = {data.fingerprint}
    data.x.data[3, 0, 1, 2] = 1
    seen.add(data.fingerprint)
    data.x.data[3:5] = data.x.data[3:5].flip(0)  # the same images in another order
    seen.add(data.fingerprint)
    data.y.data[0] = 1
    seen.add(data.fingerprint)
    assert len(seen) == 4
    plan = Attack(Patch(size=2), Goal.all_to_one(0, 2)).plan(data, fraction=0.1)
    data.x[0] = 1  # a plan notices what torch counts, and shared numpy memory
    with pytest.raises(ValueError, match="the plan was drawn for data"):
        plan.poison(data)


def test_the_fingerprint_is_made_once(monkeypatch):
    data = ImageSet(torch.zeros(20, 1, 4, 4), torch.arange(20) % 2, AB)
    first = data.fingerprint
    monkeypatch.setattr("badnets_lib.data.images.to_unit", lambda x: pytest.fail("hashed again"))
    assert data.fingerprint == first


def test_the_fingerprint_knows_the_class_names(tiny):
    other = replace(tiny, classes=("c", "b", "a"))
    assert other.fingerprint != tiny.fingerprint and other.label_fingerprint != tiny.label_fingerprint
    assert replace(tiny, x=tiny.x / 2).label_fingerprint == tiny.label_fingerprint
    assert replace(tiny, y=tiny.y.to(torch.uint8)).label_fingerprint == tiny.label_fingerprint


# --- what was divided by 255 twice ---


def test_images_divided_twice_are_noticed_where_they_come_in(tiny):
    with pytest.warns(
        AssumptionWarning, match="brightest pixel is 0.0039.*divided by 255 twice.*#divided-twice"
    ) as seen:
        data = ImageSet(tiny.x / tiny.x.max() / 255, tiny.y, tiny.classes)
    assert len(seen) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data[:5], data.split(0.5), data.sample(3), data.to("cpu")  # parts of a set are not asked again
        ImageSet(torch.zeros(2, 1, 4, 4), torch.zeros(2).long(), AB)  # black is black
        ImageSet(torch.ones(2, 1, 4, 4).byte(), torch.zeros(2).long(), AB)


# --- parts and draws ---


def test_a_set_is_indexed_by_several_images_at_a_time(tiny, unchecked):
    with pytest.raises(TypeError, match=r"indexed by a slice, positions or a mask; got 3 \(use \[3:\]\[:1\]\)"):
        tiny[3]
    with pytest.raises(ValueError, match=r"need shape \[N\]; got \[1, 2\]"):
        tiny[torch.tensor([[1, 2]])]
    assert len(tiny[[]]) == 0 and len(tiny[[4, 4]]) == 2 and len(tiny[np.array([1, 5])]) == 2


def test_a_sample_is_random_without_repeats_and_repeatable(tiny):
    data = replace(tiny, groups=torch.arange(60))
    drawn = data.sample(20, seed=1).groups.tolist()
    assert len(set(drawn)) == 20 and drawn == data.sample(20, seed=1).groups.tolist() != sorted(drawn)
    assert drawn != data.sample(20, seed=2).groups.tolist()
    assert sorted(data.sample(99).groups.tolist()) == list(range(60))
    with pytest.raises(ValueError, match="at least 1 image; got count=0"):
        data.sample(0)


def test_seeds_are_whole_numbers(tiny, unchecked):
    assert torch.equal(tiny.sample(5, seed=np.int64(3)).x, tiny.sample(5, seed=3).x)
    for wrong in ("3", 1.5, None):
        for use in (lambda: tiny.sample(5, seed=wrong), lambda: tiny.split(0.5, seed=wrong)):  # noqa: B023
            with pytest.raises(TypeError, match=f"a seed is a whole number; got {wrong!r}"):
                use()


# --- wrong kinds ---


@pytest.mark.parametrize(("x", "y", "classes", "message"), [
    (np.zeros((2, 1, 4, 4)), [0, 1], AB, "images need a torch tensor .*; got ndarray .see ImageSet.from_arrays"),
    (torch.zeros(2, 1, 4, 4), [0, 1], AB, "labels need a torch tensor .*; got list"),
    (torch.zeros(2, 1, 4, 4), np.array([0, 1]), AB, "labels need a torch tensor .*; got ndarray"),
    (torch.zeros(2, 1, 4, 4), torch.tensor([0, 1]), 2, "classes must be the class names in label order; got 2"),
    (torch.zeros(2, 1, 4, 4), torch.tensor([0, 1]), "ab", "classes must be the class names in label order; got 'ab'"),
    (torch.zeros(2, 1, 4, 4), torch.tensor([0, 1]), (0, 1), "classes must be the class names"),
], ids=["numpy", "list", "numpy labels", "a number of classes", "one text", "numbers"])  # fmt: skip
def test_other_kinds_of_argument_are_named(unchecked, x, y, classes, message):
    with pytest.raises(TypeError, match=message):
        ImageSet(x, y, classes)


def test_classes_may_be_a_list(unchecked):
    assert ImageSet(torch.zeros(2, 1, 4, 4), torch.tensor([0, 1]), ["a", "b"]).classes == AB


def test_the_quick_fingerprint_follows_every_edit_that_torch_counts_and_shared_numpy_memory(tiny):
    data = tiny[:6]
    first = data.fingerprint
    assert data.quick_fingerprint == first
    data.x[0, 0, 0, 0] = 0.125
    second = data.quick_fingerprint
    assert second not in (first, "") and second == data.fingerprint
    shared = data.x.numpy()
    shared[1, 0, 0, 0] = 0.625
    assert data.quick_fingerprint not in (first, second) and data.quick_fingerprint == data.fingerprint
