"""What the coursework keeps from students, and whether it can be read somewhere."""

from html import unescape

from coursework import masters
from coursework.masters import HIDDEN, MARKS, SOLUTION, source

TEXT = {".ipynb", ".md", ".py", ".js", ".json", ".html", ".yml", ".txt"}
SHORT = 60  # characters; a solution this short, such as `return x`, may stand anywhere


def plain(text):
    """Text without what a notebook's or a page's own writing adds to it."""
    for mark in ('\\n",', "\\n", '"', "\\"):
        text = text.replace(mark, " ")
    return " ".join(unescape(text).split())


def secrets(master):
    """Each solution and each hidden check of an assignment, as one run of words."""
    for cell in master.notebook["cells"]:
        for pattern in (SOLUTION, HIDDEN):
            yield from (plain(MARKS.sub("", found[0])) for found in pattern.finditer(source(cell)))


def leaks(folder):
    """Files below a folder that show a solution, a hidden check or where one begins."""
    kept = [secret for master in masters.every() for secret in secrets(master) if len(secret) > SHORT]
    assert kept
    for path in folder.rglob("*"):
        if path.suffix in TEXT:
            text = path.read_text(encoding="utf-8")
            words = plain(text)
            if "BEGIN SOLUTION" in text or "BEGIN HIDDEN" in text or any(secret in words for secret in kept):
                yield path
