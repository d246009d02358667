"""An audit as one web page that needs nothing else: styles and pictures are inside."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape

from .records import LabelTrigger, Picture, Suspects
from .report import Audit

HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
</head>
<body style="margin: 0">
"""

STYLE = """
.bn-audit { max-width: 62rem; margin: 0 auto; padding: 1rem; color: #1b1b1b; background: #fff; line-height: 1.5;
  font-family: system-ui, sans-serif; overflow-wrap: anywhere; }
.bn-audit h1 { font-size: 1.7rem; line-height: 1.2; margin: .5rem 0; }
.bn-audit h2 { font-size: 1.25rem; margin: 2rem 0 .5rem; border-top: 1px solid #ccc; padding-top: 1rem; }
.bn-audit .verdict { border-left: .4rem solid #2a6f3f; background: #eef6f0; padding: .6rem 1rem; margin: 1rem 0; }
.bn-audit .verdict.found { border-color: #b34700; background: #fdf1e7; }
.bn-audit .wide { overflow-x: auto; margin: .5rem 0; }
.bn-audit table { border-collapse: collapse; width: 100%; font-size: .95rem; }
.bn-audit caption { text-align: left; color: #444; padding: .2rem 0; }
.bn-audit th, .bn-audit td { text-align: left; vertical-align: top; padding: .35rem .7rem .35rem 0;
  border-bottom: 1px solid #ddd; }
.bn-audit td.number { white-space: nowrap; }
.bn-audit .shown { display: grid; grid-template-columns: repeat(auto-fill, minmax(16rem, 1fr)); gap: 1rem; }
.bn-audit figure { margin: 1rem 0; }
.bn-audit .shown figure { margin: 0; }
.bn-audit figure.flagged figcaption { font-weight: 700; color: #8f3900; }
.bn-audit img { max-width: 100%; height: auto; border: 1px solid #999; image-rendering: pixelated; }
.bn-audit figcaption { font-size: .9rem; }
.bn-audit code { font-size: .85rem; }
.bn-audit details { margin: .5rem 0; }
.bn-audit summary { cursor: pointer; }
.bn-audit a { color: #0b57a4; }
@media (max-width: 40rem) {
  .bn-audit table.stacked thead { position: absolute; clip-path: inset(50%); height: 1px; overflow: hidden; }
  .bn-audit table.stacked tr { display: block; border-bottom: 1px solid #ddd; padding: .4rem 0; }
  .bn-audit table.stacked th, .bn-audit table.stacked td { display: block; border: 0; padding: 0; white-space: normal; }
  .bn-audit td[data-head]:not([data-head="answer"])::before { content: attr(data-head) ": "; color: #555; }
}
@media print { .bn-audit details > * { display: block; } }
"""


def page(audit: Audit) -> str:
    """The whole page, with head and body."""
    return HEAD.format(title=escape(f"Audit of {audit.network}")) + body(audit) + "\n</body>\n</html>\n"


def body(audit: Audit) -> str:
    """What stands between the tags of the page, its styles included."""
    found = " found" if audit.findings else ""
    parts = [
        f"<style>{STYLE}</style>\n<main class='bn-audit'>",
        "<h1>Audit of a network</h1>",
        f"<p class='verdict{found}'><strong>{escape(audit.verdict)}</strong></p>",
        f"<p>It labels {audit.accuracy} of the trusted images correctly.</p>",
        _listed("Findings", audit.findings),
        _listed("Indications", audit.indications),
        _triggers(audit),
        _suspects(audit.suspects),
        _grouped(audit, "Run-time filter", "The filter on trusted images that were kept apart"),
        _grouped(audit, "Repairs", "Before and after, on trusted images that were kept apart"),
        _grouped(audit, "Not excluded", "What may be there all the same, and why"),
        _steps(audit),
        _grouped(audit, "Taken for granted", "What each method takes for granted"),
        _grouped(audit, "Warnings", "Assumptions that do not hold here"),
        _subject(audit),
        "</main>",
    ]
    return "\n".join(part for part in parts if part)


def _listed(title: str, sentences: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(each)}</li>" for each in sentences)
    return f"<h2>{title}</h2><ul>{items}</ul>" if items else ""


