"""The written answers of a notebook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def written(cells: Sequence[tuple[str, str, str]], questions: Mapping[str, str]) -> dict[str, str]:
    """The written answers by name. One whose cell lost its metadata is looked for behind the question that asks for it.

    Args:
        cells: (kind, grade_id, text) of every cell, in order.
        questions: The text in front of each answer, by the answer's grade_id.
    """
    texts = {name: text for kind, name, text in cells if kind == "markdown" and name in questions}
    for name, question in questions.items():
        if name in texts:
            continue
        places = [at for at, (kind, _, text) in enumerate(cells) if kind == "markdown" and text.strip() == question]
        if places and places[0] + 1 < len(cells):
            kind, own, text = cells[places[0] + 1]
            if kind == "markdown" and not own and text.strip() not in questions.values():
                texts[name] = text
    return texts
