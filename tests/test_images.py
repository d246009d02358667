from dataclasses import replace

import pytest
import torch
from hypothesis import given, strategies as st

from badnets_lib import ImageSet
from badnets_lib.data.images import check_images

AB = ("a", "b")


def images(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("x", "message"), [
    (torch.zeros(2, 8, 8), r"need shape \[N, C, H, W\]; got \[2, 8, 8\]"),
    (torch.zeros(2, 1, 8, 8, dtype=torch.uint8), "float dtype in .*torch.uint8"),
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
