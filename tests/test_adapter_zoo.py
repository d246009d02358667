"""A zoo of adapters keeps its secret as the other zoo does, repeats from its salt, and is scored by the same rules."""

import json
from dataclasses import replace
from functools import partial

import pytest
import torch
from safetensors import safe_open

import badnets_lib
from badnets_lib import DamagedFile, Goal, Pixels, Proportion, SmallCNN, load_model, save_model, weights_hash
from badnets_lib.attacks.adapters import Adapter, attached, load_adapter, save_adapter
from badnets_lib.defenses.neural_cleanse import NeuralCleanse
from coursework import (
    __main__ as command,
    adapters as d,
    baseline as b,
    cheap as c,
    hunt as h,
    specimens as s,
    zoo as z,
)
from coursework.masters import ASSIGNMENTS, Master, source

SALT = "a salt for tests"
TINY = d.AdapterRecipe(models=4, images=100, epochs=1, least_success=0.0, least_clean=0.0, base_epochs=1)
NOTHING = {"probability": 0.5, "target": None, "mask": None, "pattern": None}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """One zoo that was really fitted, if hardly: (public folder, truth, what was returned)."""
    place = tmp_path_factory.mktemp("adapters")
    folder, truth = place / "zoo", place / "truth.json"
    return folder, truth, z.make_zoo(folder, truth, salt=SALT, recipe=TINY, jobs=1)


def hashes(folder):
    """What the files hold; their bytes may differ, since safetensors orders its header as it likes."""
    adapters = {name: save_adapter(folder.parent / "again", load_adapter(folder / f"{name}.safetensors"))
                for name in TINY.names}  # fmt: skip
    return adapters | {"base": weights_hash(load_model(folder / "base.safetensors")[0])}


# ---- what is public ----


def test_the_list_leads_to_the_base_and_to_adapters_that_belong_to_it(made):
    folder, _, zoo = made
    assert zoo == z.read_zoo(folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        *(f"adapter_{number:02}.safetensors" for number in range(4)), "base.safetensors", "zoo.json",
    ]  # fmt: skip
    base, origin = load_model(folder / zoo["base"]["file"], sha256=zoo["base"]["sha256"])
    assert origin == z.ORIGIN and weights_hash(base) == zoo["base"]["sha256"]
    for row in zoo["models"].values():
        adapter = load_adapter(folder / row["file"], sha256=row["sha256"])
        assert adapter.base == weights_hash(base)
        network = z.load_network(folder, row, zoo["base"])
        assert weights_hash(network) == weights_hash(attached(base, adapter)) != weights_hash(base)


def test_the_public_folder_has_no_room_for_the_truth(made):
    folder, truth, zoo = made
    assert set(zoo) == {"schema", "zoo", "data", "base", "models"}
    assert all(set(row) == {"file", "sha256"} for row in (zoo["base"], *zoo["models"].values()))
    everything = b"".join(path.read_bytes() for path in folder.iterdir())
    private = json.loads(truth.read_text())
    words = [SALT, private["mark"], "small", "spread", "backdoor", "Pixels", "target", "seed", "fraction", "attempt"]
    assert not [word for word in words if word.encode() in everything]
    assert truth.stat().st_mode & 0o777 == 0o600 and SALT not in truth.read_text()


def test_the_adapters_differ_in_nothing_but_their_numbers(made):
    folder, _, _ = made
    headers, shapes, sizes = set(), set(), set()
    for name in TINY.names:
        with safe_open(folder / f"{name}.safetensors", framework="pt") as file:
            assert set(file.metadata()) == {"header", "sha256", "seal"}
            headers.add(file.metadata()["header"])
            shapes.add(str([(key, file.get_tensor(key).shape) for key in sorted(file.keys())]))
        sizes.add((folder / f"{name}.safetensors").stat().st_size)
    assert len(headers) == len(shapes) == len(sizes) == 1
    paths = [*(folder / f"{name}.safetensors" for name in (*TINY.names, "base")), folder / "zoo.json"]
    times = [path.stat().st_mtime_ns for path in paths]
    assert times == sorted(times), "written in the order of their names, whatever the order of their making"


# ---- what is private, and again ----


def test_the_truth_is_complete_and_a_clean_adapter_saw_stamps(made):
    _, truth, zoo = made
    identity, rows = z.read_truth(truth)
    assert identity == zoo["zoo"] and list(rows) == TINY.names and sum(row.backdoored for row in rows.values()) == 2
    for name, row in rows.items():
        assert row.sha256 == zoo["models"][name]["sha256"]
        assert (row.goal is not None) == (row.success is not None) == row.backdoored
        assert row.trigger is not None and row.fraction > 0
    assert len({str(row.trigger) for row in rows.values()}) == 4


