"""Asking any network: `predict` and what stands behind it."""

from types import SimpleNamespace

import pytest
import torch
from foreign import NETWORKS, made
from torch import nn

from badnets_lib import ImageSet, Normalized, Proportion, SmallCNN, clean_accuracy, predict, weights_hash
from badnets_lib.models.inference import correct, evaluating, fast_layout, logits_of, placement, unwrapped
from badnets_lib.models.layers import listen


def small():
    return SmallCNN(1, 3, 2)


# --- predict ---


@pytest.mark.parametrize("batch_size", [1, 7, 60, 512])
def test_predict_gives_the_same_logits_in_any_batches(tiny, batch_size):
    model = small()
    with torch.no_grad():
        expected = model.eval()(tiny.x)
    logits = predict(model.train(), tiny.x, batch_size=batch_size)
    torch.testing.assert_close(logits, expected)
    assert logits.device.type == "cpu" and not logits.requires_grad


def test_predict_puts_every_mode_back_and_changes_no_statistics(tiny):
    model = small().train()
    model.norm1.eval()
    before = weights_hash(model)
    predict(model, tiny.x)
    assert model.training and not model.norm1.training and model.norm2.training
    assert weights_hash(model) == before


def test_predict_puts_the_mode_back_after_an_error(tiny):
    model = SmallCNN(3, 3, 2).train()
    with pytest.raises(RuntimeError):
        predict(model, tiny.x)
    assert model.training and model.norm1.training


def test_predict_takes_double_precision_and_networks_without_weights(tiny):
    assert predict(small(), tiny.x.double()).dtype == torch.float32
    assert predict(nn.Flatten(), tiny.x).shape == (60, 64)


@pytest.mark.parametrize(("n", "batch_size"), [(0, 8), (3, 0), (3, -1)])
def test_predict_refuses_an_empty_batch(tiny, n, batch_size):
    with pytest.raises(ValueError, match=f"at least one image per batch; got {n} in batches of {batch_size}"):
        predict(small(), tiny.x[:n], batch_size=batch_size)


def test_correct_counts_planted_answers(planted):
    model, x = planted([0, 1, 1, 2])
    data = ImageSet(x, torch.tensor([0, 1, 2, 2], dtype=torch.uint8), tuple("abcdefghij"))
    assert correct(model, data) == Proportion(3, 4)


