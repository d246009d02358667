"""Manifests: what a folder, a data set or a network consisted of, hash by hash, and who vouches for it.

A hash tells *that* something is not what was listed, and which part; a signature tells *who* listed
it. Neither says that what was listed is harmless.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from .. import _codec
from .._extras import need
from .._numbers import shown
from ..data.images import CHUNK, ImageSet, to_unit
from ..files import tensors_hash

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


class BadSignature(ValueError):
    """The signature was not made with the key you trust, or not for this text."""


@dataclass(frozen=True)
class Changes:
    """How what is there differs from what was listed: names of parts, in order."""

    altered: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    added: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.altered or self.missing or self.added)


@dataclass(frozen=True)
class Manifest:
    """A list of parts with the SHA-256 of each.

    Args:
        parts: Name of each part to its 64 hex digits.
        about: What the maker says of the whole, JSON-ready: source, licence, date, training plan.

    Raises:
        ValueError: A hash is not 64 hex digits.
    """

    parts: Mapping[str, str] = field(repr=False)
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, digest in self.parts.items():
            if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
                raise ValueError(f"{name} needs a SHA-256 of 64 hex digits; got {shown(digest)}")

    @classmethod
    def of_files(cls, folder: Path | str, about: Mapping[str, Any] | None = None) -> Manifest:
        """Every file under a folder, by its path in the folder."""
        root = Path(folder)
        paths = sorted(path for path in root.rglob("*") if path.is_file())
        return cls({_name(root, path): file_hash(path) for path in paths}, about or {})

    @classmethod
    def of_images(cls, data: ImageSet, about: Mapping[str, Any] | None = None) -> Manifest:
        """Every image together with its label, by its position; the same however the images are stored."""
        shape = list(data.x.shape[1:])
        parts = {
            f"{place:06d}": hashlib.sha256(f"{shape} {label}\n".encode() + image.tobytes()).hexdigest()
            for place, (image, label) in enumerate(zip(_pixels(data), data.y.tolist(), strict=True))
        }
        return cls(parts, about or {})

    @classmethod
    def of_model(cls, model: nn.Module, about: Mapping[str, Any] | None = None) -> Manifest:
        """Every tensor of a network's state, by its name."""
        return cls({name: tensors_hash({name: each}) for name, each in model.state_dict().items()}, about or {})

    @property
    def digest(self) -> str:
        """One SHA-256 for the whole; it changes when any part, name or remark does."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def changes(self, found: Manifest) -> Changes:
        """What is different in `found`."""
        mine, theirs = dict(self.parts), dict(found.parts)
        return Changes(
            tuple(sorted(name for name in mine.keys() & theirs.keys() if mine[name] != theirs[name])),
            tuple(sorted(mine.keys() - theirs.keys())),
            tuple(sorted(theirs.keys() - mine.keys())),
        )

    def to_json(self) -> str:
        """The manifest as text, always the same for the same content: this is what is signed."""
        return _codec.to_json(self, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Rebuild a manifest from `to_json`'s text.

        Raises:
            ValueError: The text is not a manifest: an item is missing, unknown or of another kind.
        """
        return _codec.from_json(cls, text, "a manifest")


def file_hash(path: Path | str) -> str:
    """SHA-256 of a file's bytes; 64 hex digits, as `sha256sum` prints them."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _pixels(data: ImageSet) -> Iterator[Any]:
    """The images one by one, as numpy arrays of numbers in [0, 1] in single precision."""
    for part in torch.split(data.x.detach(), CHUNK):
        yield from to_unit(part.cpu()).float().contiguous().numpy()


def _name(root: Path, path: Path) -> str:
    return str(PurePosixPath(path.relative_to(root)))


# ---- signatures ----


def new_key() -> Ed25519PrivateKey:
    """A fresh Ed25519 key, from the operating system's randomness: a secret must not repeat from a seed.

    Raises:
        ModuleNotFoundError: cryptography is not installed; a plain installation leaves it out.
    """
    need("cryptography", "signing")
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.generate()


def public_key(key: Ed25519PrivateKey) -> str:
    """The half of a key that is published: 64 hex digits."""
    return key.public_key().public_bytes_raw().hex()


def sign(manifest: Manifest, key: Ed25519PrivateKey) -> str:
    """The manifest and its signature as one text to publish."""
    text = manifest.to_json()
    return json.dumps({"manifest": text, "signature": key.sign(text.encode()).hex()}, indent=1)


def verified(signed: str, trusted: str) -> Manifest:
    """The manifest inside a signed text, if the key you trust signed exactly this.

    Args:
        signed: What `sign` returned.
        trusted: The public key, 64 hex digits, from a source other than the signed text.

    Raises:
        BadSignature: Another key signed, or the text was changed since, or it is no signed manifest.
        ModuleNotFoundError: cryptography is not installed; a plain installation leaves it out.
        ValueError: `trusted` is not a public key.
    """
    need("cryptography", "checking a signature")
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(trusted))
    except ValueError as error:
        raise ValueError(f"an Ed25519 public key has 64 hex digits; got {shown(trusted)}") from error
    try:
        envelope = json.loads(signed)
        text = envelope["manifest"]
        key.verify(bytes.fromhex(envelope["signature"]), text.encode())
    except (InvalidSignature, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = str(error) or "the signature does not fit text and key"
        raise BadSignature(f"not signed by {trusted[:8]}...: {reason}") from error
    return Manifest.from_json(text)
