"""Controls for people running the notebooks. The site shows the same calculations without a kernel.

The two texts here have twins in `chapters/_static/calculators.js`; a test holds them together, word for word.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

from .counts import Difference, Proportion


def fraction_text(poisoned: int, clean: int, batch: int, *, added: bool) -> str:
    """The poisoning fraction and what one batch sees, in words.

    Args:
        poisoned: Number of poisoned images k.
        clean: Number of images n before the attack.
        batch: Images per training step.
        added: True if the k images are added as copies, False if they replace originals.

    Raises:
        ValueError: More images would be replaced than there are, or a number is negative.
    """
    if poisoned < 0 or clean < 1 or batch < 1 or (poisoned > clean and not added):
        raise ValueError(f"cannot poison {poisoned:,} of {clean:,} images in batches of {batch:,}")
    total = clean + poisoned if added else clean
    rho = poisoned / total
    none = (1 - rho) ** batch
    return (
        f"rho = {poisoned:,}/{total:,} = {rho:.3%}. "
        f"A batch of {batch} holds {batch * rho:.2f} poisoned images on average; "
        f"{none:.1%} of batches hold none."
    )


def success_text(hits: int, victims: int, false_hits: int, twin_hits: int | None = None) -> str:
    """The attack success rate with its interval, beside what happens without the trigger or without the poison.

    Args:
        hits: Triggered victims that got the target label.
        victims: Test images whose true label is not the target.
        false_hits: Victims that got the target label without the trigger.
        twin_hits: Triggered victims that the clean network gives the target label, if it was measured.

    Raises:
        ValueError: A count is impossible.
    """
    if victims < 1:
        raise ValueError(f"at least one victim is needed; got {victims:,}")
    for name, count in (("hits", hits), ("hits without the trigger", false_hits), ("clean network's hits", twin_hits)):
        if count is not None and not 0 <= count <= victims:
            raise ValueError(f"{name} must lie between 0 and the {victims:,} victims; got {count:,}")
    success = Proportion(hits, victims)
    text = f"ASR = {success}. Without the trigger: {Proportion(false_hits, victims)}."
    if twin_hits is None:
        return text
    twin = Proportion(twin_hits, victims)
    return f"{text} Clean network, with the trigger: {twin}; difference {Difference(success, twin)}."


def fraction_calculator() -> Any:
    """Sliders for the poisoning fraction: images, poisoned images, batch size, replaced or added."""
    from ipywidgets import Checkbox, IntSlider

    return _live(
        fraction_text,
        clean=IntSlider(50_000, 1_000, 60_000, 1_000, description="images n"),
        poisoned=IntSlider(500, 0, 6_000, 50, description="poisoned k"),
        batch=IntSlider(128, 8, 512, 8, description="batch"),
        added=Checkbox(False, description="added as copies"),
    )


def success_calculator() -> Any:
    """Sliders for the attack success rate: victims, hits, hits without the trigger, the clean network's hits."""
    from ipywidgets import IntSlider

    return _live(
        success_text,
        victims=IntSlider(2_000, 10, 9_000, 10, description="victims"),
        hits=IntSlider(1_860, 0, 9_000, 10, description="hits"),
        false_hits=IntSlider(8, 0, 9_000, 1, description="no trigger"),
        twin_hits=IntSlider(12, 0, 9_000, 1, description="clean net"),
    )


def _live(text: Callable[..., str], **controls: Any) -> Any:
    """Controls above one line of text that follows them; an impossible setting says why."""
    from ipywidgets import HTML, VBox

    line = HTML()

    def update(_: Any = None) -> None:
        try:
            line.value = escape(text(**{name: control.value for name, control in controls.items()}))
        except ValueError as error:
            line.value = f"<em>{escape(str(error))}</em>"

    for control in controls.values():
        control.observe(update, "value")
    update()
    return VBox([*controls.values(), line])
