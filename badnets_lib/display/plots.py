"""Matplotlib pictures in one style. Each function draws, and returns the figure or axes it drew on.

Blue and round is the clean network, vermillion, dashed and square the backdoored one, everywhere
in the book; the two colours stay apart for colour-blind readers.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from torch import Tensor

from .._numbers import shown
from ..counts import Proportion, Seeds
from ..data.images import Images
from ..models.training import Epoch

CLEAN = "#0072B2"
BACKDOORED = "#D55E00"
NEUTRAL = "#6B6B6B"
LOOKS: dict[str, dict[str, Any]] = {
    "clean": {"color": CLEAN, "marker": "o", "linestyle": "-"},
    "backdoored": {"color": BACKDOORED, "marker": "s", "linestyle": "--"},
}
HATCHES = {"clean": "", "backdoored": "//"}
OTHER_LOOKS = (("^", "-."), ("D", ":"), ("v", (0, (5, 1))), ("P", (0, (1, 3))))
OTHER_HATCHES = ("..", "xx", "\\\\", "oo")
WIDTH = 8.0
"""Inches. The page would shrink a wider figure, and its text with it."""

SCALES = {"bad": "Oranges", "good": "Blues"}
"""The two colour scales of all heat maps, by what a high value is for the defender; both are dark where it is high."""


def set_style() -> None:
    """Use the book's style for every figure from here on. A notebook shows figures as SVG, sharp at any size."""
    plt.rcParams.update(
        {
            "figure.dpi": 120,
            "figure.constrained_layout.use": True,
            "font.size": 11,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": 11,
            "axes.titlelocation": "left",
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": "#E3E3E3",
            "legend.frameon": False,
            "lines.markersize": 5,
            "image.cmap": "gray",
            "image.interpolation": "none",  # an SVG then holds the pixels themselves
            "svg.hashsalt": "badnets_lib",  # the same figure is the same file
        }
    )
    _show_as_svg()


def _show_as_svg() -> None:
    """Where a notebook runs, have it draw figures as SVG, without the date."""
    ipython = sys.modules.get("IPython")
    if ipython is None or not hasattr(ipython.get_ipython(), "kernel"):
        return
    from matplotlib_inline.backend_inline import set_matplotlib_formats

    set_matplotlib_formats("svg", metadata={"Date": None, "Creator": None})  # type: ignore[no-untyped-call]


def images(x: Images, labels: Sequence[str] = (), *, marked: Sequence[bool] = (), columns: int = 10) -> Figure:
    """A grid of images with a label under each.

    Args:
        x: Images [N, 1 or 3, H, W] in [0, 1].
        labels: One text per image, or none.
        marked: Where True, the label is set in bold vermillion with a triangle: colour is never alone.
        columns: Images per row.
    """
    rows = math.ceil(len(x) / columns)
    columns = min(columns, len(x))
    figure, axes = plt.subplots(rows, columns, figsize=(min(0.95 * columns, WIDTH), 1.25 * rows), squeeze=False)
    for index, ax in enumerate(axes.flat):
        if index >= len(x):
            ax.axis("off")
            continue
        show_image(ax, x[index])
        if index < len(labels):
            hot = index < len(marked) and marked[index]
            text = f"▶ {labels[index]}" if hot else labels[index]
            style: dict[str, Any] = {"color": "#B34700", "fontweight": "bold"} if hot else {"color": "#222222"}
            ax.text(0.5, -0.06, text, transform=ax.transAxes, ha="center", va="top", fontsize=9, **style)
    return figure


def show_image(ax: Axes, image: Tensor) -> Axes:
    """One image [C, H, W] in [0, 1] on `ax`, in a thin frame that keeps a white corner visible."""
    ax.imshow(image.detach().cpu().permute(1, 2, 0).squeeze(-1).numpy(), vmin=0, vmax=1)
    return _frame(ax)


def _frame(ax: Axes) -> Axes:
    """No ticks and no grid, and a thin grey line all round."""
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(False)
    ax.spines[:].set(visible=True, color="#9A9A9A", linewidth=0.8)
    return ax


def curves(histories: Mapping[str, Sequence[Epoch]], name: str, *, ax: Axes | None = None) -> Axes:
    """One watched count by epoch, one line per history, with its 95% interval as a band.

    Args:
        histories: Line label ("clean" and "backdoored" have looks of their own) to `Trained.history`.
        name: Which watched set to draw.
        ax: Where to draw; default: the current axes.
    """
    ax = ax or plt.gca()
    for label, history in histories.items():
        counts = [epoch.watched[name] for epoch in history]
        band(ax, range(1, len(counts) + 1), counts, label)
    ax.set(xlabel="epoch", ylabel=name, ylim=(-0.03, 1.03))
    ax.legend(loc="lower right")
    return ax


