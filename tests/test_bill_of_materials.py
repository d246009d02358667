import json

import pytest

from badnets_lib import Proportion
from badnets_lib.provenance.bill_of_materials import bill_of_materials, problems
from badnets_lib.provenance.manifests import Manifest

MANIFEST = Manifest(
    {"model.safetensors": "a" * 64, "data/digits": "b" * 64, "report.json": "c" * 64},
    {"licence": "MIT", "seeds": [0, 1]},
)


def made():
    measured = {"clean accuracy": Proportion(95, 100), "attack success rate": Proportion(3, 90)}
    return bill_of_materials("digits", MANIFEST, model="model.safetensors", measured=measured, task="classification")


def test_it_names_every_part_with_its_hash():
    bill = made()
    network = bill["metadata"]["component"]
    assert network["type"] == "machine-learning-model"
    assert network["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    assert {part["name"]: (part["type"], part["hashes"][0]["content"][0]) for part in bill["components"]} == {
        "data/digits": ("data", "b"),
        "report.json": ("file", "c"),
    }
    assert {each["name"]: each["value"] for each in network["properties"]} == {
        "about:licence": "MIT",
        "about:seeds": "[0, 1]",
    }


def test_counts_keep_their_trials_and_their_interval():
    first, _ = made()["metadata"]["component"]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    low, high = Proportion(95, 100).interval()
    assert first["type"] == "clean accuracy" and first["value"] == "95/100"
    assert first["confidenceInterval"] == {"lowerBound": f"{low:.4f}", "upperBound": f"{high:.4f}"}


def test_every_bill_has_its_own_number_and_is_json():
    one, two = made(), made()
    assert one.pop("serialNumber") != two.pop("serialNumber")
    assert json.loads(json.dumps(one)) == two


def test_the_published_schema_accepts_it_and_refuses_another():
    pytest.importorskip("cyclonedx", reason="cyclonedx-python-lib ships the schema")
    assert problems(made()) is None
    wrong = made()
    wrong["components"][0]["type"] = "poem"
    assert "poem" in str(problems(wrong))


def test_a_model_that_is_not_listed_is_refused():
    with pytest.raises(ValueError, match=r"no part 'net\.pth'; it has model\.safetensors, data/digits, report\.json"):
        bill_of_materials("digits", MANIFEST, model="net.pth")
