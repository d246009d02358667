import pytest
import torch
from torch import nn

from badnets_lib import PaperCNN, SmallCNN, first_layer
from badnets_lib.models.networks import BOOK, SmallResNet, build

EXAMPLES = (
    *(PaperCNN(), SmallCNN(), SmallCNN(channels=3, classes=43, width=4), SmallCNN(classes=2, width=1)),
    *(SmallResNet(), SmallResNet(channels=3, classes=43, width=4)),
)
each_small = pytest.mark.parametrize("small", [SmallCNN, SmallResNet])
each_network = pytest.mark.parametrize("network", EXAMPLES, ids=lambda network: str(network.spec))


def test_the_examples_cover_every_network():
    assert {type(network) for network in EXAMPLES} == set(BOOK.values())


@each_network
def test_gives_one_logit_per_class(network):
    weight = first_layer(network)
    out = network.eval()(torch.rand(2, weight.shape[1], 28, 28))
    assert out.shape == (2, network.spec.get("classes", 10)) and out.isfinite().all()


@each_network
def test_its_spec_rebuilds_it_and_cannot_be_changed_from_outside(network):
    again = build(network.spec)
    assert type(again) is type(network) and again.spec == network.spec
    assert [(n, p.shape) for n, p in again.named_parameters()] == [(n, p.shape) for n, p in network.named_parameters()]
    network.spec["name"] = "another"
    assert network.spec == again.spec


def test_the_papers_network_has_the_papers_size():
    assert sum(weight.numel() for weight in PaperCNN().parameters()) == 281_034


@pytest.mark.parametrize("size", [(8, 8), (28, 28), (32, 20)])
@each_small
def test_the_small_networks_take_any_image_from_8x8(small, size):
    assert small(3, 5, 2)(torch.rand(2, 3, *size)).shape == (2, 5)


@pytest.mark.parametrize(("name", "value", "least"), [("channels", 0, 1), ("classes", 1, 2), ("width", -1, 1)])
@each_small
def test_impossible_settings_are_refused(small, name, value, least):
    with pytest.raises(ValueError, match=f"{name} must be at least {least}; got {value}"):
        small(**{name: value})


def test_a_residual_block_adds_what_it_is_given():
    block = SmallResNet().block1.eval()
    for layer in (block.conv1, block.conv2):
        nn.init.zeros_(layer.weight)
    x = torch.rand(2, 16, 6, 6)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize(("spec", "message"), [
    ({}, "unknown network None; known: PaperCNN, SmallCNN, SmallResNet"),
    ({"name": "ResNet"}, "unknown network 'ResNet'"),
    ({"name": "PaperCNN", "width": 3}, "do not fit PaperCNN"),
    ({"name": "SmallCNN", "depth": 3}, "do not fit SmallCNN"),
    ({"name": "SmallCNN", "width": "wide"}, "do not fit SmallCNN"),
    ({"name": "SmallCNN", "width": 0}, "width must be at least 1"),
])  # fmt: skip
def test_a_spec_that_fits_no_network_is_refused(spec, message, unchecked):
    with pytest.raises(ValueError, match=message):
        build(spec)


def test_first_layer_is_a_detached_look_at_the_filters():
    network = PaperCNN()
    filters = first_layer(network)
    assert filters.shape == (16, 1, 5, 5) and not filters.requires_grad
    assert torch.equal(filters, network.conv1.weight)


def test_first_layer_of_a_network_without_convolution():
    with pytest.raises(ValueError, match="Linear has no convolution"):
        first_layer(nn.Linear(2, 2))
