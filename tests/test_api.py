"""The public surface, frozen: a change here is a change for every chapter and every reader."""

import subprocess
import sys
from inspect import getdoc, ismodule

import pytest

import badnets_lib

PUBLIC = """
    AdversarialPatch Attribute Blend Chain Checkerboard ColourShift DamagedFile DataUnavailable DefenseSection
    Description Difference Epoch FOUR_PIXELS Trained Goal ImageSet PaperCNN Patch Pixels PoisonPlan Poisoning Pose
    Proportion Reflection Report SINGLE_PIXEL Scorecard Sinusoid SmallCNN Sticker TrainConfig Training Trigger Warp
    attack_success_rate channel_means clean_accuracy clean_accuracy_drop confusion describe_device false_target_rate
    fgsm first_layer flip_labels learn_patch load load_model make_badnets_batch pgd pooled predict save_model score
    stamp_square_trigger train weights_hash
""".split()  # noqa: SIM905 - a list one can read
HEAVY = {"matplotlib", "sklearn", "ipywidgets", "joblib", "torchvision", "mlxtend", "PIL", "tqdm.auto", "pandas"}


def test_the_public_names_are_these():
    names = [name for name, value in vars(badnets_lib).items() if not name.startswith("_") and not ismodule(value)]
    assert sorted(names) == sorted(PUBLIC)


@pytest.mark.parametrize("name", sorted(set(PUBLIC) - {"FOUR_PIXELS", "SINGLE_PIXEL"}))
def test_every_public_name_has_a_docstring(name):
    text = getdoc(getattr(badnets_lib, name))
    assert text and text.splitlines()[0].rstrip().endswith((".", ":", "?"))


def test_importing_the_library_stays_light():
    code = "import sys, torch; before = set(sys.modules); import badnets_lib; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "badnets_lib.evaluation.reports" in loaded
    assert not loaded & (HEAVY | {"badnets_lib.display.plots", "badnets_lib.display.widgets"})
