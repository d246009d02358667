"""The package as a reader meets it: light to import, its rooms open when they are asked for."""

import subprocess
import sys

import pytest

import badnets_lib as bd

HEAVY = {"matplotlib", "sklearn", "joblib", "scipy", "torchvision", "mlxtend", "PIL", "tqdm.auto"}


def alone(code):
    """The words that a program of its own prints: the hook of these tests leaves its marks in modules."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


def test_importing_the_library_loads_nothing_heavy():
    code = "import sys, torch; before = {*sys.modules}; import badnets_lib; print(*({*sys.modules} - before))"
    loaded = alone(code)
    assert "badnets_lib.evaluation.scores" in loaded
    assert not set(loaded) & HEAVY
    assert not [name for name in loaded if name.startswith(("badnets_lib.display", "badnets_lib.study"))]


@pytest.mark.parametrize("name", sorted(bd.ROOMS))
def test_every_room_opens_when_it_is_asked_for(name):
    assert alone(f"import badnets_lib as bd; print(bd.{name}.__name__)") == ["badnets_lib" + bd.ROOMS[name]]


def test_a_name_that_is_not_there_is_named():
    with pytest.raises(AttributeError, match="'badnets_lib' has no attribute 'defences'"):
        bd.defences  # noqa: B018 - asking is what fails


def test_dir_shows_names_and_rooms_and_nothing_of_the_machinery():
    shown = alone("import badnets_lib as bd; print(*dir(bd)); [getattr(bd, name) for name in dir(bd)]")
    assert {"load", "train", "score", "Attack", *bd.ROOMS} <= set(shown)
    assert not {"annotations", "importlib", "Any", "TYPE_CHECKING"} & set(shown)
    assert [name for name in shown if name.startswith("_") and not name.startswith("__")] == []
