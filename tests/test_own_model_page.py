"""The page "Your own model and data" and README's second example run as they stand, and print what they say."""

from __future__ import annotations

import re
import shlex
import sys
import warnings

import pytest
import torch
from project import CHAPTERS, ROOT

import badnets_lib as bd
from badnets_lib._torchvision import declare_operators
from badnets_lib.cli import run

PAGE = (CHAPTERS / "own_model.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
NUMBER = re.compile(r"\d[\d.%,\[\] ()/:]*")
COUNTS = re.compile(r"\((\d+)/(\d+)\)")


def blocks(text, language):
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.S)


def words(text):
    return re.sub(r"ImageSet\(.*", "ImageSet", NUMBER.sub("", text)).split()


@pytest.fixture(scope="module")
def printed():
    """What each block of the page prints, in order, in one namespace."""
    import contextlib
    import io

    declare_operators()
    outputs, names = [], {"__name__": "page"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bd.AssumptionWarning)
        for number, block in enumerate(blocks(PAGE, "python")):
            sys.modules.setdefault("page", type(sys)("page"))  # dataclasses look for the module of their class
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile(block, f"own_model.md, block {number}", "exec"), names)
            outputs.append(out.getvalue())
    return outputs, names


@pytest.mark.slow
def test_every_block_prints_what_the_page_says(printed):
    outputs, _ = printed
    stated = blocks(PAGE, "text")
    assert len(outputs) == len(stated) == 7
    for number, (ours, theirs) in enumerate(zip(outputs, stated, strict=True)):
        if number in (3, 6):  # notes of a clustering, and findings: other machines may word them by other numbers
            assert ours.splitlines()[0].split()[:2] == theirs.splitlines()[0].split()[:2]
            continue
        assert words(ours) == words(theirs)
        for (hits, trials), (stated_hits, stated_trials) in zip(
            COUNTS.findall(ours), COUNTS.findall(theirs), strict=True
        ):
            assert trials == stated_trials
            assert abs(int(hits) - int(stated_hits)) <= 0.25 * int(trials), f"block {number}"


@pytest.mark.slow
def test_the_page_keeps_its_promises(printed):
    _, names = printed
    assert bd.clean_accuracy(names["bare"], names["trusted"]).value < 0.6
    assert names["report"].findings
    assert (names["desk"] / "report" / "report.html").exists()
    assert names["flags"].fingerprint == names["poisoned"].fingerprint


def test_the_examples_are_short_enough_to_read():
    for block in blocks(PAGE, "python"):
        assert max(map(len, block.splitlines())) <= 78
        assert len(block.splitlines()) <= 32


def test_every_command_on_the_pages_is_one():
    lines = [line for text in (PAGE, README) for block in blocks(text, "sh") for line in block.split("\n")]
    joined = "\n".join(lines).replace("\\\n", " ").splitlines()
    found = [shlex.split(line, comments=True)[1:] for line in joined if line.startswith("badnets ")]
    assert len(found) >= 2
    for name, *arguments in found:
        known = {option for parameter in run.badnets.commands[name].params for option in parameter.opts}
        assert {each for each in arguments if each.startswith("--")} <= known


@pytest.mark.slow
def test_the_second_example_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    package = tmp_path / "mypackage"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "nets.py").write_text(
        "import badnets_lib as bd\n\ndef build():\n    return bd.SmallCNN(channels=3, classes=3, width=8)\n",
        encoding="utf-8",
    )
    source = torch.Generator().manual_seed(0)
    y = torch.arange(240) % 3
    x = torch.randint(0, 100, (240, 3, 24, 24), generator=source, dtype=torch.uint8)
    for place, label in enumerate(y.tolist()):
        x[place, label, 8 * label : 8 * label + 8] += 150
    whole = bd.ImageSet(x, y, ("ash", "birch", "cedar"))
    train_set, trusted = whole.split(0.5)
    train_set.save_folder(tmp_path / "train")
    trusted.save_folder(tmp_path / "trusted")
    resized = bd.ImageSet.from_folder(tmp_path / "train", size=(32, 32))
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    start = bd.Normalized(bd.SmallCNN(3, 3, 8), mean, std)
    fitted = bd.train(resized, bd.TrainConfig(epochs=4), model=start).model
    torch.save(fitted.model.state_dict(), tmp_path / "theirs.pth")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    exec(compile(blocks(README, "python")[1], "README.md", "exec"), {})
    assert "found" in capsys.readouterr().out
    assert (tmp_path / "report" / "report.html").exists()
