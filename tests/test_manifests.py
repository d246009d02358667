import hashlib
import json
from dataclasses import replace

import pytest
import torch

from badnets_lib import Attack, Goal, Patch, SmallCNN
from badnets_lib.provenance.manifests import (
    BadSignature,
    Changes,
    Manifest,
    file_hash,
    new_key,
    public_key,
    sign,
    verified,
)

SHA = hashlib.sha256(b"one").hexdigest()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.txt").write_bytes(b"one")
    (tmp_path / "sub" / "b.txt").write_bytes(b"two")
    return tmp_path


@pytest.fixture(scope="module")
def key():
    return new_key()


def test_files_are_listed_by_path_with_the_hash_of_their_bytes(folder):
    manifest = Manifest.of_files(folder, {"source": "a test"})
    assert list(manifest.parts) == ["a.txt", "sub/b.txt"]
    assert manifest.parts["a.txt"] == SHA == file_hash(folder / "a.txt")
    assert manifest.about == {"source": "a test"}


def test_changes_name_what_is_different(folder):
    listed = Manifest.of_files(folder)
    assert not listed.changes(Manifest.of_files(folder))
    (folder / "a.txt").write_bytes(b"One")
    (folder / "sub" / "b.txt").rename(folder / "c.txt")
    changes = listed.changes(Manifest.of_files(folder))
    assert changes and changes == Changes(altered=("a.txt",), missing=("sub/b.txt",), added=("c.txt",))


def test_an_image_manifest_is_the_same_however_the_images_are_stored(tiny):
    levels = (tiny.x * 255).round().to(torch.uint8)
    stored, floats = replace(tiny, x=levels), replace(tiny, x=levels.float() / 255)
    assert Manifest.of_images(stored).digest == Manifest.of_images(floats).digest


@pytest.mark.parametrize("added", [False, True])
def test_an_image_manifest_names_the_poisoned_images(tiny, added):
    plan = Attack(Patch(2), Goal.all_to_one(1, 3)).plan(tiny, fraction=0.1, added=added)
    changes = Manifest.of_images(tiny).changes(Manifest.of_images(plan.poison(tiny)))
    named = tuple(f"{place:06d}" for place in (plan.indices if not added else range(60, 60 + len(plan.indices))))
    assert changes == (Changes(added=named) if added else Changes(altered=named))


def test_a_label_counts_as_much_as_a_pixel(tiny):
    listed = Manifest.of_images(tiny)
    y = tiny.y.clone()
    y[3] = (y[3] + 1) % 3
    assert listed.changes(Manifest.of_images(type(tiny)(tiny.x, y, tiny.classes))).altered == ("000003",)


def test_a_model_manifest_names_the_edited_tensor():
    torch.manual_seed(0)
    model = SmallCNN(1, 3, 2)
    listed = Manifest.of_model(model)
    with torch.no_grad():
        model.fc2.weight[0, 0] += 1e-6
    assert listed.changes(Manifest.of_model(model)) == Changes(altered=("fc2.weight",))


def test_the_text_depends_on_the_content_and_not_on_the_order():
    other = hashlib.sha256(b"two").hexdigest()
    one, two = Manifest({"a": SHA, "b": other}, {"x": 1}), Manifest({"b": other, "a": SHA}, {"x": 1})
    assert one.to_json() == two.to_json() and one.digest == two.digest
    assert Manifest.from_json(one.to_json()) == one
    assert len({one.digest, Manifest({"a": SHA}, {"x": 1}).digest, Manifest(one.parts, {"x": 2}).digest}) == 3


@pytest.mark.parametrize("digest", ["", "abc", "g" * 64, SHA.upper(), SHA + "0"])
def test_what_is_no_hash_is_refused(digest):
    with pytest.raises(ValueError, match="a needs a SHA-256 of 64 hex digits"):
        Manifest({"a": digest})


@pytest.mark.parametrize(("text", "words"), [
    ("", "Expecting value"),
    ("[]", "expected an object with keys"),
    ("{}", "missing about, parts"),
    ('{"parts": 3, "about": {}}', "parts: expected an object with keys; got 3"),
    ('{"parts": {"a": 3}, "about": {}}', "parts: expected a text; got 3"),
    ('{"parts": {}, "about": {}, "colour": 1}', "unknown colour"),
    ('{"parts": {"a": "12"}, "about": {}}', "a needs a SHA-256"),
    ('{"parts": {}, "about": {"a": NaN}}', "NaN is no number in JSON"),
])  # fmt: skip
def test_a_text_that_is_no_manifest_is_refused(text, words):
    with pytest.raises(ValueError, match=f"this is not a manifest: {words}"):
        Manifest.from_json(text)


# ---- signatures ----


def test_a_signed_manifest_comes_back(key):
    manifest = Manifest({"a": SHA}, {"maker": "a test", "city": "Zürich"})
    assert verified(sign(manifest, key), public_key(key)) == manifest
    assert len(public_key(key)) == 64 and public_key(key) != public_key(new_key())


@pytest.mark.parametrize("forge", [
    lambda good, other: good.replace(SHA, "0" * 64),
    lambda good, other: good.replace("a test", "b test"),
    lambda good, other: sign(Manifest({"a": SHA}), other),
    lambda good, other: json.dumps(json.loads(good) | {"signature": "00" * 64}),
    lambda good, other: json.dumps(json.loads(good) | {"signature": "no hex"}),
    lambda good, other: json.dumps({"manifest": json.loads(good)["manifest"]}),
    lambda good, other: "{",
    lambda good, other: "[1]",
    lambda good, other: "",
], ids=range(9))  # fmt: skip
def test_a_forged_or_broken_text_is_refused(key, forge):
    good = sign(Manifest({"a": SHA}, {"maker": "a test"}), key)
    with pytest.raises(BadSignature, match=f"not signed by {public_key(key)[:8]}"):
        verified(forge(good, new_key()), public_key(key))


@pytest.mark.parametrize("trusted", ["", "12", "z" * 64])
def test_what_is_no_key_is_refused(key, trusted):
    with pytest.raises(ValueError, match="64 hex digits; got") as caught:
        verified(sign(Manifest({"a": SHA}), key), trusted)
    assert not isinstance(caught.value, BadSignature)
