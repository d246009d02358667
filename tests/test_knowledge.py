"""What the defender has: how trusted images are drawn, and what is refused."""

import pytest
import torch

from badnets_lib import ImageSet
from badnets_lib.defenses import Holding, check_apart
from badnets_lib.defenses.knowledge import check_holding, pixel_keys


def unequal(counts: tuple[int, ...] = (60, 30, 10), dtype: torch.dtype = torch.float32) -> ImageSet:
    """Grey images, so many of each class, no two alike."""
    y = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    x = (torch.arange(4 * len(y)).view(-1, 1, 2, 2) % 256).to(torch.uint8)
    x[:, 0, 0, 0] = torch.arange(len(y)).to(torch.uint8)
    return ImageSet(x if dtype == torch.uint8 else x.to(dtype) / 255, y, tuple("abcdefghij"[: len(counts)]))


@pytest.mark.parametrize(("n", "counts"), [(10, [6, 3, 1]), (99, [59, 30, 10]), (100, [60, 30, 10]), (3, [2, 1, 0])])
def test_a_proportional_draw_is_as_near_as_whole_numbers_allow(n, counts):
    holding = Holding.draw(unequal(), n, balanced=False)
    assert holding.trusted.counts() == counts
    other = Holding.draw(unequal(), n, balanced=False, seed=1)
    assert other.trusted.counts() == counts
    assert n == 100 or other.trusted.fingerprint != holding.trusted.fingerprint


def test_a_balanced_draw_that_cannot_be_had_names_the_other_kind():
    assert Holding.draw(unequal(), 30).trusted.counts() == [10, 10, 10]
    with pytest.raises(
        ValueError, match="40 trusted images need 1[34] of class 2; the reserve holds 10 of 100; balanced=False"
    ):
        Holding.draw(unequal(), 40, seed=0)
    with pytest.raises(ValueError, match=r"101 trusted images need 61 of class 0; the reserve holds 60 of 100$"):
        Holding.draw(unequal(), 101, balanced=False)


@pytest.mark.usefixtures("unchecked")
def test_wrong_kinds_of_argument_get_one_sentence():
    with pytest.raises(TypeError, match="trusted must be of type ImageSet; got Tensor"):
        Holding(torch.zeros(3, 1, 2, 2))
    with pytest.raises(TypeError, match="trusted images are drawn from an ImageSet; got list"):
        Holding.draw([1, 2, 3], 2)
    with pytest.raises(
        TypeError, match=r"needs a Holding, what the defender has; got ImageSet \(Holding\(images\) makes one\)"
    ):
        check_holding(unequal())
    with pytest.raises(TypeError, match="needs a Holding, what the defender has; got NoneType$"):
        check_holding(None)


@pytest.mark.parametrize("ours", [torch.uint8, torch.float32])
@pytest.mark.parametrize("theirs", [torch.uint8, torch.float32])
def test_an_image_in_both_sets_is_found_however_it_is_stored(ours, theirs):
    every, other = unequal(dtype=ours), unequal(dtype=theirs)
    check_apart(every[:40], other[40:])
    with pytest.raises(ValueError, match="3 of 40 trusted images are also in ImageSet"):
        check_apart(every[:40], other[37:])
    assert pixel_keys(every) == pixel_keys(other)


def test_keys_take_a_few_bytes_an_image_whatever_its_size():
    x = torch.rand(3, 3, 64, 64)
    keys = pixel_keys(ImageSet(x, torch.tensor([0, 1, 0]), ("a", "b")))
    assert [len(key) for key in keys] == [16, 16, 16] and len(set(keys)) == 3
