"""The book as one PDF, printed by Chromium from the built pages: contents with page numbers, an outline, tags.

    python tools/paper.py    writes _build/badnets-book.pdf from _build/html

The pages are joined into one document, which is printed twice: the first print tells on which page each chapter begins.
The lab and the library's reference are left out; links to them keep their words.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from html import escape
from pathlib import Path
from posixpath import normpath
from typing import Any

from bs4 import BeautifulSoup, Tag
from project import ROOT, Page, config, contents, settings

SITE = ROOT / "_build" / "html"
PDF = ROOT / "_build" / "badnets-book.pdf"
LEFT_OUT = ("lab", "lab_language", "reference")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
JOINED = "_printed.html"  # beside the pages, so that pictures and styles are found; removed afterwards
POINTS_AT_IDS = ("aria-labelledby", "aria-describedby", "aria-controls", "for")
IN_HEAD = ("stylesheet", "katex.min.js", "auto-render.min.js", "katex_autorenderer.js")
RUNNING = (
    '<div style="width: 100%; padding: 0 18mm; font: 8pt sans-serif; color: #555; text-align: {side}">{text}</div>'
)
WAIT = 300_000  # milliseconds; several hundred pages take a while
SCALE = 0.8  # of the screen, so that a line of paper holds as many words as one of the site

COVER = """<section class="cover">
<p class="kind">An open course on backdoor attacks</p>
<h1>{title}</h1>
<p>{author}</p>
<p>Version {version}. Printed from the built pages; the lab and the library's reference are on the site only.</p>
<p>Controlled, local, educational robustness work on small public data sets.
Text and figures CC BY 4.0, code MIT.</p>
</section>
"""


def pages() -> list[Page]:
    """The pages that are printed, in reading order."""
    return [page for page in contents() if page.name not in LEFT_OUT]


def article(site: Path, page: Page, printed: set[str]) -> Tag:
    """The text of one page, with names and links that hold in the joined document."""
    soup = BeautifulSoup((site / "chapters" / f"{page.name}.html").read_text(encoding="utf-8"), "html.parser")
    found = soup.select_one("article.bd-article")
    if found is None:
        raise ValueError(f"{page.name}.html holds no article: build the site again")
    for useless in found.select("script, a.headerlink, button, .launch, .prev-next-footer"):
        useless.decompose()
    for fold in found.select("details"):
        fold["open"] = ""
    for element in found.find_all(True):
        rename(element, page.name)
        if element.name == "a" and element.has_attr("href"):
            link(element, page.name, printed)
    return found


def rename(element: Tag, name: str) -> None:
    """Put the page's name before an element's own."""
    if element.has_attr("id"):
        element["id"] = f"{name}--{element['id']}"
    for key in POINTS_AT_IDS:
        if element.has_attr(key):
            element[key] = " ".join(f"{name}--{each}" for each in str(element[key]).split())


def link(element: Tag, name: str, printed: set[str]) -> None:
    """Lead a link to its place in the joined document; one to a page that is not printed keeps its words alone."""
    address = str(element["href"])
    if "://" in address or address.startswith("mailto:"):
        return
    file, _, place = address.partition("#")
    other = normpath(file).removesuffix(".html") if file else name
    if other in printed:
        element["href"] = f"#{other}--{place}" if place else f"#{other}"
    else:
        del element["href"]


def head(site: Path, page: Page) -> str:
    """The styles and the formulas' scripts of a built page, and the rules of print."""
    soup = BeautifulSoup((site / "chapters" / f"{page.name}.html").read_text(encoding="utf-8"), "html.parser")
    kept = [e for e in soup.head.find_all(["link", "script"]) if any(word in str(e) for word in IN_HEAD)]  # type: ignore[union-attr]
    rules = (Path(__file__).parent / "paper.css").read_text(encoding="utf-8")
    return "\n".join([*map(str, kept), f"<style>{rules}</style>"])


