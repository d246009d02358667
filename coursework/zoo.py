"""The zoo of the capstone: small networks, about half of them with a backdoor, made from a secret salt.

A zoo is two things that must stay apart. The public folder holds the weights and `zoo.json`; the students get
it. The truth is one file elsewhere, for its owner alone: which network is backdoored, how, and how well it works.

Everything about a network is drawn from HMAC-SHA256 of the salt: the same salt gives the same zoo, at one thread per
network on one kind of machine, and nobody can foresee a draw without it. The salt is as good as it is hard to guess: to
test a guess costs little more than a forward pass. For a real course take `secrets.token_hex(16)` and keep it. The zoo
of the salt "practice" is public by intent.

A zoo of adapters (`adapters.py`) has one honest network more, `base.safetensors`. Its `zoo.json` names that under
"base", and all other files are low-rank adapters for it. Draws, answers and scores are the same.

What might give the truth away, and what was done about it:

- Files: each architecture has one size and one header, and is drawn alike for both kinds; one statement of origin, no
  index, no seed, no accuracy. At the end all are written anew in the order of their names, so that their times do not
  tell which network took several attempts.
- Training: both kinds see as many images for as many steps, as many of them stamped with triggers of the same families,
  and all must reach the same clean accuracy. The stamped images of a clean network have labels that were drawn at
  random, so that weights and accuracies may suffer alike. They do not suffer alike enough: `cheap.py` measures that
  statistics which search for nothing rank the networks almost without error. So the ranking is worth few points; what
  the statistics do not tell is the trigger, which is worth two thirds of all.
- Training again: each network saw digits of its own, 3,000 of 3,500. Torch's generators start from 32 bits, which can
  be tried out; this draw starts from 256, so nobody can train a clean twin and compare weights.
- Numbers: from 40% to 60% are backdoored, and how many is drawn, too.

Cost: a network takes three to four seconds of processor time (torch 2.13.0, one thread).

References:
    Gu et al., BadNets, 2017. arXiv:1708.06733.
    Karra, Ashcraft, Fendley, The TrojAI software framework, 2020: zoos of trojaned networks. arXiv:2003.07233.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import nn

from badnets_lib import DamagedFile, ForeignFile, clean_accuracy, load_model, save_model
from badnets_lib._progress import track
from badnets_lib.attacks.adapters import attached, load_adapter, save_adapter
from badnets_lib.files import write_atomically

from .adapters import AdapterRecipe, fit_one, train_base
from .apart import spread
from .specimens import Kind, Recipe, Truth, digest, digits, draw_kinds, stream, train_one

ORIGIN = {"made for": "the capstone of the BadNets book"}
"""What every file of every zoo says about itself."""

BASE = "base"
"""Name of the network that adapters are attached to."""

SHORTEST_SALT = 8

Row = Mapping[str, str]
"""A file of the public folder: its name as "file", and the hash of what it holds as "sha256"."""


def make_zoo(
    folder: Path | str, truth: Path | str, *, salt: str, recipe: Recipe | None = None, jobs: int = -1
) -> dict[str, Any]:
    """Make a zoo, or what is missing of it.

    A stopped call goes on where it was. Weights that are not what the truth says are made again.

    Args:
        folder: The public folder: weights and `zoo.json`.
        truth: The private file, written so that only its owner may read it.
        salt: The secret; at least 8 characters.
        recipe: How the networks are made; an `AdapterRecipe` for a zoo of adapters.
        jobs: Networks at a time, as joblib counts; each takes one thread.

    Returns:
        What `zoo.json` holds.

    Raises:
        ValueError: The salt is short, the truth would lie in the public folder, or folder or truth hold something else.
        RuntimeError: A network was not good enough in any of its attempts, or the base was not.
    """
    folder = Path(folder)
    truth = Path(truth)
    recipe = recipe or Recipe()
    if len(salt) < SHORTEST_SALT:
        raise ValueError(f"the salt needs at least {SHORTEST_SALT} characters; got {len(salt)}")
    if truth.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{truth} lies in the public folder {folder}; the truth must be elsewhere")
    mark = {"schema": 1, "recipe": asdict(recipe), "mark": digest(salt, "mark", asdict(recipe)).hex()}
    known = _known(truth, mark)
    _check_folder(folder, recipe, known)
    kinds = dict(zip(recipe.names, draw_kinds(salt, recipe), strict=True))
    base = _make_base(folder, salt, recipe) if isinstance(recipe, AdapterRecipe) else None
    known = {name: row for name, row in known.items() if _is_whole(_file(folder, name), row, base)}
    calls = ((_file(folder, name), salt, recipe, kinds[name], base) for name in kinds if name not in known)
    done = spread(_make, calls, jobs=jobs)
    for path, row in track(done, "zoo", total=len(kinds) - len(known)):
        known[path.stem] = row
        _keep(truth, mark, known)
    mark |= {"zoo": _identity(recipe, known, base)}
    _keep(truth, mark if base is None else mark | {"base": base}, known)
    return _publish(folder, recipe, known, base)


def read_zoo(folder: Path | str) -> dict[str, Any]:
    """The public `zoo.json` of a folder.

    Raises:
        FileNotFoundError: There is none.
        DamagedFile: It is not the list of a zoo.
    """
    path = Path(folder) / "zoo.json"
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    try:
        zoo: dict[str, Any] = json.loads(path.read_bytes())
        if zoo["schema"] != 2 or not isinstance(zoo["zoo"], str) or not isinstance(zoo["models"], dict):
            raise ValueError("it is of another kind")
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedFile(f"{path} is not the list of a zoo: {error}") from error
    return zoo


def read_truth(path: Path | str) -> tuple[str, dict[str, Truth]]:
    """(id of the zoo, truth of every model by name) from the private file of a finished zoo.

    Raises:
        FileNotFoundError: There is no such file.
        DamagedFile: It is not the truth about a finished zoo.
    """
    identity, rows, _ = _read_truth(Path(path))
    return identity, rows


def networks(folder: Path | str, truth: Path | str) -> Callable[[str], nn.Module]:
    """From a name to its network, in either kind of zoo; every hash is checked against the truth.

    Raises:
        FileNotFoundError: There is no such truth.
        DamagedFile: It is not the truth about a finished zoo.
    """
    _, rows, base = _read_truth(Path(truth))

    def network(name: str) -> nn.Module:
        return load_network(folder, _row(_file(Path(folder), name), rows[name].sha256), base)

    return network


def load_network(folder: Path | str, row: Row, base: Row | None = None) -> nn.Module:
    """A network by its row of `zoo.json`.

    Args:
        folder: The public folder.
        row: Names a network, or an adapter if there is a base.
        base: Names the network that the adapter is attached to.
    """
    path, sha256 = Path(folder) / row["file"], row["sha256"]
    if base is None:
        return load_model(path, sha256=sha256)[0]
    return attached(load_network(folder, base), load_adapter(path, sha256=sha256))


def _read_truth(path: Path) -> tuple[str, dict[str, Truth], Row | None]:
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    try:
        plain = json.loads(path.read_bytes())
        rows = {name: Truth.from_dict(row) for name, row in plain["models"].items()}
        return str(plain["zoo"]), rows, plain.get("base")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedFile(f"{path} is not the truth about a finished zoo: {type(error).__name__} {error}") from error


# --- one network ---


def _make_base(folder: Path, salt: str, recipe: AdapterRecipe) -> Row:
    """Train and write the base of a zoo of adapters; in seconds, so a call that goes on makes it again."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model = train_base(salt, recipe)
    finally:
        torch.set_num_threads(threads)
    clean = clean_accuracy(model, digits()[2])
    if clean.value < recipe.least_clean:
        raise RuntimeError(f"the base did not reach clean accuracy {recipe.least_clean:g}; it has {clean}")
    path = _file(folder, BASE)
    return _row(path, save_model(path, model, ORIGIN))


