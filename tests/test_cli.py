"""The command `badnets`, from its arguments to its exit code, on folders and networks of its own."""

from __future__ import annotations

import importlib
import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from project import settings

import badnets_lib as bd
from badnets_lib.cli import options, run

NETS = """
from torch import nn
import badnets_lib as bd

def build(width=8):
    return bd.SmallCNN(channels=3, classes=3, width=width)

def reader():
    return "no network"

def broken():
    raise RuntimeError("out of paint")
"""
CLASSES = ("ash", "birch", "cedar")


def bars(count, seed):
    """Three kinds of images, told apart by where a bar lies; uint8."""
    source = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 120, (count, 3, 12, 12), generator=source, dtype=torch.uint8)
    y = torch.arange(count) % 3
    for place, label in enumerate(y.tolist()):
        x[place, label, 3 * label : 3 * label + 3] += 120
    return bd.ImageSet(x, y, CLASSES)


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder with a network that can be imported, its weights as .pth and .safetensors, and pictures."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "trees.py").write_text(NETS, encoding="utf-8")
    bars(240, 0).save_folder(folder / "train")
    bars(120, 1).save_folder(folder / "trusted")
    model = bd.train(bars(240, 0), bd.TrainConfig(epochs=3), model=lambda: bd.SmallCNN(3, 3, 8)).model
    torch.save(model.state_dict(), folder / "w.pth")
    bd.save_model(folder / "w.safetensors", model, {"data": "bars"})
    return folder


@pytest.fixture
def badnets(desk, monkeypatch, capsys):
    """Runs a command in that folder: (exit code, stdout, stderr)."""
    monkeypatch.chdir(desk)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def call(*arguments):
        with pytest.raises(SystemExit) as left:
            run.main([str(each) for each in arguments])
        printed = capsys.readouterr()
        return left.value.code, printed.out, printed.err

    return call


NETWORK = ("--model", "trees:build", "--weights", "w.pth")


def test_score_counts_what_the_library_counts(badnets, desk):
    code, out, _ = badnets(
        "score", *NETWORK, "--test", "trusted", "--trigger", "patch:size=3,corner=top-left", "--target", "birch"
    )
    model, _ = bd.load_model(desk / "w.safetensors")
    attack = bd.Attack(bd.Patch(size=3, corner="top-left"), bd.Goal.all_to_one(1, 3))
    assert code == 0
    assert out.strip() == str(bd.score(model, bd.ImageSet.from_folder(desk / "trusted"), attack))


def test_poison_writes_a_folder_and_the_plan_that_made_it(badnets, desk):
    code, out, _ = badnets(
        *("poison", "train", "poisoned", "--trigger", "patch:size=2", "--target", "2", "--fraction", "0.1", "--seed", 5)
    )
    assert code == 0
    plan = bd.PoisonPlan.load(desk / "poisoned" / "plan.json")
    assert str(plan) == out.strip()
    assert plan.seed == 5
    assert plan.attack == bd.Attack(bd.Patch(size=2), bd.Goal.all_to_one(2, 3))
    written = bd.ImageSet.from_folder(desk / "poisoned")
    assert written.fingerprint == plan.poison(bd.ImageSet.from_folder(desk / "train")).fingerprint
    again, _, err = badnets("poison", "train", "poisoned", "--trigger", "patch", "--target", "ash", "--fraction", "0.1")
    assert again == 2
    assert "poisoned is there already" in err
    scored, table, _ = badnets("score", *NETWORK, "--test", "trusted", "--plan", "poisoned/plan.json")
    assert scored == 0
    assert "attack success rate" in table


def test_a_source_and_a_clean_label_reach_the_goal(badnets, desk):
    line = ("poison", "train", "one", "--trigger", "checkerboard", "--target", "ash", "--fraction", "0.05")
    assert badnets(*line, "--source", "cedar")[0] == 0
    assert bd.PoisonPlan.load(desk / "one" / "plan.json").attack.goal == bd.Goal((0, 1, 0))
    line = ("poison", "train", "two", "--trigger", "blend", "--target", "ash", "--fraction", "0.05", "--clean-label")
    assert badnets(*line)[0] == 0
    assert bd.PoisonPlan.load(desk / "two" / "plan.json").attack.goal == bd.Goal((0, 0, 0), clean_label=True)


