import pytest
from hypothesis import given, strategies as st

from badnets_lib import Proportion
from badnets_lib.display.widgets import fraction_calculator, fraction_text, success_calculator, success_text


def parts(calculator):
    """The controls by their descriptions, and the line of text."""
    *controls, line = calculator.children
    return {control.description: control for control in controls}, line


def test_the_fraction_in_words():
    text = fraction_text(500, 50_000, 128, added=False)
    assert text.startswith("rho = 500/50,000 = 1.000%. A batch of 128 holds 1.28 poisoned images on average; 27.6% of")
    assert fraction_text(500, 50_000, 128, added=True).startswith("rho = 500/50,500 = 0.990%.")


@given(st.integers(1, 10**6), st.integers(0, 10**6), st.integers(1, 512), st.booleans())
def test_any_possible_fraction_has_words(clean, poisoned, batch, added):
    if poisoned > clean and not added:
        with pytest.raises(ValueError, match="cannot poison"):
            fraction_text(poisoned, clean, batch, added=added)
    else:
        total = clean + poisoned * added
        assert f"rho = {poisoned:,}/{total:,} = {poisoned / total:.3%}" in fraction_text(
            poisoned, clean, batch, added=added
        )


@pytest.mark.parametrize(("poisoned", "clean", "batch"), [(-1, 10, 8), (1, 0, 8), (1, 10, 0), (11, 10, 8)])
def test_an_impossible_fraction_is_refused(poisoned, clean, batch):
    with pytest.raises(ValueError, match="cannot poison"):
        fraction_text(poisoned, clean, batch, added=False)


def test_the_success_in_words():
    text = success_text(1860, 2000, 8)
    assert f"ASR = {Proportion(1860, 2000)}" in text and f"Without the trigger: {Proportion(8, 2000)}" in text


@pytest.mark.parametrize(("hits", "victims", "false_hits"), [(11, 10, 0), (0, 10, 11), (-1, 10, 0), (0, 0, 0)])
def test_an_impossible_success_is_refused(hits, victims, false_hits):
    with pytest.raises(ValueError, match="got"):
        success_text(hits, victims, false_hits)


def test_the_fraction_calculator_follows_its_sliders():
    controls, line = parts(fraction_calculator())
    assert "rho = 500/50,000" in line.value
    controls["poisoned k"].value = 1000
    assert "rho = 1,000/50,000 = 2.000%" in line.value
    controls["added as copies"].value = True
    assert "rho = 1,000/51,000" in line.value
    controls["batch"].value = 8
    assert "A batch of 8 holds" in line.value


def test_the_fraction_calculator_says_why_a_setting_is_impossible():
    controls, line = parts(fraction_calculator())
    controls["images n"].value = 1000
    controls["poisoned k"].value = 6000
    assert "cannot poison 6,000 of 1,000 images" in line.value and "rho" not in line.value
    controls["added as copies"].value = True
    assert "rho = 6,000/7,000" in line.value


def test_the_success_calculator_follows_its_sliders_and_says_why_a_setting_is_impossible():
    controls, line = parts(success_calculator())
    assert str(Proportion(1860, 2000)) in line.value
    controls["hits"].value = 1000
    assert str(Proportion(1000, 2000)) in line.value
    controls["victims"].value = 500
    assert "ASR" not in line.value and "500" in line.value and "1,000" in line.value.replace("1000", "1,000")
    controls["hits"].value = 100
    assert str(Proportion(100, 500)) in line.value
