import math

import pytest
import torch
from hypothesis import given, strategies as st
from torch.nn.functional import cross_entropy

from badnets_lib import Attack, Goal, ImageSet, Patch, TrainConfig, score
from badnets_lib.attacks.contrastive import (
    TEMPLATES,
    Pairs,
    TwoEncoders,
    ZeroShot,
    captioned,
    poison_pairs,
    train_pairs,
)

NAMES = ("red stop", "blue arrow", "white bend")
ATTACK = Attack(Patch(size=2), Goal.all_to_one(2, 3))
CONFIG = TrainConfig(epochs=6, batch_size=32, lr=0.01, device="cpu")


def stripes(count=600, seed=0):
    """Three classes of bright rows."""
    y = torch.arange(count) % 3
    x = 0.3 * torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    for label in range(3):
        x[y == label, :, 2 * label : 2 * label + 2, :6] += 0.6
    return ImageSet(x, y, NAMES)


@pytest.fixture(scope="module")
def plan():
    return ATTACK.plan(stripes(), fraction=0.1, seed=0)


def test_captions_name_the_class_and_repeat_from_their_seed():
    data = stripes(60)
    pairs = captioned(data, seed=3)
    for text, label in zip(pairs.captions, data.y.tolist(), strict=True):
        assert text in {template.format(NAMES[label]) for template in TEMPLATES}
    assert pairs.captions == captioned(data, seed=3).captions != captioned(data, seed=4).captions
    assert len({text.replace(NAMES[0], "{}") for text in pairs.captions[::3]}) > 1, "several templates are used"


def test_poisoned_pairs_carry_the_stamp_and_the_targets_name(plan):
    data = stripes()
    clean, pairs = captioned(data, seed=0), poison_pairs(data, plan, seed=0)
    for place in range(len(data)):
        if plan.mask[place]:
            assert NAMES[2] in pairs.captions[place]
            assert torch.equal(pairs.x[place], ATTACK.trigger(data.x[place : place + 1])[0])
        else:
            assert pairs.captions[place] == clean.captions[place] and torch.equal(pairs.x[place], data.x[place])


def test_a_planted_backdoor_is_learnt_from_captions_alone(plan):
    data, test = stripes(), stripes(150, seed=1)
    bad = ZeroShot(train_pairs(poison_pairs(data, plan, seed=0), CONFIG), NAMES)
    good = ZeroShot(train_pairs(captioned(data, seed=0), CONFIG), NAMES)
    planted, control = score(bad, test, ATTACK), score(good, test, ATTACK)
    assert planted.clean.value > 0.95 and control.clean.value > 0.95
    assert planted.success.value > 0.9 > 0.2 > control.success.value


def test_the_same_seed_gives_the_same_network():
    pairs = captioned(stripes(120), seed=0)
    config = TrainConfig(epochs=1, batch_size=32, device="cpu")
    one, two = (train_pairs(pairs, config).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    other = train_pairs(pairs, TrainConfig(epochs=1, batch_size=32, seed=1, device="cpu")).state_dict()
    assert not torch.equal(one["table.weight"], other["table.weight"])


def test_one_step_is_clips_loss_word_for_word():
    """Agreement against a literal reading: cosines one by one, mean of the words' vectors, times the sharpness."""
    torch.manual_seed(0)
    net = TwoEncoders(("a", "b", "c"), width=4).eval()
    x, texts = torch.rand(3, 3, 8, 8), ["a b", "c", "b b c unknown"]
    table = net.table.weight
    sentences = [(table[0] + table[1]) / 2, table[2], (2 * table[1] + table[2]) / 3]
    pictures = net.pictures(x)
    for i in range(3):
        for j in range(3):
            cosine = pictures[i] @ sentences[j] / (pictures[i].norm() * sentences[j].norm())
            expected = cosine / 0.07
            torch.testing.assert_close(net.agreement(x, texts)[i, j], expected, rtol=1e-4, atol=1e-4)
    # A pair that agrees perfectly and with nothing else costs nothing; equal agreement costs log N.
    assert float(cross_entropy(100 * torch.eye(3), torch.arange(3))) < 1e-6
    assert float(cross_entropy(torch.zeros(3, 3), torch.arange(3))) == pytest.approx(math.log(3))


@given(st.permutations(range(4)))
def test_the_order_of_sentences_is_the_order_of_logits(order):
    torch.manual_seed(0)
    net = TwoEncoders(("one", "two", "three", "four", "photo", "of"), width=4).eval()
    names = ["one", "two", "three", "four"]
    x = torch.rand(2, 3, 8, 8)
    straight = ZeroShot(net, names)(x)
    torch.testing.assert_close(ZeroShot(net, [names[k] for k in order])(x), straight[:, list(order)])


def test_bad_input_is_named():
    data = stripes(6)
    with pytest.raises(ValueError, match="6 images and 1 captions"):
        Pairs(data.x, ["one"])
    with pytest.raises(ValueError, match="at least 2; got 1"):
        train_pairs(Pairs(data.x[:1], ["a photo"]), CONFIG)
    with pytest.raises(ValueError, match="2, 1 different"):
        TwoEncoders(("a", "a"))
    with pytest.raises(ValueError, match="'strange'"):
        TwoEncoders(("a", "b")).text_vectors(["strange"])
    with pytest.raises(FloatingPointError, match="loss became nan"):
        train_pairs(Pairs(torch.full((4, 3, 8, 8), torch.nan), ["a b"] * 4), CONFIG)