@pytest.mark.parametrize("flagged", [(), (1,)])
def test_scan_says_by_its_exit_code_whether_it_found_something(badnets, monkeypatch, flagged):
    found = bd.defenses.Scan(
        torch.tensor([0.1, 3.0, 0.2]), torch.tensor([20.0, 4.0, 21.0]), torch.zeros(3, 1, 12, 12),
        torch.zeros(3, 3, 12, 12), flagged,
    )  # fmt: skip
    monkeypatch.setattr(bd.defenses.NeuralCleanse, "__call__", lambda self, model, holding: found)
    code, out, _ = badnets("scan", *NETWORK, "--trusted", "trusted")
    lines = out.splitlines()
    assert code == len(flagged)
    assert lines[1].split()[:3] == ["4.0", "3.0", "birch"], "the smallest mask comes first"
    assert ("FLAGGED" in lines[1]) == bool(flagged)
    assert ("That excludes neither" in out) == (not flagged)
    assert ("The smallest mask is that of birch, 0.20 of the median" in out) == (not flagged)


def test_a_scan_without_a_verdict_does_not_say_that_nothing_was_found(badnets, monkeypatch):
    silent = bd.defenses.Scan(torch.zeros(3), torch.rand(3), torch.zeros(3, 1, 12, 12), torch.zeros(3, 3, 12, 12), ())
    monkeypatch.setattr(bd.defenses.NeuralCleanse, "__call__", lambda self, model, holding: silent)
    code, out, err = badnets("scan", *NETWORK, "--trusted", "trusted")
    assert code == 2
    assert "cedar" in out, "its triggers can still be compared"
    assert "the scan has no verdict" in err


def test_audit_writes_a_report_and_leaves_with_zero_or_one(badnets, desk):
    code, out, err = badnets(
        "audit", *NETWORK, "--trusted", "trusted", "--training", "train", "--minutes", 5, "--out", "report"
    )
    plain = json.loads((desk / "report" / "report.json").read_text(encoding="utf-8"))
    assert code == bool(plain["findings"])
    assert out.startswith("Accuracy on trusted pictures")
    assert "The report is report/report.html" in out
    assert plain["weights"] == bd.weights_hash(bd.load_model(desk / "w.safetensors")[0])
    assert not {step["name"] for step in plain["steps"] if step["state"] == "broke off"}, plain["steps"]
    assert "\x1b" not in err, "no progress where nobody looks"


def test_an_audit_that_had_no_time_could_not_run(badnets, desk):
    code, out, err = badnets("audit", *NETWORK, "--trusted", "trusted", "--minutes", "0.000001", "--out", "none")
    assert code == 2
    assert "Nothing was looked for" in out
    assert "--minutes" in err
    assert (desk / "none" / "report.html").exists()


def test_suspects_are_listed_by_their_file_names(badnets, desk):
    assert badnets(
        *("poison", "train", "bad", "--trigger", "patch:size=3", "--target", "cedar", "--fraction", "0.2")
    )[0] == 0  # fmt: skip
    bad = bd.ImageSet.from_folder(desk / "bad")
    model = bd.train(bad, bd.TrainConfig(epochs=5), model=lambda: bd.SmallCNN(3, 3, 8)).model
    torch.save({"state_dict": model.state_dict()}, desk / "bad.pth")
    code, out, _ = badnets(
        "audit", "--model", "trees:build", "--weights", "bad.pth", "--trusted", "trusted", "--training", "bad",
        "--minutes", 5, "--out", "found",
    )  # fmt: skip
    plain = json.loads((desk / "found" / "report.json").read_text(encoding="utf-8"))
    assert code == 1, out
    assert any("cedar" in each for each in plain["findings"])
    names = plain["suspects"][2]["names"]
    assert names
    assert all((desk / "bad" / name).is_file() and name.startswith("cedar/") for name in names)


def test_repaired_weights_load_and_score(badnets, desk):
    code, out, _ = badnets(
        "repair", *NETWORK, "--trusted", "trusted", "--method", "fine-tuning", "--out", "repaired.safetensors"
    )
    assert code == 0
    assert [line.split("  ")[0] for line in out.splitlines()[:2]] == [
        "accuracy on kept pictures before", "accuracy on kept pictures after",
    ]  # fmt: skip
    digest = out.split()[-1]
    scored, _, _ = badnets(
        "score", "--model", "trees:build", "--weights", "repaired.safetensors", "--sha256", digest.upper(),
        "--test", "trusted", "--trigger", "patch", "--target", "ash",
    )  # fmt: skip
    assert scored == 0