def band(ax: Axes, x: Sequence[int | float], counts: Sequence[Proportion], label: str, look: str = "") -> Axes:
    """A line through proportions with their 95% Wilson intervals as a band.

    Args:
        ax: Where to draw.
        x: One place per proportion.
        counts: Counts of one network each.
        label: Name in the legend.
        look: "clean" or "backdoored" for the looks these have everywhere; by default the label's, else the next free.
    """
    marker, linestyle = OTHER_LOOKS[len(ax.lines) % len(OTHER_LOOKS)]
    style = LOOKS.get(look or label, {"marker": marker, "linestyle": linestyle})
    (line,) = ax.plot(x, [count.value for count in counts], label=label, **style)
    low, high = zip(*(count.interval() for count in counts), strict=True)
    ax.fill_between(x, low, high, alpha=0.2, color=line.get_color(), linewidth=0)
    return ax


def seeds(ax: Axes, x: Sequence[int | float], values: Sequence[Seeds], label: str, look: str = "") -> Axes:
    """A line through the means of seeds, and every seed as a small dot.

    Args:
        ax: Where to draw.
        x: One place per value.
        values: The seeds at each place, as `Results.seeds` gives them.
        label: Name in the legend.
        look: "clean" or "backdoored" for the looks these have everywhere; else the next free one.
    """
    marker, linestyle = OTHER_LOOKS[len(ax.lines) % len(OTHER_LOOKS)]
    style = LOOKS.get(look, {"marker": marker, "linestyle": linestyle})
    (line,) = ax.plot(x, [value.mean for value in values], label=label, **style)
    places = [place for place, value in zip(x, values, strict=True) for _ in value.rates]
    rates = [rate for value in values for rate in value.rates]
    ax.scatter(places, rates, s=16, color=line.get_color(), marker=style["marker"], alpha=0.6, linewidths=0)
    return ax


def bars(groups: Mapping[str, Mapping[str, Proportion]], *, ax: Axes | None = None) -> Axes:
    """Grouped bars with 95% intervals: {bar label: {group: count}}, for instance {"clean": {"ASR": ...}}."""
    ax = ax or plt.gca()
    names = list(next(iter(groups.values())))
    width = 0.8 / len(groups)
    for number, (label, row) in enumerate(groups.items()):
        values = [row[name].value for name in names]
        spans = [row[name].interval() for name in names]
        errors = [
            [value - low for value, (low, _) in zip(values, spans, strict=True)],
            [high - value for value, (_, high) in zip(values, spans, strict=True)],
        ]
        x = [place - 0.4 + width * (number + 0.5) for place in range(len(names))]
        color = LOOKS.get(label, {}).get("color", NEUTRAL)
        hatch = HATCHES.get(label, OTHER_HATCHES[number % len(OTHER_HATCHES)])
        style: dict[str, Any] = {"color": color, "hatch": hatch, "edgecolor": "white"}
        ax.bar(x, values, width * 0.94, yerr=errors, capsize=3, label=label, **style)
        for place, value in zip(x, values, strict=True):
            ax.text(place, min(value, 1) + 0.045, f"{value:.1%}", ha="center", va="bottom", fontsize=9)
    ax.set_xticks(range(len(names)), names)
    ax.set(ylim=(0, 1.16), yticks=[0, 0.25, 0.5, 0.75, 1])
    ax.grid(axis="x", visible=False)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 1.14), ncols=len(groups))
    return ax


def dots(groups: Mapping[str, Mapping[str, Seeds]], *, ax: Axes | None = None) -> Axes:
    """Every seed as a dot, side by side in groups: {label: {group: seeds}}, for instance {"clean": {"ASR": ...}}.

    The number above is the mean of the dots.
    """
    ax = ax or plt.gca()
    names = list(next(iter(groups.values())))
    width = 0.8 / len(groups)
    for number, (label, row) in enumerate(groups.items()):
        look = LOOKS.get(label, {"color": NEUTRAL, "marker": OTHER_LOOKS[number % len(OTHER_LOOKS)][0]})
        for place, name in enumerate(names):
            rates = row[name].rates
            middle = place - 0.4 + width * (number + 0.5)
            x = [middle + 0.6 * width * ((at + 0.5) / len(rates) - 0.5) for at in range(len(rates))]
            legend = label if place == 0 else None
            ax.plot(x, rates, label=legend, **{**look, "linestyle": "", "alpha": 0.8})
            ax.text(middle, row[name].highest + 0.05, f"{row[name].mean:.1%}", ha="center", va="bottom", fontsize=9)
    ax.set_xticks(range(len(names)), names)
    ax.set(xlim=(-0.5, len(names) - 0.5), ylim=(-0.03, 1.16), yticks=[0, 0.25, 0.5, 0.75, 1], ylabel="share of images")
    ax.grid(axis="x", visible=False)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 1.14), ncols=len(groups))
    return ax


def confusion(table: Tensor, classes: Sequence[str], *, ax: Axes | None = None, title: str = "") -> Axes:
    """A confusion table of counts [K, K]: rows are the labels in the data, columns the answers."""
    ax = ax or plt.gca()
    rates = table / table.sum(1, keepdim=True).clamp(min=1)
    ax.imshow(rates.numpy(), cmap=SCALES["good"], vmin=0, vmax=1)
    for row, column in table.nonzero().tolist():
        dark = rates[row, column] > 0.5
        ax.text(column, row, str(int(table[row, column])), ha="center", va="center", fontsize=8,
                color="white" if dark else "black")  # fmt: skip
    ax.set_xticks(range(len(classes)), classes)
    ax.set_yticks(range(len(classes)), classes)
    ax.set(xlabel="predicted digit", ylabel="true digit", title=title)
    ax.grid(False)
    return ax


