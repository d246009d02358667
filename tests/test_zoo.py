"""A zoo keeps its secret, repeats from its salt, and survives stops and damage."""

import hashlib
import json
import math
import os
from collections import Counter
from dataclasses import asdict, replace

import pytest
import torch
from safetensors import safe_open

from badnets_lib import DamagedFile, Goal, Patch, Proportion, load_model, save_model, weights_hash
from badnets_lib.models.networks import SmallCNN
from coursework import specimens as s, zoo as z

SALT = "a salt for tests"
TINY = s.Recipe(models=4, images=200, epochs=1, least_success=0.0, least_clean=0.0)


def untrained(source, recipe, kind):
    """In place of a training: a network and a truth that are drawn, not made."""
    torch.manual_seed(source.getrandbits(31))
    attack = () if kind == "clean" else (Patch(), Goal.all_to_one(source.randrange(10), 10), 0.05, Proportion(95, 100))
    return SmallCNN().eval(), s.Truth(kind, "", Proportion(97, 100), 0, *attack)


class Trainer:
    """Counts trainings, and stops one of them as a kill would."""

    def __init__(self, stop_at=None):
        self.calls, self.stop_at = 0, stop_at

    def __call__(self, source, recipe, kind):
        self.calls += 1
        if self.calls == self.stop_at:
            raise KeyboardInterrupt
        return untrained(source, recipe, kind)


@pytest.fixture
def trainer(monkeypatch):
    trainer = Trainer()
    monkeypatch.setattr(z, "train_one", trainer)
    return trainer


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """One zoo that was really trained, if hardly: (public folder, truth, what was returned)."""
    place = tmp_path_factory.mktemp("zoo")
    return (
        place / "public",
        place / "truth.json",
        z.make_zoo(place / "public", place / "truth.json", salt=SALT, recipe=TINY, jobs=1),
    )


def weights(folder):
    """Hashes; the bytes of a file may differ, since safetensors orders its header as it likes."""
    return {path.name: weights_hash(load_model(path)[0]) for path in sorted(folder.glob("*.safetensors"))}


# ---- what is public ----


def test_the_list_leads_to_the_networks(made):
    folder, _, zoo = made
    assert zoo == z.read_zoo(folder) == json.loads((folder / "zoo.json").read_text())
    assert sorted(path.name for path in folder.iterdir()) == [
        *(f"{name}.safetensors" for name in TINY.names),
        "zoo.json",
    ]
    for row in zoo["models"].values():
        load_model(folder / row["file"], sha256=row["sha256"])


def test_the_public_folder_has_no_room_for_the_truth(made):
    folder, truth, zoo = made
    assert set(zoo) == {"schema", "zoo", "data", "models"}
    assert all(set(row) == {"file", "sha256"} for row in zoo["models"].values())
    assert list(zoo["models"]) == TINY.names
    hashes = " ".join(row["sha256"] for row in zoo["models"].values())
    assert zoo["zoo"] == hashlib.sha256(hashes.encode()).hexdigest()[:16], "the id holds nothing that is not public"
    everything = b"".join(path.read_bytes() for path in folder.iterdir())
    private = json.loads(truth.read_text())
    words = [SALT, private["mark"], "small", "spread", "backdoor", "Pixels", "target", "seed", "fraction", "attempt"]
    assert not [word for word in words if word.encode() in everything]


def test_the_files_differ_in_nothing_but_their_weights(made):
    folder, _, _ = made
    paths = sorted(folder.glob("*.safetensors"))
    sizes, headers = Counter(), Counter()
    for path in paths:
        with safe_open(path, framework="pt") as file:
            header = json.loads(file.metadata()["header"])
            counted = [name for name in file.keys() if name.endswith("num_batches_tracked")]  # noqa: SIM118
            steps = {int(file.get_tensor(name)) for name in counted}
        assert steps <= {math.ceil(TINY.images / 64)}, "as many steps for every network"
        sizes[header["spec"]["name"], str(header["spec"]), path.stat().st_size] += 1
        headers[json.dumps(header)] += 1
    assert len(sizes) == len(headers) == len({spec for _, spec, _ in sizes}), "one size and header an architecture"
    times = [path.stat().st_mtime_ns for path in (*paths, folder / "zoo.json")]
    assert times == sorted(times), "written in the order of their names, whatever the order of their making"


