"""Settings of a wrong kind: whoever makes the record, a name and a value are in the sentence."""

import numpy as np
import pytest

from badnets_lib import Blend, Patch, Proportion, SmallCNN, TrainConfig, Warp, audit, flip_labels, train
from badnets_lib.attacks import InputAwareConfig, learn_patch
from badnets_lib.defenses import DATA_FILTERS, DeepKNN, Holding, NeuralCleanse, Strip

pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.mark.parametrize(("make", "message"), [
    (lambda: TrainConfig(epochs=1.5), r"epochs must be a whole number; got 1\.5"),
    (lambda: NeuralCleanse(rounds=1.5), r"rounds must be a whole number; got 1\.5"),
    (lambda: NeuralCleanse(labels_at_once="4"), "labels_at_once must be a whole number; got '4'"),
    (lambda: DeepKNN(k="5"), "k must be a whole number; got '5'"),
    (lambda: Strip(weight="1"), "weight must be a number; got '1'"),
    (lambda: Patch(size="3"), "size must be a whole number; got '3'"),
    (lambda: Blend(opacity="half"), "opacity must be a number; got 'half'"),
    (lambda: Warp(seed=None), "seed must be a whole number; got None"),
    (lambda: InputAwareConfig(fraction="0.1"), r"fraction must be a number; got '0\.1'"),
])  # fmt: skip
def test_it_is_named(make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_numbers_of_numpy_are_numbers():
    made = NeuralCleanse(rounds=np.int64(3), lr=np.float32(0.5))
    assert made == NeuralCleanse(rounds=3, lr=0.5) and type(made.rounds) is int
    assert Patch(size=np.uint8(3)) == Patch(size=3)


def test_a_seed_is_a_whole_number_of_any_kind(tiny):
    assert (
        Holding.draw(tiny, 9, seed=np.int64(1)).trusted.fingerprint == Holding.draw(tiny, 9, seed=1).trusted.fingerprint
    )
    for use in (lambda: Holding.draw(tiny, 9, seed="a"), lambda: tiny.sample(3, seed=0.5)):
        with pytest.raises(TypeError, match="a seed is a whole number"):
            use()


@pytest.mark.parametrize(("use", "message"), [
    (lambda data: data.split("0.1"), r"fraction must be a number; got '0\.1'"),
    (lambda data: data.sample(1.5), r"count must be a whole number; got 1\.5"),
    (lambda data: flip_labels(data, source=0, target=1, fraction="a"), "fraction must be a number; got 'a'"),
    (lambda data: learn_patch(SmallCNN(1, 3, 2), data, "1"), "target must be a whole number; got '1'"),
    (lambda data: audit(SmallCNN(1, 3, 2), data, minutes="10"), "minutes must be a number; got '10'"),
    (lambda data: Proportion(0.5, 1), r"hits must be a whole number; got 0\.5"),
])  # fmt: skip
def test_so_is_an_argument(tiny, use, message):
    with pytest.raises(TypeError, match=message):
        use(tiny)


@pytest.mark.parametrize("cls", DATA_FILTERS, ids=lambda cls: cls.__name__)
def test_a_data_filter_takes_an_image_set(cls, tiny):
    with pytest.raises(TypeError, match=r"a data filter needs an ImageSet; got tuple \(load gives two"):
        cls()(None, (tiny, tiny))


@pytest.mark.parametrize("use", [NeuralCleanse(batch_size=4), Strip(overlays=4).fit], ids=["scan", "STRIP"])
def test_a_scan_and_a_run_time_filter_take_a_holding(use, tiny):
    with pytest.raises(TypeError, match=r"needs a Holding, .* got ImageSet \(Holding\(images\) makes one\)"):
        use(None, tiny)


def test_settings_of_a_training_are_a_record(tiny):
    with pytest.raises(TypeError, match="settings of a training are a TrainConfig; got {'epochs': 1}"):
        train(tiny, {"epochs": 1})