def test_a_repair_does_not_write_over_the_weights_that_it_reads(badnets, desk):
    before = (desk / "w.pth").read_bytes()
    code, out, err = badnets(
        "repair", *NETWORK, "--trusted", "trusted", "--method", "fine-tuning", "--out", "w.pth"
    )  # fmt: skip
    assert (code, out) == (2, "")
    assert "w.pth is there already" in err
    assert (desk / "w.pth").read_bytes() == before


def test_nothing_is_written_where_nothing_was_unlearnt(badnets, desk, monkeypatch):
    masks = torch.zeros(3, 1, 12, 12)
    quiet = bd.defenses.Scan(torch.zeros(3), torch.full((3,), 20.0), masks, torch.zeros(3, 3, 12, 12), ())
    monkeypatch.setattr(bd.defenses.NeuralCleanse, "__call__", lambda self, model, holding: quiet)
    line = ("--trusted", "trusted", "--method", "unlearning", "--out", "u.safetensors")
    code, _, err = badnets("repair", *NETWORK, *line)
    assert code == 2
    assert "no label was flagged" in err
    assert not (desk / "u.safetensors").exists()


def test_the_normalisation_stands_before_the_network_and_is_not_saved(badnets, desk):
    line = ("--mean", "0.1,0.1,0.1", "--std", "0.9,0.9,0.9", "--least-accuracy", 0)
    code, _, _ = badnets(
        "repair", *NETWORK, *line, "--trusted", "trusted", "--method", "fine-tuning", "--out", "n.safetensors"
    )
    assert code == 0
    state, _ = bd.open_weights(desk / "n.safetensors")
    assert set(state) == set(torch.load(desk / "w.pth", weights_only=True))


# ---- what cannot work ----


def one_sentence(err):
    return err.count("\n") == 1 and "Traceback" not in err and err.startswith("badnets")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("scan",), "Missing option '--model'"),
        (("wash",), "No such command 'wash'"),
        (("scan", "--model", "trees:build", "--weights", "none.pth", "--trusted", "trusted"), "none.pth"),
        (("scan", "--model", "trees:none", "--weights", "w.pth", "--trusted", "trusted"), "trees:none"),
        (("scan", "--model", "trees", "--weights", "w.pth", "--trusted", "trusted"), "package.module:factory"),
        (("scan", "--model", "trees:reader", "--weights", "w.pth", "--trusted", "trusted"), "torch.nn.Module"),
        (("scan", "--model", "trees:broken", "--weights", "w.pth", "--trusted", "trusted"), "out of paint"),
        (("scan", *NETWORK, "--set", "width=16", "--trusted", "trusted"), "do not fit SmallCNN"),
        (("scan", *NETWORK, "--set", "width", "--trusted", "trusted"), "NAME=VALUE"),
        (("scan", *NETWORK, "--trusted", "trusted", "--mean", "0.5,0.5,0.5"), "--mean and --std belong together"),
        (("scan", *NETWORK, "--trusted", "trusted", "--size", "12"), "height x width"),
        (("scan", *NETWORK, "--trusted", "trusted", "--device", "toaster"), "toaster"),
        (("scan", *NETWORK, "--trusted", "trusted", "--sha256", "0" * 64), "0000"),
        (("score", *NETWORK, "--test", "trusted"), "either --plan, or --trigger and --target"),
        (("score", *NETWORK, "--test", "trusted", "--trigger", "patch"), "either --plan, or --trigger and --target"),
        (("score", *NETWORK, "--test", "trusted", "--trigger", "spray", "--target", "ash"), "known: patch, "),
        (("score", *NETWORK, "--test", "trusted", "--trigger", "patch:hue=3", "--target", "ash"), "hue"),
        (("score", *NETWORK, "--test", "trusted", "--trigger", "patch", "--target", "oak"), "known: ash, birch, cedar"),
        (("poison", "train", "x", "--trigger", "patch", "--target", "ash", "--fraction", "2"), "2.0"),
        (("repair", *NETWORK, "--trusted", "trusted", "--method", "pray", "--out", "x"), "fine-pruning"),
    ],
    ids=lambda value: " ".join(map(str, value))[-40:] if isinstance(value, tuple) else None,
)
def test_what_cannot_run_says_so_in_one_sentence(badnets, arguments, told):
    code, out, err = badnets(*arguments)
    assert code == 2
    assert told in err
    assert one_sentence(err), err
    assert not out