def _triggers(audit: Audit) -> str:
    if not audit.triggers:
        return ""
    by_norm = sorted(audit.triggers, key=lambda each: each.norm)
    intro = (
        "<p>For every label, the smallest change that was found to lead the working images to it: a mask, a pattern, "
        "and both together. A mask far smaller than the others is suspicious.</p>"
    )
    shown = "".join(_figure(each.picture, _caption(each), flagged=each.flagged) for each in by_norm if each.picture)
    rows = [_row(each) for each in by_norm if each.effect]
    heads = ("label", "leads kept images there", "without it", "turned by 180 degrees")
    table = _table("What the smallest triggers do on kept trusted images", heads, rows) if rows else ""
    return f"<h2>Reversed triggers</h2>{intro}{table}<div class='shown'>{shown}</div>"


def _row(each: LabelTrigger) -> tuple[str, ...]:
    if each.effect is None:
        return each.label, "-", "-", "-"
    return each.label, str(each.effect.success), str(each.effect.false_target), str(each.control)


def _caption(each: LabelTrigger) -> str:
    if not each.reached:
        return f"{each.label}: never reached"
    mark = "FLAGGED " if each.flagged else ""
    return f"{mark}{each.label}: {each.size}"


def _suspects(every: Sequence[Suspects]) -> str:
    if not every:
        return ""
    rows = [(each.label, str(each.flagged), each.by, _standing(each)) for each in every]
    table = _table(
        "Training images of every label that are singled out", ("label", "singled out", "by", "suspicious"), rows
    )
    return f"<h2>Suspicious training images</h2>{table}{''.join(map(_one_suspicion, every))}"


def _standing(each: Suspects) -> str:
    if each.confirmed:
        return "yes, confirmed by what they have in common"
    return "unusually many, not confirmed" if each.standing_out else "no"


def _one_suspicion(each: Suspects) -> str:
    if each.picture is None:
        return ""
    listed = ", ".join(each.names or map(str, each.positions))
    what = "File names" if each.names else "Positions in the training data"
    details = f"<details><summary>{what} of all {len(each.positions)}</summary><p>{escape(listed)}</p></details>"
    mark = ""
    if each.mark_picture is not None and each.mark is not None:
        caption = (
            f"What they have in common. Stamped on kept trusted images it leads {each.mark.success} to {each.label}; "
            f"turned by 180 degrees {each.control}; without it {each.mark.false_target}."
        )
        mark = _figure(each.mark_picture, caption, flagged=True)
    return _figure(each.picture, each.picture.alt, flagged=each.convincing) + mark + details


def _steps(audit: Audit) -> str:
    rows = [(step.name, step.state, f"{step.seconds:.1f}", step.outcome) for step in audit.steps]
    table = _table("In the order in which they ran", ("method", "state", "seconds", "outcome"), rows)
    items = "".join(f"<li>{escape(step.name)}: <code>{escape(step.settings)}</code></li>" for step in audit.steps)
    return f"<h2>What was done</h2>{table}<details><summary>All settings and seeds</summary><ul>{items}</ul></details>"


def _subject(audit: Audit) -> str:
    rows = [(f"{group}: {item}", answer) for group, item, answer in audit.rows() if group in ("Network", "Data", "Run")]
    return f"<h2>What was audited</h2>{_table('Network, data and machine', ('item', 'answer'), rows)}"


def _grouped(audit: Audit, group: str, caption: str) -> str:
    """A section of those rows of the report that belong to one group."""
    rows = [(item, answer) for each, item, answer in audit.rows() if each == group]
    return f"<h2>{escape(group)}</h2>{_table(caption, ('item', 'answer'), rows)}" if rows else ""


def _table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th scope='col'>{escape(each)}</th>" for each in heads)
    body = "".join(
        f"<tr><th scope='row'>{escape(row[0])}</th>{''.join(map(_cell, heads[1:], row[1:]))}</tr>" for row in rows
    )
    return (
        f"<div class='wide' role='region' aria-label='{escape(caption, quote=True)}' tabindex='0'>"
        f"<table class='stacked'><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def _cell(head: str, text: str) -> str:
    """A cell that knows the head of its column, for narrow screens where the heads are not seen."""
    return f"<td data-head='{escape(head, quote=True)}'>{_linked(text)}</td>"


def _linked(text: str) -> str:
    """Text in which an address at the end is a link."""
    before, found, address = text.rpartition("https://")
    if not found or " " in address:
        return escape(text)
    link = escape(f"https://{address}", quote=True)
    return f"{escape(before)}<a href='{link}'>{link}</a>"


def _figure(picture: Picture, caption: str, *, flagged: bool = False) -> str:
    data = base64.b64encode(picture.png).decode()
    mark = " class='flagged'" if flagged else ""
    return (
        f"<figure{mark}><img src='data:image/png;base64,{data}' alt='{escape(picture.alt, quote=True)}'>"
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
