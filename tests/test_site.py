"""The browser's audit of the built site: every page, narrow and wide, light and dark.

The site is built once from the stored outputs and served on this machine; the browser may ask nobody else.
"""

from __future__ import annotations

import functools
import gzip
import json
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from build import SCHEMA, build_site
from leaks import leaks
from project import MOVED, contents, notebooks, site as address
from takeaway import FOLDER, pack

from badnets_lib.evaluation.reports import schema

LIMIT = 1_000_000  # bytes of a first visit, text compressed
DECK = 1_500_000  # the same of slides: one deck holds the figures of a whole part
TEXT = {".html", ".css", ".js", ".json", ".svg", ".txt"}
LOOKS = [("light", 1280), ("dark", 390), ("dark", 1280), ("light", 390)]

FACTS = """() => {
  for (const fold of document.querySelectorAll("details")) fold.open = true;
  const bad = alt => !alt || !alt.trim() || /\\.(png|svg|jpe?g)$/.test(alt);
  return {
    title: document.title.trim(),
    description: document.querySelector('meta[name="description"]')?.content?.trim() ?? "",
    width: document.documentElement.scrollWidth,
    window: innerWidth,
    nameless: [...document.images].filter(i => bad(i.getAttribute("alt"))).map(i => i.getAttribute("src")),
  };
}"""
THINNED = """() => {  // half of all elements are coloured words of code: one a colour and block shows its contrast
  for (const block of document.querySelectorAll(".highlight pre")) {
    const seen = new Set();
    for (const word of block.querySelectorAll("span")) {
      if (seen.has(word.className)) word.replaceWith(...word.childNodes);
      seen.add(word.className);
    }
  }
}"""
AXE = """async () => (await axe.run(document, {
  runOnly: {type: "tag", values: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]},
  resultTypes: ["violations"],
  preload: false,
})).violations.map(v => `${v.id}: ${v.nodes.slice(0, 3).map(n => n.html.slice(0, 160)).join(" | ")}`)"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@dataclass
class Visit:
    """What one look at one page asked for and did wrong."""

    asked: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)


def serve(folder: Path) -> ThreadingHTTPServer:
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def served(site: Path) -> Iterator[str]:
    server = serve(site)
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@functools.cache
def axe_source() -> str:
    import axe_playwright_python

    return next(Path(axe_playwright_python.__file__).parent.rglob("axe.min.js")).read_text(encoding="utf-8")


def page_paths(site: Path) -> list[str]:
    """Every page but the addresses that only lead on, and the theme's own fragments."""
    pages = [p.relative_to(site).as_posix() for p in sorted(site.rglob("*.html"))]
    leading = {"index.html", *(f"chapters/{old}.html" for old in MOVED)}
    return [p for p in pages if p not in leading and not p.startswith("_static/")]


class Auditor:
    """One browser page in one look, and what it saw on its current visit."""

    def __init__(self, browser: Any, host: str, theme: str = "light", width: int = 1280) -> None:
        self.host = host
        look = {"color_scheme": theme, "viewport": {"width": width, "height": 900}}
        self.context = browser.new_context(**look, reduced_motion="reduce")  # half-faded text has no contrast
        self.page = self.context.new_page()
        self.page.on("request", self.check_request)
        self.page.on("response", self.check_answer)
        self.page.on("pageerror", lambda error: self.now.wrong.append(f"script error: {error}"))
        self.page.on("console", self.check_console)
        self.now = Visit()

    def check_request(self, request: Any) -> None:
        if request.url.startswith(self.host):
            self.now.asked.add(urlsplit(request.url).path)
        elif not request.url.startswith(("data:", "blob:")):
            self.now.wrong.append(f"outside request: {request.url}")

    def check_answer(self, response: Any) -> None:
        if response.status >= 400:
            self.now.wrong.append(f"status {response.status}: {response.url}")

    def check_console(self, message: Any) -> None:
        if message.type == "error":
            self.now.wrong.append(f"console error: {message.text}")

    def visit(self, path: str) -> Visit:
        self.now = Visit()
        self.page.goto(f"{self.host}/{path}", wait_until="load")
        self.page.evaluate("document.fonts.ready.then(() => 0)")
        self.page.evaluate("document.querySelectorAll('details').forEach(folded => folded.open = true)")
        return self.now

    def audit(self, path: str) -> list[str]:
        visit = self.visit(path)
        facts = self.page.evaluate(FACTS)
        if not facts["title"]:
            visit.wrong.append("no title")
        if not facts["description"] and path != "search.html":
            visit.wrong.append("no description")
        if facts["width"] > facts["window"]:
            visit.wrong.append(f"scrolls sideways: {facts['width']} px in a window of {facts['window']}")
        visit.wrong += [f"image without alternative text: {src}" for src in facts["nameless"]]
        self.page.evaluate(THINNED)
        self.page.evaluate(axe_source())
        visit.wrong += [f"accessibility, {violation}" for violation in self.page.evaluate(AXE)]
        return visit.wrong


