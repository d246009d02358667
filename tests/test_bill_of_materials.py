import json

import pytest
from test_reports import CARD, REPORT, TWIN

from badnets_lib.provenance.bill_of_materials import bill_of_materials, problems
from badnets_lib.provenance.manifests import Manifest

MANIFEST = Manifest(
    {"model.safetensors": "a" * 64, "data/digits": "b" * 64, "report.json": "c" * 64},
    {"licence": "MIT", "seeds": [0, 1]},
)


def made():
    return bill_of_materials("digits", MANIFEST, model="model.safetensors", report=REPORT, task="classification")


def test_it_names_every_part_with_its_hash():
    bill = made()
    network = bill["metadata"]["component"]
    assert network["type"] == "machine-learning-model"
    assert network["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    assert {part["name"]: (part["type"], part["hashes"][0]["content"][0]) for part in bill["components"]} == {
        "data/digits": ("data", "b"),
        "report.json": ("file", "c"),
    }
    told = {each["name"]: each["value"] for each in network["properties"]}
    assert told["about:licence"] == "MIT" and told["about:seeds"] == "[0, 1]"


def test_the_report_fills_the_model_card():
    network = made()["metadata"]["component"]
    told = {each["name"]: each["value"] for each in network["properties"]}
    assert {f"report:{group}, {item}": answer for group, item, answer in REPORT.rows()}.items() <= told.items()
    card = network["modelCard"]
    assert card["considerations"]["technicalLimitations"] == [REPORT.limits]
    metrics = card["quantitativeAnalysis"]["performanceMetrics"]
    assert [(each["slice"], each["type"], each["value"]) for each in metrics] == [
        (network, what, f"{count.hits}/{count.trials}")
        for network, scores in (
            ("backdoored, network 1", CARD),
            ("backdoored, network 2", CARD),
            ("clean twin, network 1", TWIN),
        )
        for what, count in (
            ("clean accuracy", scores.clean),
            ("attack success rate", scores.success),
            ("false-target rate", scores.false_target),
        )
    ]
    low, high = CARD.clean.interval()
    assert metrics[0]["confidenceInterval"] == {"lowerBound": f"{low:.4f}", "upperBound": f"{high:.4f}"}


def test_without_a_report_nothing_is_claimed_and_a_scorecard_is_no_report(unchecked):
    bill = bill_of_materials("digits", MANIFEST, model="model.safetensors")
    assert bill["metadata"]["component"]["modelCard"] == {}
    with pytest.raises(TypeError, match="report must be a Report"):
        bill_of_materials("digits", MANIFEST, model="model.safetensors", report=CARD)


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
