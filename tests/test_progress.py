import sys

import pytest
import tqdm.auto

from badnets_lib._progress import track


@pytest.mark.parametrize(("disabled", "terminal", "notebook", "shown"), [
    ("", True, False, ["a label"]),
    ("", False, True, ["a label"]),
    ("", False, False, []),  # a log file
    ("1", True, True, []),
])  # fmt: skip
def test_a_bar_is_shown_only_where_somebody_looks(monkeypatch, disabled, terminal, notebook, shown):
    bars = []

    def bar(items, desc, total, leave):
        bars.append(desc)
        return items

    monkeypatch.setattr(tqdm.auto, "tqdm", bar)
    monkeypatch.setenv("TQDM_DISABLE", disabled)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    if notebook:
        monkeypatch.setitem(sys.modules, "ipykernel", object())
    assert list(track(range(3), "a label")) == [0, 1, 2]
    assert bars == shown


def test_a_bar_knows_how_many_there_are(monkeypatch):
    told = []

    def bar(items, desc, total, leave):
        told.append(total)
        return items

    monkeypatch.setattr(tqdm.auto, "tqdm", bar)
    monkeypatch.setenv("TQDM_DISABLE", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert list(track((n for n in range(3)), "a label", total=3)) == [0, 1, 2]
    assert told == [3]
