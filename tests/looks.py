"""What the tests of the interactive elements share: scripts, the dark look of a bare page, what the audit sees."""

import shutil

from build import OFFLINE, WEB
from project import CHAPTERS

STATIC = CHAPTERS / "_static"
SCRIPTS = "".join(f'<script src="_static/{name}.js" defer></script>' for name in ("modules", "elements"))

DARK = """:root { color-scheme: dark; --pst-color-text-base: #e4ebf1; --pst-color-text-muted: #a5b3c0;
--pst-color-border: #2e3b47; --pst-color-surface: #18212a; --bn-clean: #56b4e9; --bn-backdoored: #f0803c;
--bn-clean-text: #7cc5ef; --bn-backdoored-text: #ff9d61 } body { background: #10171e; color: #e4ebf1 }"""
AXE_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def lay_out_scripts(folder):
    """The scripts as the built site has them, in folder/_static."""
    static = folder / "_static"
    shutil.copytree(WEB, static, dirs_exist_ok=True)
    shutil.copytree(STATIC / "lab", static / "lab", dirs_exist_ok=True)
    for name in ("elements.js", "book.css"):
        shutil.copy(STATIC / name, static)
    shutil.copy(STATIC / "lab" / OFFLINE, folder)
    return static
