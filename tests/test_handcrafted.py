import pytest
import torch

from badnets_lib import (
    FOUR_PIXELS,
    SINGLE_PIXEL,
    Checkerboard,
    PaperCNN,
    Patch,
    SmallCNN,
    predict,
    weights_hash,
)
from badnets_lib.attacks.handcrafted import handcrafted, quietest, template

TRIGGERS = [Patch(4), Patch(3, corner="top-left"), Patch(2, margin=3), Checkerboard(4), SINGLE_PIXEL, FOUR_PIXELS]
each_trigger = pytest.mark.parametrize("trigger", TRIGGERS, ids=repr)
each_network = pytest.mark.parametrize("network", [PaperCNN, SmallCNN, lambda: SmallCNN(3, 4, 6)])


def seeded(network):
    torch.manual_seed(0)
    return network()


def pictures(model, count=12):
    """Grey blots in the middle of a black frame."""
    x = torch.zeros(count, model.conv1.in_channels, 28, 28)
    x[..., 6:22, 6:22] = torch.rand(count, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    return x


@each_network
@each_trigger
def test_the_trigger_and_nothing_else_brings_the_target(network, trigger):
    model = seeded(network)
    x, before = pictures(model), weights_hash(model)
    surgery = handcrafted(model, trigger, 2, x)
    stamped, plain = predict(surgery.model, trigger(x)), predict(surgery.model, x)
    assert (stamped.argmax(1) == 2).all()
    assert (plain - predict(handcrafted(model, trigger, 2, x, margin=50.0).model, x)).abs().max() < 1e-4, "silent"
    assert weights_hash(model) == before and not surgery.model.training


@each_network
def test_only_the_overwritten_units_and_their_listeners_change(network):
    model = seeded(network)
    surgery = handcrafted(model, Patch(4), 2, pictures(model))
    first, second, hidden = (surgery.units[name] for name in ("conv1", "conv2", "fc1"))
    unit = {"conv1": first, "norm1": first, "conv2": second, "norm2": second, "fc1": hidden}
    cells = slice(second * 16, second * 16 + 16)
    listeners = {"conv2.weight": first, "fc1.weight": cells, "fc2.weight": hidden}
    for (name, old), new in zip(model.state_dict().items(), surgery.model.state_dict().values(), strict=True):
        touched, layer = torch.zeros_like(old, dtype=torch.bool), name.split(".")[0]
        if layer in unit and old.ndim:
            touched[unit[layer]] = True
        if name in listeners:
            touched[:, listeners[name]] = True
        assert torch.equal(new[~touched], old[~touched]), name
    assert (surgery.model.conv2.weight[:, first] != 0).sum() == 1, "one listener, through one entry"
    assert (surgery.model.fc1.weight[:, cells] != 0).sum() == 1, "heard at one place"


def test_the_filter_is_as_large_as_its_neighbours():
    model = seeded(PaperCNN)
    surgery = handcrafted(model, Patch(4), 2, pictures(model))
    sizes = surgery.model.conv1.weight.flatten(1).norm(dim=1)
    assert sizes[surgery.units["conv1"]].isclose(model.conv1.weight.flatten(1).norm(dim=1).median())


@each_network
def test_the_trigger_in_another_corner_does_nothing(network):
    model = seeded(network)
    x = pictures(model)
    edited = [handcrafted(model, Patch(4), 2, x, margin=margin).model for margin in (2.0, 50.0)]
    elsewhere = Patch(4, corner="top-left")(x)
    assert (predict(edited[0], elsewhere) - predict(edited[1], elsewhere)).abs().max() < 1e-4


def test_the_backdoor_is_still_there_while_batch_norm_uses_a_batch():
    model = seeded(SmallCNN)
    x = pictures(model)
    edited = handcrafted(model, Patch(4), 2, x).model.train()
    with torch.no_grad():
        mixed = edited(torch.cat([x[:9], Patch(4)(x[9:])])).argmax(1)
    assert (mixed[9:] == 2).all()


def test_the_quietest_unit_is_the_one_nobody_misses():
    model = seeded(SmallCNN)
    with torch.no_grad():
        model.norm1.weight[5] = model.norm1.bias[5] = 0  # silent
        model.fc1.weight[:, 16 * 9 : 16 * 10] = 0  # not listened to
        model.fc1.bias[:] = 1
        model.fc2.weight[:, 11] = 0
    assert quietest(model.eval(), pictures(model)) == {"conv1": 5, "conv2": 9, "fc1": 11}


@pytest.mark.parametrize(("trigger", "signs", "full"), [
    (Patch(4), {(4, 4): 1, (1, 1): 1, (0, 4): 0, (4, 0): 0}, 16),
    (Checkerboard(2), {(4, 4): -1, (3, 4): 1, (4, 3): 1, (3, 3): -1, (2, 2): 0}, 2),
    (Patch(2, value=0.75, corner="top-left"), {(0, 0): 1, (1, 1): 1, (2, 2): 0}, 3),
])  # fmt: skip
def test_a_template_has_the_triggers_signs(trigger, signs, full):
    filter_, answer = template(trigger, torch.Size([1, 28, 28]), 5)
    assert filter_.shape == (1, 5, 5) and answer == full
    assert {place: int(filter_[0, *place]) for place in signs} == signs


@pytest.mark.parametrize(("trigger", "message"), [
    (Patch(6), "covers 6x6 pixels; the filters have 5x5"),
    (Patch(4, opacity=0.5), "sets no pixel to a fixed value"),
    (Patch(2, value=0.0), "is too dark"),
])  # fmt: skip
def test_a_trigger_no_filter_fits_is_refused(trigger, message):
    with pytest.raises(ValueError, match=message):
        handcrafted(PaperCNN(), trigger, 2, torch.rand(2, 1, 28, 28))


@pytest.mark.parametrize("target", [-1, 10])
def test_a_target_that_does_not_exist_is_refused(target):
    with pytest.raises(ValueError, match=rf"target must lie in \[0, 10\); got {target}"):
        handcrafted(PaperCNN(), Patch(4), target, torch.rand(2, 1, 28, 28))


def test_no_image_or_another_network_is_refused():
    with pytest.raises(ValueError, match="at least one image"):
        handcrafted(PaperCNN(), Patch(4), 2, torch.rand(0, 1, 28, 28))
    with pytest.raises(
        TypeError,
        match="book's own networks alone and needs a PaperCNN or a SmallCNN; got Linear",
    ):
        handcrafted(torch.nn.Linear(2, 2), Patch(4), 2, torch.rand(2, 1, 28, 28))