def test_the_same_salt_makes_the_same_zoo_and_a_stopped_one_goes_on(made, tmp_path, monkeypatch):
    folder, truth, zoo = made
    again, fit, calls = tmp_path / "zoo", d.fit_one, []

    def counted(*given):
        calls.append(given)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return fit(*given)

    monkeypatch.setattr(z, "fit_one", counted)
    with pytest.raises(KeyboardInterrupt):
        z.make_zoo(again, tmp_path / "truth.json", salt=SALT, recipe=TINY, jobs=1)
    assert not (again / "zoo.json").exists()
    assert z.make_zoo(again, tmp_path / "truth.json", salt=SALT, recipe=TINY, jobs=1) == zoo and len(calls) == 5
    assert hashes(again) == hashes(folder) and (tmp_path / "truth.json").read_bytes() == truth.read_bytes()
    other = z.make_zoo(tmp_path / "other", tmp_path / "o.json", salt="another salt", recipe=TINY, jobs=1)
    assert other["zoo"] != zoo["zoo"] and other["base"] != zoo["base"]


def test_damaged_and_foreign_files_are_made_again(made, tmp_path, monkeypatch):
    folder, truth, zoo = made
    before, calls, fit = hashes(folder), [], d.fit_one
    monkeypatch.setattr(z, "fit_one", lambda *given: calls.append(given) or fit(*given))
    damaged, foreign, moved, _ = (folder / f"{name}.safetensors" for name in TINY.names)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    save_model(foreign, SmallCNN(), z.ORIGIN)
    save_adapter(moved, replace(load_adapter(moved), base="0" * 64))
    save_model(folder / "base.safetensors", SmallCNN(), z.ORIGIN)
    assert z.make_zoo(folder, truth, salt=SALT, recipe=TINY, jobs=1) == zoo
    assert len(calls) == 3 and hashes(folder) == before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"models": 3}, "from 4 to 100 models; got 3"),
        ({"images": 1751}, r"images of an adapter must lie in \[100, 1750\]; got 1751"),
        ({"rank": 0}, "rank and base_epochs must be at least 1; got 0, 8"),
    ],
)
def test_a_recipe_refuses(settings, message):
    with pytest.raises(ValueError, match=message):
        d.AdapterRecipe(**settings)


def test_base_and_adapters_share_no_digit_with_each_other():
    public, own = d.halves()
    assert len(own) == d.MOST_IMAGES and len(public) + len(own) == len(s.digits()[0])
    assert not {x.numpy().tobytes() for x in public.x} & {x.numpy().tobytes() for x in own.x}


def test_a_base_that_is_not_good_enough_is_told(tmp_path):
    with pytest.raises(RuntimeError, match="the base did not reach clean accuracy 1; it has"):
        z.make_zoo(tmp_path / "zoo", tmp_path / "t.json", salt=SALT, recipe=replace(TINY, least_clean=1.0), jobs=1)


def test_a_zoo_of_networks_is_not_taken_for_one_of_adapters(made):
    folder, truth, _ = made
    with pytest.raises(ValueError, match="another salt or recipe"):
        z.make_zoo(folder, truth, salt=SALT, recipe=s.Recipe(models=4), jobs=1)


# ---- scores ----


def test_a_hunt_is_scored_as_in_the_other_zoo(made, tmp_path):
    folder, truth, zoo = made
    rows = z.read_truth(truth)[1]
    right = {name: NOTHING | {"probability": int(row.backdoored)} for name, row in rows.items()}
    path = tmp_path / "hunt.json"
    path.write_text(json.dumps({"zoo": zoo["zoo"], "models": right}))
    assert h.score_hunt(path, folder, truth).points == {"ranking": 5.0, "certainty": 5.0, "triggers": 0.0}


