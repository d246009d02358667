import math

import pytest
import torch

from badnets_lib import Patch
from badnets_lib.evaluation.visibility import Visibility, psnr, ssim, visibility


@pytest.fixture
def x():
    return torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def test_psnr_follows_its_formula(x):
    stamped = Patch(size=3, value=0.0)(x)
    error = ((x - stamped) ** 2).mean((1, 2, 3))
    assert torch.allclose(psnr(x, stamped), 10 * (1 / error).log10(), atol=1e-3)


@pytest.mark.parametrize(("a", "b"), [(0.5, 0.6), (0.0, 0.1), (1.0, 0.2)])
def test_ssim_of_flat_images_is_its_brightness_term(a, b):
    flat = [torch.full((2, 1, 16, 16), value) for value in (a, b)]
    expected = (2 * a * b + 0.01**2) / (a**2 + b**2 + 0.01**2)
    assert ssim(*flat).tolist() == pytest.approx([expected] * 2, abs=1e-4)


def test_unchanged_images_are_counted_and_have_no_finite_psnr(x):
    same = visibility(x, x.clone())
    assert same.psnr == math.inf and same.ssim == pytest.approx(1) and same.unchanged == 4
    half = x.clone()
    half[:2] = 1 - half[:2]
    assert visibility(x, half).unchanged == 2 and visibility(x, half).psnr == math.inf


def test_a_fainter_trigger_is_less_visible(x):
    strong, faint = (visibility(x, Patch(size=6, opacity=opacity)(x)) for opacity in (1.0, 0.1))
    assert faint.psnr > strong.psnr + 10 and faint.ssim > strong.ssim
    assert strong.unchanged == 0 and -1 <= strong.ssim <= 1


def test_it_is_the_mean_over_images_and_prints_with_units(x):
    stamped = Patch()(x)
    seen = visibility(x, stamped)
    assert seen.psnr == pytest.approx(float(psnr(x, stamped).mean()))
    assert seen.ssim == pytest.approx(float(ssim(x, stamped).mean()))
    assert str(Visibility(20.04, 0.5)) == "PSNR 20.0 dB, SSIM 0.500"


def test_many_images_are_measured_some_at_a_time():
    x = torch.rand(130, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    stamped = Patch(size=3)(x)
    for metric in (psnr, ssim):
        assert torch.equal(
            metric(x, stamped), torch.cat([metric(x[i : i + 1], stamped[i : i + 1]) for i in range(130)])
        )


def test_colour_and_half_precision_work():
    x = torch.rand(2, 3, 12, 14).half()
    assert ssim(x, x).tolist() == pytest.approx([1, 1], abs=1e-3)


@pytest.mark.parametrize(("shape", "message"), [
    ((4, 1, 16, 15), "must have one shape"),
    ((4, 1, 10, 16), "must have one shape"),
])  # fmt: skip
def test_other_shapes_are_refused(x, shape, message, unchecked):
    with pytest.raises(ValueError, match=message):
        visibility(x, torch.zeros(shape))


@pytest.mark.parametrize("shape", [(0, 1, 16, 16), (2, 1, 10, 16)])
def test_too_little_to_measure_is_refused(shape):
    with pytest.raises(ValueError, match="needs at least one image of 11x11 pixels"):
        visibility(torch.zeros(shape), torch.zeros(shape))