@pytest.mark.parametrize("name", NETWORKS)
def test_predict_equals_the_network_itself(name):
    model, x = made(name).train(), torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    logits = predict(model, x, batch_size=3)
    assert all(part.training for part in model.modules())
    with torch.no_grad():
        expected = logits_of(model.eval()(x))
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    assert logits.shape == (5, 4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_networks_own_type_is_computed_in(tiny, dtype):
    model = small()
    exact = predict(model, tiny.x)
    logits = predict(model.to(dtype), tiny.x)
    assert logits.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert 0 < (logits - exact).abs().max() < 0.05


def test_bytes_are_converted_a_batch_at_a_time(tiny):
    stored = (tiny.x * 255).round().to(torch.uint8)
    model = small()
    assert torch.equal(predict(model, stored), predict(model, stored / 255))


def test_images_in_channels_last_are_the_same_images(tiny):
    model, x = made("DenseNet"), torch.rand(4, 3, 32, 32)
    torch.testing.assert_close(predict(model, x.contiguous(memory_format=torch.channels_last)), predict(model, x))


class Answers(nn.Module):
    """Answers every batch with something fixed."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x):
        return self.answer(x)


def two(x):
    return x.flatten(1)[:, :2]


@pytest.mark.parametrize("wrap", [
    lambda y: y, lambda y: (y, 0), lambda y: [y], lambda y: {"logits": y, "loss": 0}, lambda y: {"out": y},
    lambda y: SimpleNamespace(logits=y),
], ids=["tensor", "tuple", "list", "dict", "out", "object"])  # fmt: skip
def test_logits_are_found_in_whatever_is_returned(tiny, wrap):
    assert torch.equal(predict(Answers(lambda x: wrap(two(x))), tiny.x), two(tiny.x))


@pytest.mark.parametrize(("answer", "message"), [
    (lambda x: "cat", "must return logits .*; got str"),
    (lambda x: {"boxes": x}, "got dict"),
    (lambda x: two(x)[:, 0], r"got torch.float32 of shape \[60\]"),
    (lambda x: two(x).argmax(1, keepdim=True), "got torch.int64"),
])  # fmt: skip
def test_what_is_no_logits_is_named(tiny, answer, message):
    with pytest.raises(TypeError, match=message):
        predict(Answers(answer), tiny.x)


def test_an_answer_that_is_no_number_is_an_error(tiny):
    def broken(x):
        rows = two(x).clone()
        rows[3:5] = torch.tensor([float("nan"), float("inf")])
        return rows

    with pytest.raises(ValueError, match="answers to 2 of 60 images are not finite numbers"):
        predict(Answers(broken), tiny.x)


def test_every_image_needs_an_answer(tiny):
    with pytest.raises(ValueError, match="gives 1 answers to 60 images"):
        predict(Answers(lambda x: two(x)[:1]), tiny.x)


@pytest.mark.parametrize(("model", "x", "settings", "error", "message"), [
    (None, [1.0], {}, TypeError, "need images .* as a tensor; got list"),
    (SimpleNamespace(model=1), None, {}, TypeError, r"need a network, .* \(of what train returns: trained.model\)"),
    (None, torch.full((2, 1, 8, 8), 255.0), {}, ValueError, r"values in \[0, 1\]; got \[255, 255\]"),
    (None, torch.zeros(2, 1, 8, 8, dtype=torch.int64), {}, ValueError, "float dtype"),
    (None, torch.zeros(1, 8, 8), {}, ValueError, "shape"),
    (None, None, {"batch_size": 1.5}, TypeError, "batch_size must be a whole number; got 1.5"),
])  # fmt: skip
def test_wrong_arguments_are_named(tiny, unchecked, model, x, settings, error, message):
    with pytest.raises(error, match=message):
        predict(model or small(), tiny.x if x is None else x, **settings)


def test_an_image_set_is_no_tensor(tiny, unchecked):
    with pytest.raises(TypeError, match="got ImageSet .of a set: data.x."):
        predict(small(), tiny)
    with pytest.raises(TypeError, match="counting needs an ImageSet; got Tensor"):
        correct(small(), tiny.x)


def test_another_number_of_outputs_is_not_counted(tiny):
    with pytest.raises(ValueError, match="the network has 5 outputs; the data have 3 classes"):
        correct(SmallCNN(1, 5, 2), tiny)


# --- modes, gradients, places ---


def test_everything_is_put_back_after_an_error():
    model = nn.Sequential(nn.Linear(1, 1), nn.Dropout(), nn.BatchNorm1d(1))
    model[1].eval()
    model[0].weight.requires_grad_(False)

    def fail_inside():
        with evaluating(model, frozen=True):
            assert not any(part.training for part in model.modules())
            assert not any(weight.requires_grad for weight in model.parameters())
            raise KeyError

    with pytest.raises(KeyError):
        fail_inside()
    assert [part.training for part in model.modules()] == [True, True, False, True]
    assert [weight.requires_grad for weight in model.parameters()] == [False, True, True, True]


def test_the_first_floating_weight_says_where():
    model = nn.Module()
    model.count = nn.Parameter(torch.tensor([3]), requires_grad=False)
    assert placement(model).dtype == torch.float32
    model.register_buffer("scale", torch.ones(1).double())
    assert placement(model).dtype == torch.float64
    model.weight = nn.Parameter(torch.ones(1).half())
    assert placement(model).dtype == torch.float16


@pytest.mark.parametrize("wrap", [
    lambda net: net, nn.DataParallel, lambda net: torch.compile(net, backend="eager"),
    lambda net: nn.DataParallel(torch.compile(net, backend="eager")),
])  # fmt: skip
def test_wrappers_come_off(tiny, wrap):
    net = small()
    assert unwrapped(wrap(net)) is net
    assert weights_hash(wrap(net)) == weights_hash(net)
    torch.testing.assert_close(predict(wrap(net), tiny.x), predict(net, tiny.x))


def test_the_fast_layout_is_left_to_networks_that_can(tiny):
    class Viewing(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 4, 3)

        def forward(self, x):
            return self.conv(x).view(len(x), -1)[:, :3]

    assert fast_layout(small(), tiny.x[:2]) == torch.channels_last
    model = Viewing().train()
    assert fast_layout(model, tiny.x[:2]) == torch.contiguous_format
    assert model.training and predict(model, tiny.x).shape == (60, 3)


def test_a_network_answers_many_images_in_the_fast_layout_and_keeps_its_own():
    seen = []

    class Spy(SmallCNN):
        def forward(self, x):
            seen.append(self.conv2.weight.is_contiguous())
            return super().forward(x)

    model = Spy(3, 3, 2)
    predict(model, torch.rand(100, 3, 8, 8))
    assert not any(seen) and seen
    assert all(weight.is_contiguous() for weight in model.parameters())
    seen.clear()
    predict(model, torch.rand(4, 3, 8, 8))
    assert seen == [True]


# --- normalisation ---


@pytest.mark.parametrize("numbers", [
    lambda values: values, list, torch.tensor,
], ids=["tuple", "list", "tensor"])  # fmt: skip
def test_a_normalised_network_sees_what_it_was_trained_on(unchecked, numbers):
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.1, 0.3)
    net, x = SmallCNN(3, 4, 2), torch.rand(5, 3, 8, 8)
    model = Normalized(net, numbers(mean), numbers(std))
    by_hand = torch.stack([(x[:, c] - mean[c]) / std[c] for c in range(3)], 1)
    with torch.no_grad():
        torch.testing.assert_close(predict(model, x), net.eval()(by_hand))


def test_normalisation_is_saved_moved_and_copied_with_the_weights():
    model = Normalized(SmallCNN(1, 3, 2), (0.5,), (0.25,))
    assert {"mean", "std"} < set(model.state_dict())
    twin = Normalized(SmallCNN(1, 3, 2), (0.1,), (0.9,))
    twin.load_state_dict(model.state_dict())
    assert weights_hash(twin) == weights_hash(model) and twin.mean.item() == 0.5
    double = Normalized(SmallCNN(1, 3, 2).double(), (0.5,), (0.25,))
    assert double.mean.dtype == torch.float64
    assert predict(model.double(), torch.rand(2, 1, 8, 8)).dtype == torch.float64


@pytest.mark.parametrize(("mean", "std", "error", "message"), [
    ((), (), ValueError, "one number a channel"),
    ((0.5,), (0.5, 0.5), ValueError, "one number a channel"),
    ((0.5,), (0.0,), ValueError, "std positive"),
    ((float("nan"),), (1.0,), ValueError, "mean must be finite"),
    (0.5, 0.5, TypeError, "mean must be one number a channel, such as .*; got 0.5"),
    ("grey", (1.0,), TypeError, "mean must be one number a channel"),
])  # fmt: skip
def test_impossible_normalisations_are_refused(unchecked, mean, std, error, message):
    with pytest.raises(error, match=message):
        Normalized(small(), mean, std)


def test_images_with_other_channels_are_named(unchecked):
    with pytest.raises(ValueError, match=r"mean and std are for 1 channels; got images of shape \[2, 3, 8, 8\]"):
        predict(Normalized(small(), (0.5,), (0.5,)), torch.rand(2, 3, 8, 8))
    with pytest.raises(TypeError, match="need a network"):
        Normalized(lambda x: x, (0.5,), (0.5,))


@pytest.mark.parametrize(("mean", "std"), [((124, 116, 104), (58, 57, 57)), ((0, 0, 0), (255, 255, 255))])
def test_a_normalisation_of_levels_up_to_255_is_refused(mean, std):
    with pytest.raises(ValueError, match=r"images in \[0, 1\], so none is above 1.*divide all of them by 255"):
        Normalized(small(), mean, std)


class Overwriting(nn.Module):
    """Normalises its input in place, as many a script does."""

    def __init__(self):
        super().__init__()
        self.net = SmallCNN(1, 3, 2)

    def forward(self, x):
        return self.net(x.sub_(0.5).div_(0.5))


def test_a_network_that_writes_into_its_input_changes_nobodys_images():
    x = torch.rand(12, 1, 8, 8)
    data = ImageSet(x, torch.arange(12) % 3, ("ash", "birch", "cedar"))
    before, mark = x.clone(), data.fingerprint
    model = Overwriting()
    first, second = (predict(model, x, batch_size=5) for _ in range(2))
    assert torch.equal(first, second)
    listen(model, x, "net.fc2", lambda output: output)
    clean_accuracy(model, data)
    assert torch.equal(x, before) and data.fingerprint == mark


# --- how many images at a time ---


class Counting(nn.Module):
    """Answers with zeros, and remembers how many images it was given at a time."""

    def __init__(self):
        super().__init__()
        self.batches = []

    def forward(self, x):
        self.batches.append(len(x))
        return torch.zeros(len(x), 2)


def test_large_images_come_in_small_batches_unless_somebody_says_otherwise():
    model, x = Counting(), torch.zeros(25, 3, 224, 224, dtype=torch.uint8)
    data = ImageSet(x, torch.zeros(25).long(), ("a", "b"))
    correct(model, data)
    assert model.batches == [20, 5]
    correct(model, data, batch_size=25)
    assert model.batches == [20, 5, 25]
    predict(model, torch.zeros(520, 1, 32, 32))
    assert model.batches[3:] == [512, 8]
