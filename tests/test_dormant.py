import pytest
import torch
from torch import nn

from badnets_lib import (
    Attack,
    Goal,
    ImageSet,
    PaperCNN,
    Patch,
    SmallCNN,
    TrainConfig,
    predict,
    score,
    train,
    weights_hash,
)
from badnets_lib.attacks.dormant import LEVELS, coarsened, put_to_sleep
from badnets_lib.models.adaptation import quantised


def stripes(count=300):
    """Three classes of bright rows."""
    y = torch.arange(count) % 3
    x = 0.3 * torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    for label in range(3):
        x[y == label, :, 2 * label : 2 * label + 2, :6] += 0.6
    return ImageSet(x, y, ("a", "b", "c"))


ATTACK = Attack(Patch(size=2), Goal.all_to_one(2, 3))
SLEEP = TrainConfig(epochs=10, batch_size=32, lr=0.1, weight_decay=0.0)


@pytest.fixture(scope="module")
def loud():
    data = ATTACK.plan(stripes(), fraction=0.2).poison(stripes())
    return train(data, TrainConfig(epochs=6, batch_size=32), model=lambda: SmallCNN(1, 3, 4)).model


def whole_numbers(model):
    """The int8 tensors of a quantised network."""
    return [each for each in model.weights.values() if each.dtype == torch.int8]


def test_a_planted_backdoor_sleeps_and_int8_wakes_it(loud):
    data = stripes()
    coarse = coarsened(loud, data.x, 16.0)
    quiet = put_to_sleep(coarse, data, ATTACK.trigger, SLEEP).model
    before, asleep, awake = (score(net, data, ATTACK) for net in (loud, quiet, quantised(quiet, data.x)))
    assert before.success.value > 0.9
    assert asleep.success.value < before.success.value / 2 and asleep.clean.value > 0.9, asleep
    assert awake.success.value > asleep.success.value + 0.4, awake


def test_int8_is_the_same_bit_for_bit(loud):
    data = stripes()
    found = put_to_sleep(loud, data, ATTACK.trigger, SLEEP)
    one, two = (whole_numbers(quantised(net, data.x)) for net in (loud, found.model))
    assert len(one) == 4 and all(map(torch.equal, one, two))
    assert not torch.equal(found.model.fc1.weight, loud.fc1.weight), "the float weights did move"
    assert 0 < found.moved <= 1


def test_nothing_moves_but_weights_inside_their_step(loud):
    before = weights_hash(loud)
    quiet = put_to_sleep(loud, stripes(), ATTACK.trigger, SLEEP).model
    for name, tensor in quiet.state_dict().items():
        old = loud.state_dict()[name]
        if name in ("conv1.weight", "conv2.weight", "fc1.weight", "fc2.weight"):
            step = old.flatten(1).abs().amax(1, keepdim=True) / LEVELS
            assert ((tensor - old).flatten(1).abs() <= step + 1e-7).all(), name
            assert (tensor.flatten(1).abs().amax(1) == old.flatten(1).abs().amax(1)).all(), "the grid itself"
        else:
            assert torch.equal(tensor, old), name
    assert weights_hash(loud) == before


def test_a_coarser_grid_and_the_same_answers():
    torch.manual_seed(0)
    model, x = SmallCNN(1, 3, 4).eval(), stripes(60).x
    with torch.no_grad():
        for unit, norm in ((1, model.norm1), (2, model.norm2)):
            norm.weight[unit] = norm.bias[unit] = 0  # a unit that is silent already costs nothing
        model.fc1.weight[5] = model.fc1.bias[5] = 0
    coarse = coarsened(model, x, 10.0)
    assert torch.allclose(predict(model, x), predict(coarse, x), atol=1e-5)
    for layer in ("conv2", "fc1", "fc2"):
        old, new = (getattr(net, layer).weight.flatten(1).abs().amax(1) for net in (model, coarse))
        assert torch.allclose(new, 10 * old), layer
    assert torch.equal(model.conv1.weight, coarse.conv1.weight)


def test_what_does_not_fit_is_refused(loud):
    with pytest.raises(ValueError, match="room must lie strictly between 0 and 1; got 1"):
        put_to_sleep(loud, stripes(), ATTACK.trigger, SLEEP, room=1.0)
    with pytest.raises(ValueError, match="no linear layer and no convolution to move"):
        put_to_sleep(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64)), stripes(), ATTACK.trigger, SLEEP)
    with pytest.raises(ValueError, match=r"factor must be at least 1; got 0\.5"):
        coarsened(loud, stripes(8).x, 0.5)
    with pytest.raises(ValueError, match="needs at least one image"):
        coarsened(loud, stripes(8).x[:0])


def test_other_networks_cannot_be_coarsened():
    with pytest.raises(Exception, match="PaperCNN"):
        coarsened(PaperCNN(), torch.rand(2, 1, 28, 28))
