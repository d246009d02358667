"""The book's interactive elements, as HTML that works wherever a notebook is shown.

The site's pages bring the scripts of the elements themselves. Elsewhere, on Colab, in JupyterLab or in an editor, the
output carries them: nothing in it needs a kernel, or asks another host.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

WEB = Path(__file__).parent / "web"
ON_THE_SITE = "BADNETS_SITE"
"""Environment variable that is set while outputs are recorded for the site, which has the scripts."""

MODULES = {
    "bn-explorer": ("toolkit", "explorer"),
    "bn-fraction": ("toolkit", "counts", "calculators"),
    "bn-success": ("toolkit", "counts", "calculators"),
    "bn-table": ("toolkit", "tables"),
}
"""What each element's script is made of, what it needs first."""


@dataclass(frozen=True, repr=False)
class Element:
    """An element and what is shown in its place where no script runs. A notebook shows it.

    Args:
        tag: Its name, one of `MODULES`.
        inside: HTML that stands for it in print and without scripts.
    """

    tag: str
    inside: str

    @property
    def html(self) -> str:
        """The element alone."""
        return f"<{self.tag}>{self.inside}</{self.tag}>"

    def _repr_html_(self) -> str:
        return self.html if os.environ.get(ON_THE_SITE) else self.html + scripts(self.tag)

    def __repr__(self) -> str:
        return f"<{self.tag}>"


def scripts(tag: str) -> str:
    """The scripts of an element, as HTML."""
    names = ("modules", *MODULES[tag])
    texts = [(WEB / f"{name}.js").read_text(encoding="utf-8") for name in names]
    return "".join(f"<script>{text}</script>" for text in texts)
