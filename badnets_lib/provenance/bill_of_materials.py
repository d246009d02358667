"""A bill of materials in the industry's format: what a model was made of, as CycloneDX, from manifest and report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable
from uuid import uuid4

from .._numbers import of_kind, shown
from ..counts import Proportion
from .manifests import Manifest

VERSION = "1.6"
"""The version of the format that is written; model cards came with 1.5."""


COUNTS = {"clean": "clean accuracy", "success": "attack success rate", "false_target": "false-target rate"}
"""What a scorecard counts, and its name in the bill."""


@runtime_checkable
class Reported(Protocol):
    """What the bill takes from a `Report`, which lies in a room beside this one."""

    @property
    def limits(self) -> str:
        """What the numbers do not show."""

    @property
    def backdoored(self) -> Sequence[Any]:
        """A scorecard for each backdoored network."""

    @property
    def clean_twin(self) -> Sequence[Any]:
        """A scorecard for each clean twin."""

    def rows(self) -> list[tuple[str, str, str]]:
        """The checklist as (group, item, answer)."""


def bill_of_materials(
    name: str, manifest: Manifest, *, model: str, report: Reported | None = None, task: str = ""
) -> dict[str, Any]:
    """A CycloneDX ML-BOM, JSON-ready: the model, its parts with their hashes, and what was measured.

    Args:
        name: What the model is called.
        manifest: Its parts; the manifest's `about` becomes properties.
        model: The part that is the model itself; its hash is the model's. A part whose name begins with "data" is
            listed as data, any other as a file.
        report: The `Report` of the experiment. Its checklist becomes properties, its counts become metrics with their
            95% intervals, one slice for each network, and its limits the model's.
        task: What the model does, such as "classification".

    Raises:
        TypeError: A manifest or a report is needed, and something else came.
        ValueError: The manifest has no such part.

    References:
        CycloneDX, specification 1.6, ECMA-424, https://cyclonedx.org/docs/1.6/json.
    """
    of_kind("manifest", manifest, Manifest)
    if model not in manifest.parts:
        raise ValueError(f"the manifest has no part {shown(model)}; it has {', '.join(manifest.parts) or 'none'}")
    card: dict[str, Any] = {"modelParameters": {"task": task}} if task else {}
    properties = [_property("about", key, value) for key, value in manifest.about.items()]
    if report is not None:
        if not isinstance(report, Reported):
            raise TypeError(f"report must be a Report; got {shown(report)}")
        card["quantitativeAnalysis"] = {"performanceMetrics": _metrics(report)}
        card["considerations"] = {"technicalLimitations": [report.limits]}
        properties += [_property("report", f"{group}, {item}", answer) for group, item, answer in report.rows()]
    network = {
        "type": "machine-learning-model",
        "bom-ref": model,
        "name": name,
        "hashes": _hashes(manifest.parts[model]),
        "modelCard": card,
        "properties": properties,
    }
    parts = [
        {"type": _kind(part), "bom-ref": part, "name": part, "hashes": _hashes(digest)}
        for part, digest in manifest.parts.items()
        if part != model
    ]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": VERSION,
        "serialNumber": f"urn:uuid:{uuid4()}",
        "version": 1,
        "metadata": {"component": network},
        "components": parts,
        "dependencies": [{"ref": model, "dependsOn": [part["bom-ref"] for part in parts]}],
    }


def problems(bill: Mapping[str, Any]) -> str | None:
    """What the published schema objects to, or None; needs the package cyclonedx-python-lib, which ships the schema.

    Raises:
        ModuleNotFoundError: The package is not installed.
    """
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    found = JsonStrictValidator(SchemaVersion.from_version(VERSION)).validate_str(json.dumps(bill))
    return None if found is None else str(found)


def _kind(part: str) -> str:
    return "data" if part.startswith("data") else "file"


def _hashes(digest: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": digest}]


def _metrics(report: Reported) -> list[dict[str, Any]]:
    networks = {"backdoored": report.backdoored, "clean twin": report.clean_twin}
    return [
        _metric(what, f"{kind}, network {number}", getattr(card, measure))
        for kind, cards in networks.items()
        for number, card in enumerate(cards, start=1)
        for measure, what in COUNTS.items()
    ]


def _metric(name: str, network: str, count: Proportion) -> dict[str, Any]:
    low, high = count.interval()
    return {
        "type": name,
        "value": f"{count.hits}/{count.trials}",
        "slice": network,
        "confidenceInterval": {"lowerBound": f"{low:.4f}", "upperBound": f"{high:.4f}"},
    }


def _property(group: str, name: str, value: Any) -> dict[str, str]:
    return {"name": f"{group}:{name}", "value": value if isinstance(value, str) else json.dumps(value)}
