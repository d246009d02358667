"""The faces of road signs and the stickers put on them, drawn from discs, polygons, strokes and letters.

A `Shape` gives the signed distance of points to an outline, negative inside. A face is a tuple of
layers (shape, colour), painted one over the other in the unit square: x to the right, y down.
Every picture here is our own simplification; none is a copy of an official drawing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

Points = Float[Tensor, "... 2"]
Distances = Float[Tensor, "..."]
Shape: TypeAlias = Callable[[Tensor], Tensor]
Colour: TypeAlias = tuple[float, float, float]
Layer: TypeAlias = tuple[Shape, Colour]
Number: TypeAlias = float | int
Point: TypeAlias = tuple[Number, Number]

WHITE, BLACK, RED = (0.96, 0.96, 0.94), (0.07, 0.07, 0.08), (0.76, 0.08, 0.11)
AMBER, BLUE, GREEN = (0.98, 0.70, 0.06), (0.05, 0.30, 0.66), (0.10, 0.55, 0.22)
PAPER_YELLOW, PINK = (1.0, 0.93, 0.20), (0.93, 0.35, 0.62)


def paint(layers: Sequence[Layer], points: Points, pixel: float) -> Float[Tensor, "4 ..."]:
    """Layers over one another, seen at `points`: premultiplied red, green, blue, and coverage.

    Args:
        layers: Shapes and their colours, the lowest first.
        points: Where to look, in the shapes' own units.
        pixel: Width of a pixel in the same units; edges are smoothed over one pixel.
    """
    seen = points.new_zeros(4, *points.shape[:-1])
    for shape, colour in layers:
        cover = (0.5 - shape(points) / pixel).clamp(0, 1)
        ink = points.new_tensor((*colour, 1.0)).view(4, *[1] * cover.ndim)
        seen = seen * (1 - cover) + ink * cover
    return seen


def disc(x: Number, y: Number, radius: Number) -> Shape:
    """A filled circle."""
    return lambda p: _length(p - p.new_tensor((x, y))) - radius


def polygon(*corners: Point) -> Shape:
    """A filled convex polygon; corners run clockwise on the page."""

    def distance(p: Tensor) -> Tensor:
        sides = []
        for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
            length = ((bx - ax) ** 2 + (by - ay) ** 2) ** 0.5
            sides.append(((p[..., 0] - ax) * (by - ay) - (p[..., 1] - ay) * (bx - ax)) / length)
        return torch.stack(sides).amax(0)

    return distance


def rectangle(left: Number, top: Number, right: Number, bottom: Number) -> Shape:
    """A filled rectangle."""
    return polygon((left, top), (right, top), (right, bottom), (left, bottom))


def stroke(width: Number, *points: Point) -> Shape:
    """A line through `points` with round ends."""

    def distance(p: Tensor) -> Tensor:
        parts = []
        for (ax, ay), (bx, by) in pairwise(points):
            start, way = p.new_tensor((ax, ay)), p.new_tensor((bx - ax, by - ay))
            from_start = p - start
            along = (from_start * way).sum(-1, keepdim=True) / float((way * way).sum())
            parts.append(_length(from_start - along.clamp(0, 1) * way))
        return torch.stack(parts).amin(0) - width / 2

    return distance


def union(*shapes: Shape) -> Shape:
    """Everything inside one of the shapes."""
    return lambda p: torch.stack([shape(p) for shape in shapes]).amin(0)


def rim(shape: Shape, inset: Number) -> Shape:
    """The same shape, smaller by `inset` on every side."""
    return lambda p: shape(p) + inset


def placed(shape: Shape, at: Point, size: Number) -> Shape:
    """A shape drawn in the unit square, moved so that the square has its centre at `at` and this size."""
    return lambda p: shape((p - p.new_tensor(at)) / size + 0.5) * size


def _length(p: Tensor) -> Tensor:
    return (p * p).sum(-1).sqrt()


# --- letters: strokes on a grid two wide and four high ---

_GLYPHS: dict[str, tuple[tuple[Point, ...], ...]] = {
    "0": (((0, 0.5), (0.5, 0), (1.5, 0), (2, 0.5), (2, 3.5), (1.5, 4), (0.5, 4), (0, 3.5), (0, 0.5)),),
    "3": (((0, 0), (1.7, 0), (2, 0.4), (2, 1.6), (1.6, 2), (2, 2.4), (2, 3.6), (1.7, 4), (0, 4)), ((0.7, 2), (1.6, 2))),
    "5": (((2, 0), (0, 0), (0, 1.8), (1.6, 1.8), (2, 2.2), (2, 3.6), (1.6, 4), (0, 4)),),
    "8": (
        ((0.3, 0), (1.7, 0), (2, 0.4), (2, 1.5), (0, 2.5), (0, 3.6), (0.3, 4), (1.7, 4), (2, 3.6), (2, 2.5)),
        ((2, 2.5), (0, 1.5), (0, 0.4), (0.3, 0)),
    ),
    "O": (((0, 0.5), (0.5, 0), (1.5, 0), (2, 0.5), (2, 3.5), (1.5, 4), (0.5, 4), (0, 3.5), (0, 0.5)),),
    "P": (((0, 4), (0, 0), (1.6, 0), (2, 0.4), (2, 1.7), (1.6, 2.1), (0, 2.1)),),
    "S": (((2, 0.3), (1.7, 0), (0.3, 0), (0, 0.4), (0, 1.5), (2, 2.5), (2, 3.6), (1.7, 4), (0.3, 4), (0, 3.7)),),
    "T": (((0, 0), (2, 0)), ((1, 0), (1, 4))),
}  # fmt: skip


def letters(text: str, x: Number, y: Number, height: Number, weight: Number = 0.8) -> Shape:
    """Text with its centre at (x, y); `weight` is the width of a stroke in quarters of the height."""
    unit = height / 4
    strokes: list[Shape] = []
    left = x - unit * (3.4 * len(text) - 1.4) / 2
    for number, letter in enumerate(text):
        for line in _GLYPHS[letter]:
            moved = [(left + unit * (3.4 * number + px), y + unit * (py - 2)) for px, py in line]
            strokes.append(stroke(weight * unit, *moved))
    return union(*strokes)


# --- boards ---


def _regular(corners: Sequence[Point]) -> Shape:
    return polygon(*((0.5 + px / 2, 0.5 + py / 2) for px, py in corners))


_C = 0.41421356  # tan(22.5 degrees): an octagon's corner
_OCTAGON = _regular(((-_C, -1.0), (_C, -1.0), (1.0, -_C), (1.0, _C), (_C, 1.0), (-_C, 1.0), (-1.0, _C), (-1.0, -_C)))
_DIAMOND = _regular(((0.0, -1.0), (1.0, 0.0), (0.0, 1.0), (-1.0, 0.0)))
_POINT_DOWN = _regular(((-1.0, -0.87), (1.0, -0.87), (0.0, 0.87)))
_POINT_UP = _regular(((0.0, -0.87), (1.0, 0.87), (-1.0, 0.87)))
_ROUND, _TALL, _WIDE = disc(0.5, 0.5, 0.5), rectangle(0.12, 0, 0.88, 1), rectangle(0.03, 0.03, 0.97, 0.97)
_ARROW = union(stroke(0.1, (0.5, 0.78), (0.5, 0.4)), polygon((0.5, 0.18), (0.68, 0.45), (0.32, 0.45)))
_WALKER = union(
    disc(0.5, 0.27, 0.07), stroke(0.1, (0.5, 0.38), (0.48, 0.56)), stroke(0.06, (0.36, 0.5), (0.5, 0.4), (0.63, 0.5)),
    stroke(0.07, (0.38, 0.77), (0.48, 0.56), (0.6, 0.77)),
)  # fmt: skip


def _limit(number: str) -> tuple[Layer, ...]:
    words = union(stroke(0.055, (0.3, 0.15), (0.7, 0.15)), stroke(0.055, (0.32, 0.27), (0.68, 0.27)))
    board = ((_TALL, WHITE), (rim(_TALL, 0.04), BLACK), (rim(_TALL, 0.075), WHITE))
    return (*board, (words, BLACK), (letters(number, 0.5, 0.64, 0.4, 0.75), BLACK))


def _diamond(*picture: Layer) -> tuple[Layer, ...]:
    return ((_DIAMOND, AMBER), (rim(_DIAMOND, 0.03), BLACK), (rim(_DIAMOND, 0.06), AMBER), *picture)


def _prohibits(*picture: Layer) -> tuple[Layer, ...]:
    return ((_ROUND, RED), (rim(_ROUND, 0.1), AMBER), *picture)


def _warns(*picture: Layer) -> tuple[Layer, ...]:
    return ((_POINT_UP, RED), (rim(_POINT_UP, 0.085), AMBER), *picture)


_LAMPS = ((rectangle(0.39, 0.22, 0.61, 0.78), BLACK), (disc(0.5, 0.33, 0.075), RED), (disc(0.5, 0.5, 0.075), WHITE),
          (disc(0.5, 0.67, 0.075), GREEN))  # fmt: skip
_CARS = ((rectangle(0.22, 0.38, 0.46, 0.62), RED), (rectangle(0.54, 0.38, 0.78, 0.62), BLACK))

FACES: dict[str, dict[str, tuple[Layer, ...]]] = {
    "signs": {
        "speed limit 30": _limit("30"),
        "speed limit 50": _limit("50"),
        "speed limit 80": _limit("80"),
        "stop": ((_OCTAGON, WHITE), (rim(_OCTAGON, 0.035), RED), (letters("STOP", 0.5, 0.5, 0.26), WHITE)),
        "yield": ((_POINT_DOWN, RED), (rim(_POINT_DOWN, 0.11), WHITE)),
        "no entry": ((_ROUND, WHITE), (rim(_ROUND, 0.03), RED), (rectangle(0.2, 0.41, 0.8, 0.59), WHITE)),
        "railway crossing": (
            (_ROUND, AMBER), (rim(_ROUND, 0.03), BLACK), (rim(_ROUND, 0.07), AMBER),
            (union(stroke(0.1, (0.22, 0.22), (0.78, 0.78)), stroke(0.1, (0.78, 0.22), (0.22, 0.78))), BLACK),
        ),
        "warning: bend": _diamond(
            (stroke(0.09, (0.42, 0.75), (0.42, 0.5), (0.55, 0.38)), BLACK),
            (polygon((0.7, 0.24), (0.66, 0.5), (0.44, 0.29)), BLACK),
        ),
        "warning: signals": _diamond(*_LAMPS),
        "warning: pedestrians": _diamond((_WALKER, BLACK)),
    },
    "signs_b": {
        "information: parking": ((_WIDE, WHITE), (rim(_WIDE, 0.04), BLUE), (letters("P", 0.5, 0.5, 0.6), WHITE)),
        "information: dead end": (
            (_WIDE, WHITE), (rim(_WIDE, 0.04), BLUE), (stroke(0.15, (0.5, 0.85), (0.5, 0.35)), WHITE),
            (stroke(0.17, (0.27, 0.28), (0.73, 0.28)), RED),
        ),
        "mandatory: ahead": ((_ROUND, WHITE), (rim(_ROUND, 0.03), BLUE), (_ARROW, WHITE)),
        "mandatory: right": ((_ROUND, WHITE), (rim(_ROUND, 0.03), BLUE), (lambda p: _ARROW(_turned(p)), WHITE)),
        "mandatory: left": ((_ROUND, WHITE), (rim(_ROUND, 0.03), BLUE), (lambda p: _ARROW(1 - _turned(p)), WHITE)),
        "prohibitory: vehicles": _prohibits(),
        "prohibitory: passing": _prohibits(*_CARS),
        "prohibitory: ahead": _prohibits((_ARROW, BLACK), (stroke(0.09, (0.2, 0.25), (0.8, 0.75)), RED)),
        "warning: danger": _warns((union(stroke(0.11, (0.5, 0.38), (0.5, 0.6)), disc(0.5, 0.75, 0.06)), BLACK)),
        "warning: crossroads": _warns(
            (union(stroke(0.1, (0.5, 0.36), (0.5, 0.82)), stroke(0.1, (0.33, 0.63), (0.67, 0.63))), BLACK),
        ),
        "other: priority road": ((_DIAMOND, WHITE), (rim(_DIAMOND, 0.03), BLACK), (rim(_DIAMOND, 0.06), WHITE),
                                 (rim(_DIAMOND, 0.13), AMBER)),
        "other: bus stop": ((_TALL, BLUE), (rim(_TALL, 0.1), WHITE), (rectangle(0.32, 0.3, 0.68, 0.62), BLACK),
                            (union(disc(0.39, 0.68, 0.06), disc(0.61, 0.68, 0.06)), BLACK)),
    },
}  # fmt: skip
"""Data set to class name to face. The order is the label order."""


def _turned(p: Tensor) -> Tensor:
    """Points seen after a quarter turn: a picture that points up then points right."""
    return torch.stack([p[..., 1], 1 - p[..., 0]], -1)


_PETALS = tuple(disc(0.5 + 0.29 * px, 0.5 + 0.29 * py, 0.19)
                for px, py in ((0, -1), (0.95, -0.31), (0.59, 0.81), (-0.59, 0.81), (-0.95, -0.31)))  # fmt: skip

STICKERS: dict[str, tuple[Layer, ...]] = {
    "square": ((rectangle(0, 0, 1, 1), PAPER_YELLOW),),
    "bomb": (
        (disc(0.45, 0.6, 0.4), WHITE), (disc(0.45, 0.6, 0.34), BLACK), (disc(0.33, 0.48, 0.08), WHITE),
        (stroke(0.12, (0.66, 0.36), (0.82, 0.2)), BLACK), (disc(0.87, 0.13, 0.13), RED),
        (disc(0.87, 0.13, 0.06), AMBER),
    ),
    "flower": ((union(*_PETALS), PINK), (disc(0.5, 0.5, 0.17), PAPER_YELLOW)),
}  # fmt: skip
"""What can be stuck on a sign, drawn in the unit square."""