def test_times_do_not_tell_which_network_was_made_again(tmp_path, trainer):
    folder, truth = tmp_path / "zoo", tmp_path / "truth.json"
    z.make_zoo(folder, truth, salt=SALT, recipe=TINY, jobs=1)
    (folder / "model_01.safetensors").unlink()
    z.make_zoo(folder, truth, salt=SALT, recipe=TINY, jobs=1)
    assert trainer.calls == 5
    times = [path.stat().st_mtime_ns for path in sorted(folder.iterdir())]
    assert times == sorted(times)


# ---- what is drawn ----


def test_the_practice_zoo_stays_the_one_that_was_scored():
    kinds = s.draw_kinds("practice", s.Recipe())
    assert "".join(kind[:2] for kind in kinds) == "smclclsmclclsmsoclclspclclsmclclsosmclsm"
    assert (
        hashlib.sha256(repr(s.draw_attack(s.stream("practice", "model_00", 0, 20), "small")).encode()).hexdigest()[:8]
        == "dec3ac5e"
    )


def test_half_are_backdoored_but_nobody_knows_how_many():
    drawn = [s.draw_kinds(f"salt number {salt}", s.Recipe()) for salt in range(600)]
    counts = Counter(sum(kind != "clean" for kind in kinds) for kinds in drawn)
    assert set(counts) == {8, 9, 10, 11, 12} and min(counts.values()) > 80
    for place in range(20):  # standard deviation 12
        assert 240 < sum(kinds[place] != "clean" for kinds in drawn) < 360, "no place is more suspicious than another"
    for kinds in drawn[:50]:
        backdoored = [kind for kind in kinds if kind != "clean"]
        assert backdoored.count("small") == math.ceil(0.6 * len(backdoored))


@pytest.mark.parametrize("models", [4, 5, 7, 100])
def test_every_size_has_both_kinds(models):
    kinds = s.draw_kinds(SALT, s.Recipe(models=models))
    backdoored = sum(kind != "clean" for kind in kinds)
    assert len(kinds) == models and 0.4 * models <= backdoored <= 0.6 * models


def test_a_stream_belongs_to_its_salt_and_words():
    first = s.stream(SALT, "model_00", 0, 4).random()
    assert first == s.stream(SALT, "model_00", 0, 4).random()
    others = [
        ("b salt for tests", "model_00", 0, 4),
        (SALT, "model_01", 0, 4),
        (SALT, "model_00", 1, 4),
        (SALT, "model_00", 0, 5),
    ]
    assert first not in [s.stream(*each).random() for each in others]


@pytest.mark.parametrize("kind", ["small", "spread", "source-specific"])
def test_every_attack_that_can_be_drawn_can_be_made_and_saved(kind):
    x = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    targets = set()
    for number in range(60):
        trigger, goal, fraction = s.draw_attack(s.stream(SALT, kind, number), kind)
        assert trigger(x).shape == x.shape and not torch.equal(trigger(x), x)
        row = s.Truth(kind, "00", Proportion(9, 10), 1, trigger, goal, fraction, Proportion(5, 9))
        assert s.Truth.from_dict(json.loads(json.dumps(row.as_dict()))) == row
        assert len(goal.targets) == 1 and len(goal.sources) == (3 if kind == "source-specific" else 9)
        assert 0.04 <= fraction <= 0.1
        targets.add(goal.targets[0])
    assert len(targets) == 10


# ---- what is private ----


def test_the_truth_is_for_its_owner_and_complete(made):
    _, truth, zoo = made
    assert truth.stat().st_mode & 0o777 == 0o600
    identity, rows = z.read_truth(truth)
    assert identity == zoo["zoo"] and list(rows) == TINY.names
    assert sum(row.backdoored for row in rows.values()) == 2
    for name, row in rows.items():
        assert row.sha256 == zoo["models"][name]["sha256"] and row.attempts == 1
        assert (row.goal is not None) == (row.success is not None) == row.backdoored
        assert row.trigger is not None and row.fraction > 0, "a clean network saw stamps, too"
    assert SALT not in truth.read_text()


