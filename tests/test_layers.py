"""What layers say, and which layer is which, against literal hooks on networks that a reader may bring."""

import pytest
import torch
from foreign import NETWORKS, made
from torch import nn

from badnets_lib import ImageSet, Normalized, PaperCNN, SmallCNN, channel_means
from badnets_lib.defenses.channels import Channels
from badnets_lib.models.layers import (
    find_layer,
    fully_connected,
    head,
    last_convolution,
    last_hidden,
    listen,
)

HEADS = {
    "ResNet-18": "fc",
    "MobileNetV3": "classifier.3",
    "ViT": "heads.head",
    "DenseNet": "classifier",
    "blocks in a Sequential": "8",
    "Hugging Face": "classifier",
}
LAST_CONVOLUTIONS = {
    "ResNet-18": "layer4.1.conv2",
    "MobileNetV3": "features.12.0",
    "ViT": "conv_proj",
    "DenseNet": "features.denseblock2.denselayer2.conv2",
    "blocks in a Sequential": "5.conv2",
    "Hugging Face": "encoder.0",
}
assert HEADS.keys() == LAST_CONVOLUTIONS.keys() == NETWORKS.keys()
each = pytest.mark.parametrize("name", NETWORKS)


@pytest.fixture
def x():
    return torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def small():
    return SmallCNN(1, 3, 2)


def heard_by_hand(model, x, layer, given):
    """A hook of our own on the network in evaluation mode."""
    said = []
    hook = model.get_submodule(layer).register_forward_hook(
        lambda _, args, output: said.append(args[0] if given else output)
    )
    with torch.no_grad():
        model.eval()(x)
    hook.remove()
    (answer,) = said
    return answer.flatten(1)


@each
def test_the_head_is_found(name, x):
    model = made(name)
    assert head(model, x) == HEADS[name]
    assert last_hidden(model, x) == f"input of {HEADS[name]}"
    assert last_convolution(model, x) == LAST_CONVOLUTIONS[name]


@each
def test_the_last_hidden_features_are_what_the_head_is_given(name, x):
    model = made(name).train()
    features, logits = listen(model, x, batch_size=2)
    assert model.training and not any(part._forward_hooks for part in model.modules())
    torch.testing.assert_close(features, heard_by_hand(model, x, HEADS[name], True), rtol=1e-4, atol=1e-5)
    weights = model.get_submodule(HEADS[name])
    torch.testing.assert_close(features @ weights.weight.T + weights.bias, logits, rtol=1e-4, atol=1e-4)
    assert torch.equal(listen(model, x, last_hidden(model, x), batch_size=2)[0], features)


@each
def test_a_named_layer_is_heard(name, x):
    model = made(name)
    layer = LAST_CONVOLUTIONS[name]
    features, _ = listen(model, x, layer, batch_size=2)
    torch.testing.assert_close(features, heard_by_hand(model, x, layer, False), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("model", "wanted"), [
    (PaperCNN(), "input of fc2"),
    (SmallCNN(1, 10, 2), "input of fc2"),
    (Normalized(SmallCNN(1, 10, 2), (0.5,), (0.5,)), "input of model.fc2"),
    (nn.DataParallel(SmallCNN(1, 10, 2)), "input of fc2"),
    (torch.compile(SmallCNN(1, 10, 2), backend="eager"), "input of fc2"),
    (SmallCNN(1, 10, 2).double(), "input of fc2"),
    (SmallCNN(1, 10, 2).bfloat16(), "input of fc2"),
], ids=["paper", "small", "normalised", "parallel", "compiled", "double", "bfloat16"])  # fmt: skip
def test_the_last_hidden_features_of_our_own_networks_are_those_of_relu3(model, wanted):
    x = torch.rand(4, 1, 28, 28)
    layer = wanted.removeprefix("input of ").replace("fc2", "relu3")
    assert last_hidden(model, x) == wanted
    features = listen(model, x)[0]
    assert torch.equal(features, listen(model, x, layer)[0]) and features.dtype in (torch.float32, torch.float64)


class Ended(nn.Module):
    """A linear layer, and what comes after it."""

    def __init__(self, end):
        super().__init__()
        self.hidden = nn.Linear(64, 6)
        self.out = nn.Linear(6, 3)
        self.end = end

    def forward(self, x):
        return self.end(self.out(self.hidden(x.flatten(1)).relu()))


@pytest.mark.parametrize("end", [
    nn.Softmax(1), nn.LogSoftmax(1), nn.Dropout(0.5), nn.Identity(), lambda y: y.softmax(1), lambda y: (y, y),
    lambda y: y.float(), lambda y: y.log_softmax(1), nn.Sequential(nn.Dropout(0.1), nn.Softmax(1)),
], ids=range(9))  # fmt: skip
def test_what_comes_after_the_logits_is_passed_over(tiny, end):
    model = Ended(end)
    assert head(model, tiny.x) == "out"
    torch.testing.assert_close(listen(model, tiny.x)[0], model.hidden(tiny.x.flatten(1)).relu())


def test_a_convolution_can_make_the_logits(tiny):
    for end in (nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), nn.Flatten(start_dim=1)):
        size = 1 if isinstance(end, nn.Flatten) else 3
        model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.AdaptiveMaxPool2d(size), nn.Conv2d(4, 3, 1))
        model.append(end)
        assert head(model, tiny.x) == "3"
        assert listen(model, tiny.x)[0].shape == (60, 4 * size * size)


def test_class_maps_after_an_activation_in_place_belong_to_the_convolution(tiny):
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 1), nn.ReLU(inplace=True))
    model.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten()])
    assert head(model, tiny.x) == "2"