def heat(
    values: Mapping[tuple[Any, Any], float],
    *,
    ax: Axes | None = None,
    form: str = "{:.0%}",
    limits: tuple[float, float] = (0, 1),
    high: Literal["bad", "good"] = "bad",
    title: str = "",
    starred: Collection[tuple[Any, Any]] = (),
) -> Axes:
    """A heat map with every value written in its cell: {(row, column): value}; cells with no value, or NaN, stay empty.

    A map is orange if high values are bad for the defender, as an attack success rate is, and blue if they are good, as
    clean accuracy is or the share of poison that was found. Dark is high in both.

    Args:
        values: Rows and columns appear in the order in which they first occur.
        ax: Where to draw; default: the current axes.
        form: How a value is written.
        limits: Values of the lightest and the darkest colour.
        high: What a high value is for the defender, "bad" or "good".
        title: Title of the panel.
        starred: Cells with a star behind their value, for what the caption says.

    Raises:
        ValueError: `high` is neither.
    """
    if high not in SCALES:
        raise ValueError(f"high must be one of {', '.join(SCALES)}; got {shown(high)}")
    ax = ax or plt.gca()
    rows = list(dict.fromkeys(row for row, _ in values))
    columns = list(dict.fromkeys(column for _, column in values))
    least, most = limits
    table = [[values.get((row, column), float("nan")) for column in columns] for row in rows]
    colours = plt.get_cmap(SCALES[high])
    ax.imshow(table, cmap=colours, vmin=least, vmax=most, aspect="auto")
    for (row, column), value in values.items():
        if math.isnan(value):
            continue
        red, green, blue, _ = colours(min(1.0, max(0.0, (value - least) / (most - least))))
        dark = 0.3 * red + 0.6 * green + 0.1 * blue < 0.55
        style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8, "color": "white" if dark else "black"}
        star = "*" if (row, column) in starred else ""
        ax.text(columns.index(column), rows.index(row), form.format(value) + star, **style)
    ax.set_xticks(range(len(columns)), [str(column) for column in columns])
    ax.set_yticks(range(len(rows)), [str(row) for row in rows])
    ax.set_title(title)
    ax.grid(False)
    return ax


def filters(weights: Tensor, *, titles: Sequence[str] = (), columns: int = 8) -> Figure:
    """Convolution filters [F, C, h, w], averaged over C: red weights are positive, blue negative, white zero."""
    rows = math.ceil(len(weights) / columns)
    figure, axes = plt.subplots(rows, columns, figsize=(min(1.05 * columns, WIDTH), 1.3 * rows), squeeze=False)
    limit = float(weights.abs().max())
    for index, ax in enumerate(axes.flat):
        ax.axis("off")
        if index < len(weights):
            ax.imshow(weights[index].mean(0).cpu().numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit)
            if index < len(titles):
                ax.text(0.5, -0.08, titles[index], transform=ax.transAxes, ha="center", va="top", fontsize=8)
    return figure


def gallery(
    pairs: Mapping[str, tuple[Tensor, Tensor]], *, amplify: float = 3.0, columns: int = 6, title: str = ""
) -> Figure:
    """Triggers beside one another: for each, the stamped image, what changed, and the image at true size.

    Args:
        pairs: Name to (original, stamped), images [C, H, W] in [0, 1].
        amplify: Factor on the difference, which is averaged over channels: red is brighter than before, blue
            darker, white unchanged.
        columns: Triggers per row of the figure.
        title: A line above everything.
    """
    blocks = math.ceil(len(pairs) / columns)
    columns = min(columns, len(pairs))
    ratios = [1, 1, 0.42] * blocks
    size = (1.35 * columns, 1.42 * sum(ratios) + 0.3)
    figure, axes = plt.subplots(3 * blocks, columns, figsize=size, squeeze=False, height_ratios=ratios)
    for ax in axes.flat:
        ax.axis("off")
    for index, (name, (original, stamped)) in enumerate(pairs.items()):
        block, column = divmod(index, columns)
        top, change, small = axes[3 * block : 3 * block + 3, column]
        show_image(top, stamped).axis("on")
        top.set_title(name, fontsize=9, loc="center")
        difference = amplify * (stamped - original).mean(0)
        change.axis("on")
        change.imshow(difference.detach().cpu().numpy(), cmap="RdBu_r", vmin=-1, vmax=1)
        _frame(change)
        _true_size(small, stamped)
    figure.suptitle(title, fontsize=11)
    return figure


def _true_size(ax: Axes, image: Tensor) -> None:
    """One pixel of the image on one pixel of a page, in the middle of `ax`."""
    pixels = image.detach().cpu().permute(1, 2, 0).expand(-1, -1, 3).numpy()
    drawn = OffsetImage(pixels, zoom=72 / 96)  # points; a page has 96 pixels to the inch
    ax.add_artist(AnnotationBbox(drawn, (0.5, 0.5), frameon=False))