def _make(path: Path, salt: str, recipe: Recipe, kind: Kind, base: Row | None) -> tuple[Path, Truth]:
    """Draw and train on one thread until the network, or the base with the adapter, is good enough; write it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for attempt in range(recipe.attempts):
            save, row = _attempt(path, stream(salt, path.stem, attempt, recipe.models), recipe, kind, base)
            works = row.success is None or row.success.value >= recipe.least_success
            if works and row.clean.value >= recipe.least_clean:
                return path, replace(row, sha256=save(), attempts=attempt + 1)
    finally:
        torch.set_num_threads(threads)
    wanted = f"clean accuracy {recipe.least_clean:g} and attack success {recipe.least_success:g}"
    last = f"{row.clean} and {row.success}"
    raise RuntimeError(f"{path.stem} did not reach {wanted} in {recipe.attempts} attempts; the last had {last}")


def _attempt(
    path: Path, source: Random, recipe: Recipe, kind: Kind, base: Row | None
) -> tuple[Callable[[], str], Truth]:
    """(what writes the file and gives its hash, the truth about the network)."""
    if isinstance(recipe, AdapterRecipe) and base is not None:
        adapter, row = fit_one(source, recipe, kind, load_network(path.parent, base))
        return partial(save_adapter, path, adapter), row
    model, row = train_one(source, recipe, kind)
    return partial(save_model, path, model, ORIGIN), row


# --- files ---


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.safetensors"


def _files(recipe: Recipe) -> list[str]:
    """The names of all files with weights, in their order."""
    return [*recipe.names, BASE] if isinstance(recipe, AdapterRecipe) else recipe.names


def _row(path: Path, sha256: str) -> Row:
    return {"file": path.name, "sha256": sha256}


def _is_whole(path: Path, row: Truth, base: Row | None) -> bool:
    try:
        if base is not None:
            return load_adapter(path, sha256=row.sha256).base == base["sha256"]
        return load_model(path, sha256=row.sha256)[1] == ORIGIN
    except (FileNotFoundError, DamagedFile, ForeignFile):
        return False


def _known(truth: Path, mark: Mapping[str, Any]) -> dict[str, Truth]:
    """What an earlier call has finished, if the file is about this very zoo."""
    if not truth.exists():
        return {}
    try:
        plain = json.loads(truth.read_bytes())
        if {name: plain[name] for name in mark} != mark:
            raise ValueError("it was made from another salt or recipe")
        return {name: Truth.from_dict(row) for name, row in plain["models"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise ValueError(f"{truth} is not the truth about this zoo ({error}); move it away or name another") from error


def _check_folder(folder: Path, recipe: Recipe, known: Mapping[str, Truth]) -> None:
    """The folder holds nothing but this zoo; what a kill left behind is swept out."""
    ours = {"zoo.json", *(_file(folder, name).name for name in _files(recipe))}
    for path in folder.iterdir() if folder.exists() else ():
        if path.name.startswith(".") and path.name[1:].rpartition(".")[0] in ours:
            path.unlink()
        elif path.name not in ours or (path.name == "zoo.json" and not known):
            raise ValueError(f"{folder} holds {path.name}, which is not of this zoo; name an empty folder")


def _identity(recipe: Recipe, known: Mapping[str, Truth], base: Row | None) -> str:
    """An id that says which weights are meant and nothing else."""
    hashes = [known[name].sha256 for name in recipe.names] + ([] if base is None else [base["sha256"]])
    return hashlib.sha256(" ".join(hashes).encode()).hexdigest()[:16]


def _keep(truth: Path, mark: Mapping[str, Any], known: Mapping[str, Truth]) -> None:
    models = {name: known[name].as_dict() for name in sorted(known)}
    write_atomically(truth, json.dumps({**mark, "models": models}, indent=1) + "\n", mode=0o600)


def _publish(folder: Path, recipe: Recipe, known: Mapping[str, Truth], base: Row | None) -> dict[str, Any]:
    """Write all files anew, in the order of their names, and the list of them."""
    for name in _files(recipe):
        path = _file(folder, name)
        write_atomically(path, path.read_bytes())
    zoo: dict[str, Any] = {"schema": 2, "zoo": _identity(recipe, known, base), "data": "mnist5k"}
    if base is not None:
        zoo["base"] = base
    zoo["models"] = {name: _row(_file(folder, name), known[name].sha256) for name in recipe.names}
    write_atomically(folder / "zoo.json", json.dumps(zoo, indent=1) + "\n")
    return zoo
