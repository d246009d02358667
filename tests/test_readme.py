"""The README's example runs, and prints what the README says, up to a few images."""

from __future__ import annotations

import re

import pytest
from project import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
COUNTS = re.compile(r"\((\d+)/(\d+)\)")


def block(language: str) -> str:
    """The first block in that language; the second example is run by test_own_model_page.py."""
    return str(re.findall(rf"```{language}\n(.*?)```", README, flags=re.S)[0])


@pytest.mark.slow
def test_the_example_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(block("python"), "README.md", "exec"), {})
    printed, stated = capsys.readouterr().out, block("text")
    assert re.sub(r"\d[\d.%,\[\] ()/]*", "", printed).split() == re.sub(r"\d[\d.%,\[\] ()/]*", "", stated).split()
    for (hits, trials), (stated_hits, stated_trials) in zip(
        COUNTS.findall(printed), COUNTS.findall(stated), strict=True
    ):
        assert trials == stated_trials
        assert abs(int(hits) - int(stated_hits)) <= 0.02 * int(trials)
