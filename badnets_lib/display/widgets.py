"""Controls that run in the page: two calculators, and sliders over a grid of results.

The calculators count and speak in `web/calculators.js`. The explorer gives its words and intervals to
`web/explorer.js`, which only draws.
"""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from html import escape
from typing import Any

from ..counts import Difference, Proportion
from ..study.results import Results
from .elements import Element

Setting = dict[str, int | float]


def fraction_calculator() -> Element:
    """Sliders for the poisoning fraction: images, poisoned images, batch size, replaced or added.

    They run in the page: no kernel is needed. Where no script runs, the example is shown.
    """
    clean, poisoned, batch = 50_000, 500, 128
    rho = poisoned / clean
    text = (
        f"Example: {poisoned:,} poisoned of {clean:,} images is a poisoning fraction of {rho:.3%}. A batch of {batch} "
        f"holds {batch * rho:.2f} poisoned images on average, and {(1 - rho) ** batch:.1%} of batches hold none."
    )
    return Element("bn-fraction", f"<p>{text}</p>")


def success_calculator() -> Element:
    """Sliders for the attack success rate: victims, hits, hits without the trigger, the clean network's hits.

    They run in the page: no kernel is needed. Where no script runs, the example is shown.
    """
    success, bare, twin = (Proportion(hits, 2_000) for hits in (1_860, 8, 12))
    text = (
        f"Example: {success.hits:,} hits among {success.trials:,} victims are an attack success rate of {success}. "
        f"{bare.hits} victims get the target label without the trigger: {bare}. The clean network gives it to "
        f"{twin.hits} triggered victims: {twin}. The networks differ by {Difference(success, twin)}."
    )
    return Element("bn-success", f"<p>{text}</p>")


def explorer(
    results: Results,
    controls: Mapping[str, str] | None = None,
    along: str = "fraction",
    *,
    start: Mapping[str, int | float] | None = None,
    twin: Results | None = None,
    success: str = "success",
    clean: str = "clean",
) -> Element:
    """Sliders over a grid of finished experiments: a figure on the site, a table where no script runs.

    The figure has ASR and clean accuracy along one axis, with Student's 95% interval of the mean over
    seeds, and below it the words of `explorer_text` for the chosen setting.

    Args:
        results: One row for each setting and seed. Rows with 0 along `along` are the clean twins of the
            others; the words name them, the figure does not, since its axis is logarithmic.
        controls: Axis to its label on the page; a unit stands last, in parentheses: "side (pixels)".
            Default: every axis but the seed and `along`, under its own name.
        along: The axis of the figure. `fraction` is shown as the poisoning fraction rho, in percent.
        start: Values at which sliders begin. Default: the middle of each axis.
        twin: The clean twins, if they are kept elsewhere: one row for each seed, and maybe more seeds.
        success: Name of the counts of attack success.
        clean: Name of the counts of clean accuracy.

    Returns:
        An element that a notebook shows; nothing in it needs a kernel or another host.

    Raises:
        ValueError: There is no such axis, or one too many; an axis holds something else than numbers;
            a row is missing or there twice; or a start is not on the grid.

    Example:
        >>> explorer(bd.results.load("poison_trigger"), {"size": "side (pixels)", "opacity": "opacity"})
        <bn-explorer>
    """
    if controls is None:
        controls = {axis: axis for axis in results.axes if axis not in ("seed", along)}
    labels = {**controls, along: "poisoning fraction rho" if along == "fraction" else along}
    values = _grid(results, labels)
    if 0 in values[along]:
        twin = twin or _pick(results, {along: 0})
        values[along].remove(0)
    if len(values[along]) < 2 or values[along][0] < 0:
        raise ValueError(f"{results.name}: {along} needs 2 values above 0 and none below; got {values[along]}")
    measures = (success, clean)
    cells = [_cell(results, setting, twin, along, measures) for setting in _settings(values)]
    data = {"axes": _axes(values, labels), "start": _indices(values, start or {}), "cells": cells}
    island = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")  # no text can end the script element
    table = _table(results, values, labels, measures)
    return Element("bn-explorer", f'<script type="application/json">{island}</script>{table}')


def explorer_text(
    results: Results,
    setting: Mapping[str, int | float],
    *,
    twin: Results | None = None,
    success: str = "success",
    clean: str = "clean",
) -> str:
    """One setting of a grid in words: means over the seeds, from five on with Student's 95% interval.

    Args:
        results: The finished experiments.
        setting: A value for every axis but the seed, such as {"size": 4, "fraction": 0.01}.
        twin: The clean twins, one row a seed, if there are any.
        success: Name of the counts of attack success.
        clean: Name of the counts of clean accuracy.

    Raises:
        ValueError: There is no such row or no such measure.
    """
    rows = results.where(**setting)
    seeds = "from one seed" if len(rows) == 1 else f"over {len(rows)} seeds"
    parts = [f"ASR {_mean(rows, success)} {seeds}", f"clean accuracy {_mean(rows, clean)}"]
    if twin is not None:
        parts.append(f"clean twin's accuracy {_mean(twin, clean)}")
    place = ", ".join(f"{_symbol(axis)} {_shown(axis, value)}" for axis, value in setting.items())
    return f"{place if place.startswith('rho') else place[:1].upper() + place[1:]}: {'; '.join(parts)}."