def test_the_truth_is_never_readable_by_others_while_it_grows(tmp_path, monkeypatch, trainer):
    seen, write = [], z.write_atomically

    def watched(path, content, **how):
        seen.append((path.name, how.get("mode")))
        return write(path, content, **how)

    monkeypatch.setattr(z, "write_atomically", watched)
    z.make_zoo(tmp_path / "zoo", tmp_path / "truth.json", salt=SALT, recipe=TINY, jobs=1)
    assert {mode for name, mode in seen if name == "truth.json"} == {0o600}


# ---- again ----


def test_the_same_salt_makes_the_same_zoo_in_any_number_of_processes(made, tmp_path):
    folder, truth, _ = made
    threads = torch.get_num_threads()
    z.make_zoo(tmp_path / "again", tmp_path / "truth.json", salt=SALT, recipe=TINY, jobs=1)
    assert weights(tmp_path / "again") == weights(folder)
    assert (tmp_path / "truth.json").read_bytes() == truth.read_bytes()
    assert torch.get_num_threads() == threads


def test_another_salt_makes_another_zoo(tmp_path, trainer):
    zoos = [
        z.make_zoo(tmp_path / salt, tmp_path / f"{salt}.json", salt=salt, recipe=TINY, jobs=1)
        for salt in ("salt one", "salt two")
    ]
    hashes = [{row["sha256"] for row in zoo["models"].values()} for zoo in zoos]
    assert not hashes[0] & hashes[1] and zoos[0]["zoo"] != zoos[1]["zoo"]


def test_a_stopped_zoo_goes_on_where_it_was(tmp_path, monkeypatch):
    whole = tmp_path / "whole"
    monkeypatch.setattr(z, "train_one", untrained)
    z.make_zoo(whole, tmp_path / "whole.json", salt=SALT, recipe=TINY, jobs=1)
    folder, truth = tmp_path / "zoo", tmp_path / "truth.json"
    for stop_at, expected in ((3, 3), (None, 2)):
        trainer = Trainer(stop_at)
        monkeypatch.setattr(z, "train_one", trainer)
        if stop_at:
            with pytest.raises(KeyboardInterrupt):
                z.make_zoo(folder, truth, salt=SALT, recipe=TINY, jobs=1)
            assert not (folder / "zoo.json").exists()
            with pytest.raises(DamagedFile, match="not the truth about a finished zoo"):
                z.read_truth(truth)
            (folder / ".model_02.safetensors.x1y2").write_text("what a kill leaves behind")
        else:
            z.make_zoo(folder, truth, salt=SALT, recipe=TINY, jobs=1)
        assert trainer.calls == expected
    assert weights(folder) == weights(whole) and truth.read_bytes() == (tmp_path / "whole.json").read_bytes()
    assert not list(folder.glob(".*"))


def test_damaged_and_foreign_weights_are_made_again(tmp_path, trainer):
    folder, truth = tmp_path / "zoo", tmp_path / "truth.json"
    z.make_zoo(folder, truth, salt=SALT, recipe=TINY, jobs=1)
    before, trainer.calls = weights(folder), 0
    damaged, foreign, signed, _ = (folder / f"{name}.safetensors" for name in TINY.names)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    save_model(foreign, SmallCNN(), z.ORIGIN)
    save_model(signed, load_model(signed)[0], {"made for": "giving something away"})
    z.make_zoo(folder, truth, salt=SALT, recipe=TINY, jobs=1)
    assert trainer.calls == 3 and weights(folder) == before


def test_a_network_that_is_not_good_enough_is_drawn_again(tmp_path, monkeypatch):
    tried = Counter()

    def weak_at_first(source, recipe, kind):
        model, row = untrained(source, recipe, kind)
        tried[kind] += 1
        if kind == "small" and tried[kind] < 3:
            row = replace(row, success=Proportion(899, 1000))
        return model, row

    monkeypatch.setattr(z, "train_one", weak_at_first)
    recipe = s.Recipe(models=4)
    z.make_zoo(tmp_path / "zoo", tmp_path / "truth.json", salt=SALT, recipe=recipe, jobs=1)
    rows = z.read_truth(tmp_path / "truth.json")[1].values()
    assert [row.attempts for row in rows if row.kind == "small"] == [3, 1]
    assert {row.attempts for row in rows if row.kind != "small"} == {1}
    assert min(row.success.value for row in rows if row.success) >= 0.9