def test_a_pickle_is_refused_and_not_opened(badnets, desk):
    class Trap:
        def __reduce__(self):
            return Path.touch, (desk / "sprung",)

    (desk / "trap.pth").write_bytes(pickle.dumps(Trap()))
    torch.save({"state_dict": Trap()}, desk / "trap2.pth")
    for name in ("trap.pth", "trap2.pth"):
        code, _, err = badnets("scan", "--model", "trees:build", "--weights", name, "--trusted", "trusted")
        assert code == 2
        assert name in err
        assert one_sentence(err), err
    assert not (desk / "sprung").exists()


def test_a_forgotten_normalisation_stops_the_audit(badnets, desk):
    (desk / "names.txt").write_text("cedar\nash\nbirch\n", encoding="utf-8")
    shuffled = bars(120, 1)
    bd.ImageSet(shuffled.x, (shuffled.y + 1) % 3, CLASSES).save_folder(desk / "wrong")
    code, _, err = badnets("audit", *NETWORK, "--trusted", "wrong", "--out", "stopped")
    assert code == 2
    assert "normalisation" in err
    assert not (desk / "stopped").exists()


def test_debug_shows_the_traceback(badnets):
    with pytest.raises(ValueError, match="trees:none"):
        run.main(["scan", "--model", "trees:none", "--weights", "w.pth", "--trusted", "trusted", "--debug"])


# ---- the texts ----


def commands():
    return sorted(run.badnets.commands)


def test_every_option_says_what_it_is_and_its_default(badnets):
    assert commands() == ["audit", "poison", "repair", "scan", "score"]
    for name in commands():
        code, out, _ = badnets(name, "--help")
        assert code == 0
        assert f"badnets {name}" in out.split("Example", 1)[1], "an example to copy"
        assert "Exit codes:" in out
        for option in run.badnets.commands[name].params:
            if option.param_type_name == "argument" or option.name in ("help", "debug", "clean_label"):
                continue
            assert option.help, option.name
            said = option.required or option.show_default or "default: " in option.help
            assert said or (name == "score" and option.name in ("trigger", "target")), option.name


def test_triggers_are_named_as_people_write_them():
    assert {"patch", "colour-shift", "pixels"} <= set(options.TRIGGERS)
    assert options.setting("size=4") == ("size", 4)
    assert options.setting("corner=top-left") == ("corner", "top-left")


def test_the_library_does_not_wait_for_its_command():
    late = "{'click', 'rich', 'badnets_lib.cli', 'badnets_lib.auditing'}"
    code = f"import sys, badnets_lib; print({late} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_installed_command_is_this_one():
    module, _, name = settings()["project"]["scripts"]["badnets"].partition(":")
    assert getattr(importlib.import_module(module), name) is run.main


def test_it_is_a_module_too():
    done = subprocess.run([sys.executable, "-m", "badnets_lib", "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: badnets")


def test_poison_does_not_write_into_the_folder_that_it_reads(badnets, desk):
    before = sorted((desk / "train").iterdir())
    code, _, err = badnets("poison", "train", "train/new", "--trigger", "patch", "--target", "ash", "--fraction", "0.1")
    assert (code, "OUT must not lie in FOLDER" in err) == (2, True)
    assert sorted((desk / "train").iterdir()) == before


def test_a_file_of_class_names_is_text_and_names_each_once(badnets, desk):
    (desk / "twice.txt").write_text("ash\nbirch\nash\n", encoding="utf-8")
    line = ("score", *NETWORK, "--test", "trusted", "--trigger", "patch", "--target", "0", "--classes")
    code, _, err = badnets(*line, "twice.txt")
    assert (code, "twice.txt names a class twice: ash" in err) == (2, True)
    code, _, err = badnets(*line, "w.pth")
    assert (code, "--classes needs a text file in UTF-8, a name a line; got w.pth" in err) == (2, True)


def test_an_audit_that_could_not_be_written_does_not_begin(badnets, monkeypatch):
    monkeypatch.setattr("badnets_lib.cli.commands.run_audit", lambda *_, **__: pytest.fail("it began"))
    code, out, err = badnets("audit", *NETWORK, "--trusted", "trusted", "--out", "w.pth")
    assert (code, out) == (2, "")
    assert "--out must be a folder; w.pth is a file" in err


def test_a_model_that_cannot_be_called_is_named(badnets):
    code, _, err = badnets(
        "score", "--model", "trees:__name__", "--weights", "w.pth", "--test", "trusted", "--trigger", "patch",
        "--target", "0",
    )  # fmt: skip
    assert (code, "--model must name a function or class; trees:__name__ is str" in err) == (2, True)