def test_tokens_that_are_averaged_at_the_end(tiny):
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.out = nn.Linear(8, 3)

        def forward(self, x):
            return self.out(x[:, 0]).mean(1)  # rows are tokens

    assert head(Tokens(), tiny.x) == "out"
    assert listen(Tokens(), tiny.x)[0].shape == (60, 64)


def test_answers_that_no_layer_gives_are_an_error(tiny):
    with pytest.raises(ValueError, match="cannot tell which layer of Ended makes the logits.*name a layer"):
        head(Ended(lambda y: 3 * y + 1), tiny.x)

    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Ended(lambda y: 3 * y)

        def forward(self, x):
            return self.inner(x)

    with pytest.raises(ValueError, match="cannot tell"):
        head(Whole(), tiny.x)
    with pytest.raises(ValueError, match="cannot tell"):
        head(nn.Flatten(), tiny.x)
    assert listen(Whole(), tiny.x, "inner.hidden")[0].shape == (60, 6)


class Odd(nn.Module):
    """One layer called twice, one never, one that answers with a tuple, one that answers for all images at once."""

    def __init__(self):
        super().__init__()
        self.twice = nn.ReLU()
        self.never = nn.Linear(1, 1)
        self.pair = nn.LSTM(8, 3, batch_first=True)
        self.mean = nn.AdaptiveAvgPool2d((1, 3))

    def forward(self, x):
        rows, _ = self.pair(self.twice(self.twice(x[:, 0])))
        return rows[:, -1] + self.mean(rows[None])[0, 0]


@pytest.mark.parametrize(("layer", "message"), [
    ("twice", "calls layer 'twice' 2 times for an image"),
    ("input of twice", "calls layer 'input of twice' 2 times"),
    ("never", "never calls layer 'never' by itself"),
    ("mean", r"layer 'mean' must give one row an image; got \[1, 60, 1, 3\] for 60 images"),
    ("", "no layer ''"),
    ("input of nothing", "no layer 'nothing'; known: twice, never, pair, mean"),
])  # fmt: skip
def test_layers_that_cannot_be_heard_are_named(tiny, layer, message):
    model = Odd()
    with pytest.raises(ValueError, match=message):
        listen(model, tiny.x, layer)
    assert model.training and not any(part._forward_hooks for part in model.modules())


def test_of_a_tuple_the_first_is_heard(tiny):
    assert listen(Odd(), tiny.x, "pair")[0].shape == (60, 24)


def test_a_script_has_no_layers(tiny):
    scripted = torch.jit.trace(small().eval(), tiny.x[:2])
    for ask in (lambda: listen(scripted, tiny.x), lambda: head(scripted, tiny.x)):
        with pytest.raises(ValueError, match="layers of a scripted network: pass the module"):
            ask()


def test_what_is_kept_is_up_to_the_caller(tiny):
    means, logits = listen(small(), tiny.x, "conv1", lambda said: said.mean((1, 2, 3)), batch_size=7)
    assert means.shape == (60,) and logits.shape == (60, 3)


def test_the_hooks_go_after_an_error(tiny):
    model = small()

    def broken(said):
        raise KeyError

    with pytest.raises(KeyError):
        listen(model, tiny.x, "conv1", broken)
    assert not model.conv1._forward_hooks and model.training


@pytest.mark.parametrize(("name", "wanted"), [
    ("ResNet-18", ("fc",)), ("MobileNetV3", ("classifier.0", "classifier.3")), ("ViT", ("heads.head",)),
])  # fmt: skip
def test_the_fully_connected_layers_at_the_end(name, wanted, x):
    assert fully_connected(made(name), x) == wanted
    assert fully_connected(PaperCNN(), torch.rand(2, 1, 28, 28)) == ("fc1", "fc2")


def test_a_network_without_convolution(tiny):
    with pytest.raises(ValueError, match="Sequential has no hidden convolution that it calls once"):
        last_convolution(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), tiny.x)


def test_pruning_and_the_transfer_attack_mean_one_last_convolution(x):
    """One convolution is called twice, and the last one makes the logits: neither can be pruned."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.twice, self.logits = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 3, 1)

        def forward(self, images):
            return self.logits(self.twice(self.twice(self.first(images)).relu())).mean((2, 3))

    images = ImageSet(x, torch.arange(len(x)) % 3, ("a", "b", "c"))
    assert last_convolution(Net(), x) == Channels(Net(), images).layer == "first"


def test_layers_are_found_by_name():
    model = small()
    assert find_layer(model, "relu1") is model.relu1
    assert find_layer(nn.DataParallel(model), "relu1") is model.relu1


# --- channels ---


def test_channel_means_are_means_over_images_and_places(tiny):
    model = small().train()
    with torch.no_grad():
        expected = model.eval().relu1(model.norm1(model.conv1(tiny.x))).mean((0, 2, 3))
    means = channel_means(model.train(), tiny.x, "relu1")
    torch.testing.assert_close(means, expected)
    assert means.shape == (2,) and model.training and not model.relu1._forward_hooks


@pytest.mark.parametrize(("layer", "message"), [
    ("relu9", "no layer 'relu9'; known: conv1, norm1"),
    ("", "no layer ''"),
    ("fc1", r"layer 'fc1' gives shape \[60, 8\]; channel means need \[N, c, h, w\]"),
])  # fmt: skip
def test_channel_means_refuses_a_layer_without_channels(tiny, layer, message):
    model = small()
    with pytest.raises(ValueError, match=message):
        channel_means(model, tiny.x, layer)
    assert not model.fc1._forward_hooks