def entries(numbers: dict[str, int], titles: dict[str, str]) -> Iterator[str]:
    """The lines of the contents."""
    part = ""
    for page in pages():
        if page.part != part:
            part = page.part
            yield f"<li class='part'>{escape(part)}</li>"
        number = f"<span class='number'>{numbers.get(page.name, '')}</span>"
        yield f"<li><a href='#{page.name}'><span>{escape(titles[page.name])}</span>{number}</a></li>"


def joined(site: Path, numbers: dict[str, int]) -> str:
    """The whole book as one page; `numbers` says on which sheet each part begins, where that is known."""
    printed = {page.name for page in pages()}
    texts = {page.name: article(site, page, printed) for page in pages()}
    titles = {name: text.h1.get_text(" ", strip=True) for name, text in texts.items() if text.h1}
    book = config()
    cover = COVER.format(
        title=escape(book["title"]), author=escape(book["author"]), version=settings()["project"]["version"]
    )
    listed = "\n".join(entries(numbers, titles))
    body = "\n".join(f"<section class='page' id='{name}'>{text}</section>" for name, text in texts.items())
    with_formulas = next(page for page in pages() if page.notebook.exists() and "katex" in str(head(site, page)))
    return (
        f"<!doctype html><html lang='en' data-theme='light' data-mode='light'><head><meta charset='utf-8'>"
        f"<title>{escape(book['title'])}</title>{head(site, with_formulas)}</head><body>{cover}"
        f"<nav class='contents' aria-label='Contents'><h1>Contents</h1><ol>{listed}</ol></nav>"
        f"<main class='bd-content'>{body}</main></body></html>"
    )


def starts(pdf: Path) -> dict[str, int]:
    """The sheet on which each page of the book begins, from 1, as the printed links have it."""
    from pypdf import PdfReader

    reader = PdfReader(pdf)
    names = {name.lstrip("/"): to for name, to in reader.named_destinations.items()}
    found = {page.name: reader.get_destination_page_number(names[page.name]) for page in pages() if page.name in names}
    return {name: number + 1 for name, number in found.items() if number is not None}


def print_once(browser: Any, site: Path, pdf: Path, numbers: dict[str, int]) -> None:
    """Print the joined document."""
    file = site / "chapters" / JOINED
    file.write_text(joined(site, numbers), encoding="utf-8")
    try:
        page = browser.new_page()
        page.set_default_timeout(WAIT)
        page.goto(file.as_uri(), wait_until="load")
        page.evaluate("document.fonts.ready.then(() => 0)")
        page.pdf(
            path=str(pdf), format="A4", print_background=True, outline=True, tagged=True, display_header_footer=True,
            scale=SCALE,
            margin={"top": "20mm", "bottom": "20mm", "left": "18mm", "right": "18mm"},
            header_template=RUNNING.format(side="left", text=escape(config()["title"])),
            footer_template=RUNNING.format(side="right", text="<span class='pageNumber'></span>"),
        )  # fmt: skip
        page.close()
    finally:
        file.unlink()


def print_book(browser: Any, site: Path = SITE, pdf: Path = PDF) -> Path:
    """Print a built site as a book, with a running Chromium, and return the file.

    Raises:
        FileNotFoundError: The site was not built.
    """
    if not (site / "index.html").exists():
        raise FileNotFoundError(f"no site in {site}: run `make site` first")
    print_once(browser, site, pdf, {})
    print_once(browser, site, pdf, starts(pdf))  # numbers move nothing
    return pdf


def main() -> None:
    """Print the book with the browser of this machine."""
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, BROWSERS)), None)
    if chromium is None:
        raise SystemExit(f"printing takes a browser: none of {', '.join(BROWSERS)} is installed")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            print(f"The book is in {print_book(browser)}.")
        except FileNotFoundError as error:
            raise SystemExit(str(error)) from None
        finally:
            browser.close()


if __name__ == "__main__":
    main()
