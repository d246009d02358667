"""A Sphinx extension: a titled image that stands alone is a figure, its title the caption; figures have numbers.

In a chapter, `![what it shows](images/name.svg "What to see.")` reads well on Colab, too. The caption of a cell's
figure stands in the cell's metadata, as `{"mystnb": {"figure": {"caption": "What to see."}}}`.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.transforms import SphinxTransform


class Captions(SphinxTransform):
    """Makes figures of titled images, and numbers all figures of a chapter: Figure 4.1, Figure 4.2 and so on."""

    default_priority = 200

    def apply(self, **_: Any) -> None:
        """Change the document in place."""
        for image in list(self.document.findall(nodes.image)):
            alone = isinstance(image.parent, nodes.paragraph) and len(image.parent) == 1
            if alone and image.get("title"):
                image.parent.replace_self(_figure(image))
        chapter = re.match(r"\d\d(?=_)", self.env.docname.rpartition("/")[2])
        if chapter:
            for number, caption in enumerate(self.document.findall(nodes.caption), start=1):
                label = f"Figure {int(chapter[0])}.{number}. "
                caption.insert(0, nodes.inline(label, label, classes=["caption-number"]))


def _figure(image: nodes.image) -> nodes.figure:
    text = image.attributes.pop("title")
    return nodes.figure("", image, nodes.caption(text, text))


def _no_other_numbers(_: Sphinx, config: Config) -> None:
    """An extension of Jupyter Book turns on Sphinx's own numbers, which run through the whole book."""
    config.numfig = False


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the transform; the figures of notebooks exist by then, too."""
    app.add_transform(Captions)
    app.connect("config-inited", _no_other_numbers, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