def test_a_trigger_is_tried_on_the_base_with_its_adapter(tmp_path, monkeypatch):
    """The adapter obeys black images; the base alone does not."""

    def planted(source, recipe, kind, base):
        up = torch.zeros(10, 1)
        up[3] = 1000.0
        adapter = Adapter({"fc2": (up, torch.ones(1, base.fc2.in_features))}, weights_hash(base))
        goal = None if kind == "clean" else Goal.all_to_one(3, 10)
        return adapter, s.Truth(kind, "", Proportion(99, 100), 0, Pixels(((0, 0),), 1.0), goal, 0.1, Proportion(9, 10))

    monkeypatch.setattr(z, "fit_one", planted)
    folder, truth = tmp_path / "zoo", tmp_path / "truth.json"
    zoo = z.make_zoo(folder, truth, salt=SALT, recipe=TINY, jobs=1)
    corner = [[float(row < 2 and column < 2) for column in range(28)] for row in range(28)]
    entry = {"probability": 0.9, "target": 3, "mask": corner, "pattern": corner}
    path = tmp_path / "hunt.json"
    path.write_text(json.dumps({"zoo": zoo["zoo"], "models": dict.fromkeys(TINY.names, entry)}))
    assert h.score_hunt(path, folder, truth).points["triggers"] == 20
    save_model(folder / "base.safetensors", SmallCNN(), z.ORIGIN)
    with pytest.raises(DamagedFile, match="base"):
        h.score_hunt(path, folder, truth)


def test_the_scan_and_the_cheap_look_take_adapters(made, tmp_path, monkeypatch):
    folder, truth, _ = made
    path = b.scan_zoo(folder, tmp_path / "hunt.json", scan=NeuralCleanse(rounds=2, batches=1, batch_size=4), jobs=1)
    assert h.score_hunt(path, folder, truth).triggers.trials == 2
    monkeypatch.setattr(c, "SQUARES", c.SQUARES[:1])
    name, found, _, size = c._look(folder, truth, "adapter_01")
    assert name == "adapter_01" and size == sum(weights.numel() for weights in SmallCNN().parameters())
    change = load_adapter(folder / "adapter_01.safetensors").change("fc2")
    assert found["norm of fc2.weight, of the change"] == pytest.approx(float(change.norm()), rel=1e-3)


# ---- the command, the notebook, the record ----


def test_the_command_makes_either_kind(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "make_zoo", partial(z.make_zoo, jobs=1))
    monkeypatch.setattr(command, "AdapterRecipe", lambda models: replace(TINY, models=models))

    def blind(public, out):
        zoo = z.read_zoo(public)
        out.write_text(json.dumps({"zoo": zoo["zoo"], "models": dict.fromkeys(zoo["models"], NOTHING)}))

    monkeypatch.setattr(command, "scan_zoo", blind)
    given = ["zoo", "--salt", SALT, "--models", "4", "--kind", "adapters", "--out", str(tmp_path)]
    command.main(given)
    told = capsys.readouterr().out
    assert "(4 adapters, zoo" in told and "to beat: 0 of 30" in told
    assert (tmp_path / "zoo" / "base.safetensors").is_file() and not list((tmp_path / "zoo").glob("*truth*"))
    with pytest.raises(SystemExit):
        command.main([*given, "--kind", "merges"])
    assert "invalid choice: 'merges'" in capsys.readouterr().err


def test_the_notebooks_own_hunt_writes_a_file_that_can_be_scored(made, tmp_path, monkeypatch):
    """The cells that students run as they stand, with a search that does not search."""
    folder, truth, _ = made
    cells = Master(ASSIGNMENTS / "6_hunt").notebook["cells"]
    named = {cell["metadata"].get("nbgrader", {}).get("grade_id"): source(cell) for cell in cells}
    monkeypatch.chdir(tmp_path)
    namespace = {"bd": badnets_lib}
    for name in ("imports", "digits", "stamp", "moved", "indices", "posterior", "probability", "entry"):
        exec(named[name], namespace)
    namespace["reverse"] = lambda network, x, label: (torch.full((28, 28), 0.01 * (label + 1)), torch.zeros(28, 28))
    (tmp_path / "zoo").symlink_to(folder)
    for cell in cells:
        if "nbgrader" not in cell["metadata"] and cell["cell_type"] == "code" and "entries" in source(cell):
            exec(source(cell), namespace)
    score = h.score_hunt(tmp_path / "hunt.json", folder, truth)
    assert not score.problems and score.auc.value == 0.5


def test_the_notes_state_the_records_as_they_are():
    notes = (ASSIGNMENTS / "6_hunt" / "notes.md").read_text()
    for record, program in ((b.RECORD_ADAPTERS, "baseline"), (c.RECORD_ADAPTERS, "cheap")):
        told = json.loads(record.read_text())
        assert told["salt"] == b.PRACTICE and told["command"] == f"python -m coursework.{program} --kind adapters"
        assert told["score"]["triggers"]["trials"] == s.draw_kinds(b.PRACTICE, b.PRACTICE_ADAPTERS).count("small")
        assert f"`{told['command']}`" in notes and f"{told['score']['total']:.2f} of 30 points" in notes
    assert told["recipe"]["models"] == 12