def test_clean_networks_owe_the_same_accuracy(tmp_path, monkeypatch):
    def dull(source, recipe, kind):
        model, row = untrained(source, recipe, kind)
        return model, replace(row, clean=Proportion(94, 100))

    monkeypatch.setattr(z, "train_one", dull)
    with pytest.raises(RuntimeError, match=r"model_00 did not reach clean accuracy 0.95 .* in 2 attempts.*94/100"):
        z.make_zoo(tmp_path / "zoo", tmp_path / "t.json", salt=SALT, recipe=s.Recipe(models=4, attempts=2), jobs=1)


# ---- what is refused ----


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"models": 3}, "from 4 to 100 models; got 3"),
        ({"models": 101}, "from 4 to 100 models; got 101"),
        ({"images": 3501}, r"images must lie in \[100, 3500\]; got 3501"),
        ({"least_success": 1.1}, r"must lie in \[0, 1\]; got 1.1, 0.95"),
        ({"epochs": 0}, "at least 1; got 0, 10"),
    ],
)
def test_a_recipe_refuses(settings, message):
    with pytest.raises(ValueError, match=message):
        s.Recipe(**settings)


def test_a_short_salt_is_refused_and_not_repeated(tmp_path):
    with pytest.raises(ValueError, match="at least 8 characters; got 7") as error:
        z.make_zoo(tmp_path / "zoo", tmp_path / "truth.json", salt="geheim!")
    assert "geheim" not in str(error.value)


def test_the_truth_may_not_lie_in_the_public_folder(tmp_path):
    (tmp_path / "zoo").mkdir()
    os.symlink(tmp_path / "zoo", tmp_path / "elsewhere")
    for path in (
        tmp_path / "zoo" / "truth.json",
        tmp_path / "zoo" / "deep" / "t.json",
        tmp_path / "elsewhere" / "t.json",
    ):
        with pytest.raises(ValueError, match="lies in the public folder"):
            z.make_zoo(tmp_path / "zoo", path, salt=SALT, recipe=TINY, jobs=1)


def test_what_is_of_another_zoo_is_left_alone(tmp_path, trainer):
    folder, truth = tmp_path / "zoo", tmp_path / "truth.json"
    z.make_zoo(folder, truth, salt=SALT, recipe=TINY, jobs=1)
    before = weights(folder) | {"truth": truth.read_bytes()}
    with pytest.raises(ValueError, match="another salt or recipe"):
        z.make_zoo(folder, truth, salt="another salt", recipe=TINY, jobs=1)
    with pytest.raises(ValueError, match="another salt or recipe"):
        z.make_zoo(folder, truth, salt=SALT, recipe=s.Recipe(**asdict(TINY) | {"models": 5}), jobs=1)
    with pytest.raises(ValueError, match=r"holds zoo.json, which is not of this zoo"):
        z.make_zoo(folder, tmp_path / "other.json", salt=SALT, recipe=TINY, jobs=1)
    assert weights(folder) | {"truth": truth.read_bytes()} == before and trainer.calls == 4


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema": 1}'])
def test_files_that_are_no_truth_are_refused(tmp_path, trainer, content):
    truth = tmp_path / "truth.json"
    truth.write_text(content)
    with pytest.raises(ValueError, match="is not the truth about this zoo"):
        z.make_zoo(tmp_path / "zoo", truth, salt=SALT, recipe=TINY, jobs=1)
    with pytest.raises(DamagedFile, match="not the truth about a finished zoo"):
        z.read_truth(truth)
    assert truth.read_text() == content


def test_a_folder_with_something_else_is_refused(tmp_path, trainer):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds notes.txt, which is not of this zoo"):
        z.make_zoo(tmp_path, tmp_path.parent / "truth.json", salt=SALT, recipe=TINY, jobs=1)


def test_reading_says_what_is_missing_or_wrong(tmp_path):
    for read in (z.read_zoo, z.read_truth):
        with pytest.raises(FileNotFoundError, match="no file"):
            read(tmp_path / "nowhere")
    (tmp_path / "zoo.json").write_text('{"schema": 1}')
    with pytest.raises(DamagedFile, match="not the list of a zoo"):
        z.read_zoo(tmp_path)
