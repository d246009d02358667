"""The package as a reader meets it: light to import, its rooms open when they are asked for."""

import json
import subprocess
import sys

import pytest

import badnets_lib as bd

HEAVY = {"matplotlib", "sklearn", "joblib", "scipy", "torchvision", "mlxtend", "PIL", "tqdm.auto"}


ALONE = """
import json, sys, torch
before = set(sys.modules)
import badnets_lib as bd
loaded = sorted(set(sys.modules) - before)
shown = dir(bd)
rooms = {name: getattr(bd, name).__name__ for name in bd.ROOMS}
missing = [name for name in shown if not hasattr(bd, name)]
print(json.dumps({"loaded": loaded, "shown": shown, "rooms": rooms, "missing": missing}))
"""


@pytest.fixture(scope="module")
def alone():
    """What a program of its own sees: the import hook of these tests leaves its marks in modules."""
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_importing_the_library_loads_nothing_heavy(alone):
    assert "badnets_lib.evaluation.scores" in alone["loaded"]
    assert not HEAVY & set(alone["loaded"])
    assert not [name for name in alone["loaded"] if name.startswith(("badnets_lib.display", "badnets_lib.study"))]


def test_every_room_opens_when_it_is_asked_for(alone):
    assert alone["rooms"] == {name: f"badnets_lib{place}" for name, place in bd.ROOMS.items()}


def test_a_name_that_is_not_there_is_named():
    with pytest.raises(AttributeError, match="'badnets_lib' has no attribute 'defences'"):
        bd.defences  # noqa: B018 - asking is what fails


def test_dir_shows_names_and_rooms_and_nothing_of_the_machinery(alone):
    shown = set(alone["shown"])
    assert {"load", "train", "score", "Attack", *bd.ROOMS} <= shown
    assert not {"annotations", "importlib", "Any", "TYPE_CHECKING"} & shown
    assert [name for name in shown if name.startswith("_") and not name.startswith("__")] == []
    assert alone["missing"] == []