@pytest.mark.parametrize(("theme", "width"), LOOKS)
def test_every_page_is_sound(site: Path, served: str, browser: Any, theme: str, width: int) -> None:
    """Every page in both themes and at both widths, the next page in the other two looks: what all share, in four."""
    auditor = Auditor(browser, served, theme, width)
    pages = page_paths(site)[LOOKS.index((theme, width)) // 2 :: 2]
    wrong = {path: faults for path in pages if (faults := auditor.audit(path))}
    auditor.context.close()
    assert not wrong, "\n".join(f"{path}: {fault}" for path, faults in wrong.items() for fault in faults)


def weight(site: Path, asked: set[str]) -> int:
    """Bytes on the wire: text as gzip sends it, the rest as it lies."""
    total = 0
    for path in asked:
        file = site / unquote(path).lstrip("/")
        if file.is_file():
            content = file.read_bytes()
            total += len(gzip.compress(content, 6)) if file.suffix in TEXT else len(content)
    return total


def test_first_visits_are_light(site: Path, served: str, browser: Any) -> None:
    auditor = Auditor(browser, served)
    auditor.context.new_cdp_session(auditor.page).send("Network.setCacheDisabled", {"cacheDisabled": True})
    weights = {path: weight(site, auditor.visit(path).asked) for path in page_paths(site)}
    auditor.context.close()
    heavy = {path: size for path, size in weights.items() if size > (DECK if path.startswith("slides/") else LIMIT)}
    assert heavy == {}
    assert all(size > 10_000 for size in weights.values()), "the measure misses what pages load"


def test_pages_load_the_tools_that_they_need(site: Path) -> None:
    """Formulas and copying: on every page that has some, and on no other."""
    for path in page_paths(site):
        if path.startswith("slides/"):  # not the theme's; their formulas are drawn already
            continue
        text = (site / path).read_text(encoding="utf-8")
        for tool, mark in (("katex.min.js", 'class="math'), ("copybutton.js", 'class="highlight')):
            assert (tool in text) == (mark in text), f"{path}: {tool}"


def test_every_page_of_the_contents_was_built(site: Path) -> None:
    built = {Path(path).stem for path in page_paths(site)}
    assert {page.name for page in contents()} <= built


def test_the_bare_address_leads_to_the_front_page(site: Path) -> None:
    text = (site / "index.html").read_text(encoding="utf-8")
    front = f"chapters/{contents()[0].name}.html"
    assert f"url={front}" in text
    assert (site / front).exists()


def test_former_addresses_of_chapters_lead_to_the_present_ones(site: Path) -> None:
    names = {page.name for page in contents()}
    assert not names & set(MOVED) and set(MOVED.values()) <= names
    for old, new in MOVED.items():
        text = (site / "chapters" / f"{old}.html").read_text(encoding="utf-8")
        assert f'url={new}.html"' in text and f'<a href="{new}.html">' in text


def test_the_schema_lies_at_the_address_it_gives_itself(site: Path) -> None:
    text = (site / SCHEMA).read_text(encoding="utf-8")
    assert json.loads(text)["$id"] == address() + SCHEMA
    assert json.loads(text) == schema()


LEFT = "net::ERR_ABORTED"  # what was still on its way when the next page was opened; a missing file fails otherwise


def test_the_zip_opens_from_a_folder_and_asks_nobody(site: Path, tmp_path: Path, browser: Any) -> None:
    """Every page, by its file's own address, with everything that it asks for."""
    with zipfile.ZipFile(pack(site, tmp_path / "book.zip")) as archive:
        archive.extractall(tmp_path)
    folder = tmp_path / FOLDER
    wrong: list[str] = []
    page = browser.new_page()
    page.on(
        "request",
        lambda asked: None if asked.url.startswith((folder.as_uri(), "data:", "blob:")) else wrong.append(asked.url),
    )
    page.on(
        "requestfailed", lambda asked: None if asked.failure == LEFT else wrong.append(f"{asked.failure}: {asked.url}")
    )
    page.on("pageerror", lambda error: wrong.append(f"script error: {error}"))
    opened = ["start.html", *(f"site/{path}" for path in page_paths(site))]
    for path in opened:
        page.goto((folder / path).as_uri(), wait_until="load")
        assert page.title(), path
    page.goto((folder / "start.html").as_uri())
    targets = page.evaluate("[...document.links].map(link => link.href)")
    page.close()
    assert wrong == []
    assert len(targets) >= 5 and all(
        (folder / unquote(urlsplit(to).path).partition(f"/{FOLDER}/")[2]).exists() for to in targets
    )


def test_the_zip_holds_notebooks_results_and_library_and_no_solution(site: Path, tmp_path: Path) -> None:
    first, second = (pack(site, tmp_path / name).read_bytes() for name in ("a.zip", "b.zip"))
    assert first == second
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        archive.extractall(tmp_path / "out")
    folder = tmp_path / "out" / FOLDER
    assert {path.name for path in folder.glob("notebooks/*.ipynb")} == {path.name for path in notebooks()}
    assert list(folder.glob("data/*.json")) and (folder / "library" / "badnets_lib" / "__init__.py").exists()
    assert (folder / "library" / "pyproject.toml").exists() and list(folder.glob("site/slides/*.html"))
    assert list(leaks(folder)) == []


BAD = """<!doctype html><html lang="en"><head><title></title></head><body>
<img src="http://192.0.2.1/pixel.png"><script src="missing.js"></script>
<script>console.error("spoken"); setTimeout(() => { throw new Error("thrown") })</script>
<div style="width: 3000px; color: #ddd; background: #fff">pale and wide</div></body></html>"""


def test_the_audit_can_fail(tmp_path: Path, browser: Any) -> None:
    (tmp_path / "bad.html").write_text(BAD)
    server = serve(tmp_path)
    auditor = Auditor(browser, f"http://127.0.0.1:{server.server_port}", width=390)
    faults = "\n".join(auditor.audit("bad.html"))
    auditor.context.close()
    server.shutdown()
    for expected in (
        "outside request: http://192.0.2.1/pixel.png", "status 404", "console error: spoken", "script error: thrown",
        "no title", "no description", "scrolls sideways", "without alternative text", "color-contrast",
    ):  # fmt: skip
        assert expected in faults


def test_the_measure_of_weight_can_fail(tmp_path: Path) -> None:
    (tmp_path / "a.js").write_text("x" * 10_000)
    (tmp_path / "b.png").write_bytes(bytes(10_000))
    assert 10_000 < weight(tmp_path, {"/a.js", "/b.png", "/absent"}) < 10_200


def test_no_solution_of_the_coursework_is_published(site: Path) -> None:
    assert list(leaks(site)) == []
