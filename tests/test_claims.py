"""The claims page says what the committed results say, for chapters that rest on these results."""

import json
from dataclasses import replace

import pytest
from claims import CLAIMS, Claim, Line, page, rates, span
from project import ROOT

from badnets_lib.study import results

LINES = [(claim, line) for claim in CLAIMS for line in claim.lines]


def names(pair):
    return f"{pair[0].chapter}-{pair[1].asks}"


def test_the_page_is_what_the_results_say():
    assert (ROOT / "chapters" / "claims.md").read_text(encoding="utf-8") == page(), "run `make pages`"


def test_there_are_conclusions_from_every_part_of_the_book():
    chapters = {int(claim.chapter[:2]) for claim in CLAIMS}
    assert len(CLAIMS) >= 15
    assert chapters & set(range(1, 7)) and chapters & set(range(7, 13)) and chapters & set(range(13, 20))


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.says)
def test_a_chapter_loads_the_results_that_its_conclusion_rests_on(claim):
    run = json.loads((ROOT / "chapters" / f"{claim.chapter}.ipynb").read_text(encoding="utf-8"))["metadata"]
    assert {line.file for line in claim.lines} <= set(run["badnets_run"]["results"])


@pytest.mark.parametrize("pair", LINES, ids=names)
def test_every_line_counts_networks_between_none_and_all(pair):
    found = pair[1].found()
    assert found and 0 <= pair[1].holding() <= len(found)
    assert all(-100 <= value <= 100 for value in found)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.says)
def test_a_conclusion_holds_somewhere(claim):
    assert any(line.holding() == len(line.found()) for line in claim.lines) or "some" in claim.says


def test_other_results_give_another_verdict():
    line = Line("digits", "poison_curve", "ASR, %", rates("success", fraction=0.01), least=90)
    table = results.load("poison_curve")
    spoilt = replace(table, rows=tuple(row | {"success": [1, 900]} for row in table.rows))
    assert line.holding() == len(line.found()) and line.holding(spoilt) == 0


def test_the_page_shows_every_network_and_where_a_conclusion_fails(monkeypatch):
    table = results.load("poison_curve")
    line = Line("digits", "poison_curve", "ASR, %", lambda _: [99.0, 12.5, 95.0], least=90)
    monkeypatch.setattr(results, "load", lambda name: table)
    text = page([Claim("Something is so", "08_how_much_poison", (line,))])
    assert "| digits | ASR, % | at least 90 | 2 of 3 | 99.0, 12.5, 95.0 | `poison_curve` |" in text


def test_bounds_are_said_in_words():
    line = Line("digits", "f", "x", list)
    assert replace(line, least=5).bound == "at least 5"
    assert replace(line, most=5).bound == "at most 5"
    assert replace(line, least=2, most=5).bound == "2 to 5"
    assert span([3.0, 1.0, 2.0]) == "1.0 to 3.0"