def _grid(results: Results, axes: Iterable[str]) -> dict[str, list[int | float]]:
    """The values of each axis, ascending; it is sure that every setting has one row a seed."""
    values = {axis: results.values(axis) for axis in axes}
    for axis, entries in values.items():
        if axis not in results.axes or axis == "seed":
            raise ValueError(f"{results.name} has no axis {axis} to explore; it has {', '.join(results.axes)}")
        if any(isinstance(entry, bool) or not isinstance(entry, int | float) for entry in entries):
            raise ValueError(f"{results.name}: a slider needs numbers; {axis} has {entries}")
        entries.sort()
    for axis in results.axes:
        if axis not in (*values, "seed") and len(results.values(axis)) > 1:
            raise ValueError(f"{results.name} varies {axis} too: make it a control, or choose a value with `where`")
    for setting in _settings(values):
        _one_a_seed(results, setting, results)
    return values


def _settings(values: Mapping[str, list[int | float]]) -> list[Setting]:
    return [dict(zip(values, entries, strict=True)) for entries in itertools.product(*values.values())]


def _pick(results: Results, setting: Setting) -> Results:
    """The rows at a setting, perhaps none."""
    return replace(results, rows=tuple(row for row in results.rows if setting.items() <= row.items()))


def _one_a_seed(results: Results, setting: Setting, model: Results) -> Results:
    """The rows at a setting, of the seeds that `model` has: each seed once."""
    seeds = list(dict.fromkeys(row.get("seed") for row in model.rows))
    rows = tuple(row for row in _pick(results, setting).rows if row.get("seed") in seeds)
    found = [row.get("seed") for row in rows]
    if Counter(found) != Counter(seeds):
        raise ValueError(f"{results.name} needs one row for each seed of {seeds} at {setting}; got seeds {found}")
    return replace(results, rows=rows)


def _cell(
    results: Results, setting: Setting, twin: Results | None, along: str, measures: tuple[str, str]
) -> dict[str, Any]:
    """What the page knows of one setting: its words, and each measure's spread and single seeds."""
    rows = _pick(results, setting)
    success, clean = measures
    if twin is not None:
        shared = {axis: value for axis, value in setting.items() if axis != along and axis in twin.axes}
        twin = _one_a_seed(twin, shared, results)
    return {"text": explorer_text(rows, setting, twin=twin, success=success, clean=clean)} | {
        name: {
            "spread": [round(value, 4) for value in _spread(rows, measure)],
            "seeds": [round(count.value, 4) for count in rows.counts(measure)],
        }
        for name, measure in (("success", success), ("clean", clean))
    }


def _spread(rows: Results, measure: str) -> tuple[float, ...]:
    """Mean, low and high over the seeds; of fewer than five seeds the mean alone."""
    seeds = rows.seeds(measure)
    return (seeds.mean, *(seeds.interval() or ()))


def _mean(rows: Results, measure: str) -> str:
    mean, *ends = (f"{value:.1%}" for value in _spread(rows, measure))
    return f"{mean} [{', '.join(ends)}]" if ends else mean


def _symbol(axis: str) -> str:
    return "rho =" if axis == "fraction" else axis.replace("_", " ")


def _shown(axis: str, value: int | float) -> str:
    """A value as the page writes it; a fraction in percent, with more than two digits where it has them."""
    if axis != "fraction":
        return f"{value:g}"
    return f"{value:.2%}" if round(value, 4) == value else f"{100 * value:g}%"


def _axes(values: Mapping[str, list[int | float]], labels: Mapping[str, str]) -> list[dict[str, Any]]:
    """The sliders, in order."""
    axes = []
    for axis, entries in values.items():
        unit = re.search(r"\(([^()]+)\)$", labels[axis])
        texts = [_shown(axis, value) for value in entries]
        axes.append({"label": labels[axis], "unit": unit[1] if unit else "", "values": entries, "texts": texts})
    return axes


def _indices(values: Mapping[str, list[int | float]], start: Mapping[str, int | float]) -> list[int]:
    """Where on its axis each slider begins."""
    for axis, value in start.items():
        if value not in values.get(axis, []):
            raise ValueError(f"cannot start at {axis} {value}; the grid is {dict(values)}")
    return [entries.index(start[axis]) if axis in start else len(entries) // 2 for axis, entries in values.items()]


def _table(
    results: Results, values: Mapping[str, list[int | float]], labels: Mapping[str, str], measures: tuple[str, str]
) -> str:
    """The means as a table: a row for each setting of the controls, a column for each value along the figure."""
    *controls, along = values
    heads = [labels[axis] for axis in controls] + [f"{_symbol(along)} {_shown(along, v)}" for v in values[along]]
    body = ""
    for setting in _settings({axis: values[axis] for axis in controls}):
        body += "<tr>" + "".join(f'<th scope="row">{_shown(axis, value)}</th>' for axis, value in setting.items())
        for value in values[along]:
            rows = _pick(results, {**setting, along: value})
            body += f"<td>{' / '.join(f'{100 * _spread(rows, measure)[0]:.1f}' for measure in measures)}</td>"
        body += "</tr>"
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    seeds = "one seed" if len(rows) == 1 else f"means over {len(rows)} seeds"
    caption = f"<caption>ASR / clean accuracy in percent, {seeds}</caption>"
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
