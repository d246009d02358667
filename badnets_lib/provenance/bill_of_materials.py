"""A bill of materials in the industry's format: what a model was made of, as CycloneDX, from a manifest and scores."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from .._numbers import of_kind, shown
from ..counts import Proportion
from .manifests import Manifest

VERSION = "1.6"
"""The version of the format that is written; model cards came with 1.5."""


def bill_of_materials(
    name: str, manifest: Manifest, *, model: str, measured: Mapping[str, Proportion] | None = None, task: str = ""
) -> dict[str, Any]:
    """A CycloneDX ML-BOM, JSON-ready: the model, its parts with their hashes, and what was measured.

    Args:
        name: What the model is called.
        manifest: Its parts; the manifest's `about` becomes properties.
        model: The part that is the model itself; its hash is the model's. A part whose name begins with "data" is
            listed as data, any other as a file.
        measured: Counts by name, such as those of a `Scorecard`; each is written with its 95% interval.
        task: What the model does, such as "classification".

    Raises:
        ValueError: The manifest has no such part.

    References:
        CycloneDX, specification 1.6, ECMA-424, https://cyclonedx.org/docs/1.6/json.
    """
    of_kind("manifest", manifest, Manifest)
    if model not in manifest.parts:
        raise ValueError(f"the manifest has no part {shown(model)}; it has {', '.join(manifest.parts) or 'none'}")
    card: dict[str, Any] = {"modelParameters": {"task": task}} if task else {}
    if measured:
        metrics = [_metric(what, count) for what, count in measured.items()]
        card["quantitativeAnalysis"] = {"performanceMetrics": metrics}
    network = {
        "type": "machine-learning-model",
        "bom-ref": model,
        "name": name,
        "hashes": _hashes(manifest.parts[model]),
        "modelCard": card,
        "properties": [{"name": f"about:{key}", "value": _text(value)} for key, value in manifest.about.items()],
    }
    parts = [
        {
            "type": "data" if part.startswith("data") else "file",
            "bom-ref": part,
            "name": part,
            "hashes": _hashes(digest),
        }
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


def _metric(name: str, count: Proportion) -> dict[str, Any]:
    low, high = of_kind(name, count, Proportion).interval()
    return {
        "type": name,
        "value": f"{count.hits}/{count.trials}",
        "confidenceInterval": {"lowerBound": f"{low:.4f}", "upperBound": f"{high:.4f}"},
    }


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
