import pytest
import torch
from torch import nn

from badnets_lib import ImageSet, PaperCNN, SmallCNN, TrainConfig, load_model, predict, save_model, train, weights_hash
from badnets_lib.models.adaptation import answered, distilled, frozen, pruned, quantised, with_new_head

CONFIG = TrainConfig(epochs=1, batch_size=16, device="cpu")


@pytest.fixture
def model():
    torch.manual_seed(0)
    return SmallCNN(1, 3, 4).eval()


def changed(before, after):
    """Names of the tensors that differ."""
    new = after.state_dict()
    return {name for name, old in before.state_dict().items() if not torch.equal(old, new[name])}


# ---- freezing ----


def test_only_the_named_layers_learn(model, tiny):
    before = weights_hash(model)
    after = train(tiny, CONFIG, model=frozen(model, train=["fc1", "fc2"])).model
    assert changed(model, after) == {"fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"}
    assert weights_hash(model) == before and all(weight.requires_grad for weight in model.parameters())


def test_a_network_that_came_frozen_learns_again(model, tiny):
    still = frozen(model).requires_grad_(False)
    after = train(tiny, CONFIG, model=frozen(still)).model
    assert not torch.equal(after.get_submodule("fc1").weight, model.get_submodule("fc1").weight)
    assert not any(weight.requires_grad for weight in still.parameters())


def test_frozen_weights_do_not_stop_the_statistics(model, tiny):
    after = train(tiny, CONFIG, model=frozen(model, train=["fc2"], hold_statistics=False)).model
    moved = {f"{norm}.{name}" for norm in ("norm1", "norm2") for name in ("running_mean", "running_var")}
    counted = {"norm1.num_batches_tracked", "norm2.num_batches_tracked"}
    assert changed(model, after) == {"fc2.weight", "fc2.bias"} | moved | counted


def test_held_statistics_are_used_as_well(model, tiny):
    held = frozen(model).train()
    assert torch.equal(held(tiny.x), predict(model, tiny.x))
    assert held.fc1.training, "everything else trains"
    after = train(tiny, CONFIG, model=held).model
    assert not {name for name in changed(model, after) if "running" in name or "num_batches" in name}
    assert "norm1.weight" in changed(model, after)


def test_a_frozen_network_is_still_the_same_network(model, tmp_path, tiny):
    save_model(tmp_path / "m", frozen(model, train=["fc2"]), {"from": "a test"})
    again, _ = load_model(tmp_path / "m")
    assert weights_hash(again) == weights_hash(model)


def test_statistics_are_held_deep_inside_too():
    inner = nn.Sequential(nn.Sequential(nn.BatchNorm2d(2)), nn.Flatten(), nn.Linear(8, 2))
    held = frozen(inner, train=["2"]).train()
    held(torch.rand(3, 2, 2, 2))
    assert int(held[0][0].num_batches_tracked) == 0
    assert [weight.requires_grad for weight in held.parameters()] == [False, False, True, True]


@pytest.mark.parametrize(("layers", "message"), [
    (["fc9"], "no layer 'fc9'; known: conv1, norm1"), (["relu1"], "relu1 have no weights"), ([], r"\(none\) have no"),
])  # fmt: skip
def test_layers_that_cannot_learn_are_refused(model, layers, message):
    with pytest.raises(ValueError, match=message):
        frozen(model, train=layers)


# ---- a new task ----


def test_a_new_head_leaves_everything_else(model, tmp_path, tiny):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    other = with_new_head(model, 2, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    same = {name for name, each in other.state_dict().items() if each.shape == model.state_dict()[name].shape}
    assert same == set(model.state_dict()) - {"fc2.weight", "fc2.bias"}
    assert all(torch.equal(other.state_dict()[name], model.state_dict()[name]) for name in same)
    assert predict(other, tiny.x).shape == (60, 2)
    assert weights_hash(with_new_head(model, 2, seed=3)) == weights_hash(other) != weights_hash(with_new_head(model, 2))
    save_model(tmp_path / "m", other, {"from": "a test"})
    assert weights_hash(load_model(tmp_path / "m")[0]) == weights_hash(other)


def test_the_head_is_fresh_even_for_as_many_classes(model):
    assert not torch.equal(with_new_head(model, 3, seed=1).fc2.weight, model.fc2.weight)


def test_a_network_of_fixed_size_gets_no_new_head():
    with pytest.raises(ValueError, match="PaperCNN cannot be rebuilt"):
        with_new_head(PaperCNN(), 2)


# ---- pruning ----


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_the_smallest_weights_of_all_layers_together_go(model, share):
    model.to(memory_format=torch.channels_last)  # as `train` leaves it
    before = weights_hash(model)
    after = pruned(model, share)
    names = [f"{layer}.weight" for layer in ("conv1", "conv2", "fc1", "fc2")]
    old, new = (torch.cat([each.state_dict()[name].flatten() for name in names]) for each in (model, after))
    gone = new == 0
    assert int(gone.sum()) == round(share * len(old))
    assert torch.equal(new[~gone], old[~gone])
    assert not gone.any() or old[gone].abs().max() <= old[~gone].abs().min()
    assert changed(model, after) <= set(names) and weights_hash(model) == before
    assert list(after.state_dict()) == list(model.state_dict()), "no masks are left behind"


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_an_impossible_share_is_refused(model, share):
    with pytest.raises(ValueError, match=r"share must lie in \[0, 1\)"):
        pruned(model, share)


def test_a_network_without_weights_cannot_be_pruned():
    with pytest.raises(ValueError, match="Flatten has no convolution and no linear layer"):
        pruned(nn.Flatten(), 0.5)


# ---- quantisation ----


def test_int8_answers_nearly_the_same_from_eight_bits(model, tiny):
    before = weights_hash(model.train())
    small = quantised(model, tiny.x)
    exact, rounded = predict(model, tiny.x), predict(small, tiny.x)
    error = (exact - rounded).abs().max() / exact.std()
    assert 0 < error < 0.2
    weights = [each for each in small.weights.values() if each.ndim > 1]
    assert {each.dtype for each in weights} == {torch.int8}
    assert sorted(map(len, weights)) == [3, 4, 8, 16], "one tensor a layer, batch norm folded in"
    assert weights_hash(model) == before and model.training
    assert len(predict(small, tiny.x[:1])) == 1


def test_int8_clips_what_the_calibration_never_saw(model, tiny):
    dim = quantised(model, tiny.x * 0.1)
    assert torch.equal(predict(dim, torch.full((2, 1, 8, 8), 0.5)), predict(dim, torch.ones(2, 1, 8, 8)))


def test_one_image_is_no_calibration(model, tiny):
    with pytest.raises(ValueError, match="at least 2 images to read ranges off; got 1"):
        quantised(model, tiny.x[:1])


# ---- distillation ----


def test_a_student_learns_the_teachers_answers(model, tiny):
    before, config = weights_hash(model), TrainConfig(epochs=60, batch_size=16, device="cpu", seed=4)
    torch.manual_seed(1)
    student = distilled(model, tiny.x, config, student=lambda: SmallCNN(1, 3, 4))
    first = torch.get_rng_state()
    torch.manual_seed(1)
    assert torch.equal(first, torch.get_rng_state()), "the caller's random state is left alone"
    agree = (predict(student, tiny.x).argmax(1) == predict(model, tiny.x).argmax(1)).float().mean()
    assert agree > 0.9 and not student.training
    again = distilled(model, tiny.x, config, student=lambda: SmallCNN(1, 3, 4))
    assert weights_hash(student) == weights_hash(again) != before == weights_hash(model)


def test_the_temperature_counts(model, tiny):
    hashes = {
        weights_hash(distilled(model, tiny.x, CONFIG, student=lambda: SmallCNN(1, 3, 4), temperature=t))
        for t in (1.0, 4.0)
    }
    assert len(hashes) == 2


@pytest.mark.parametrize(("images", "temperature"), [(1, 4.0), (5, 0.0), (5, -1.0), (5, float("nan"))])
def test_impossible_lessons_are_refused(model, tiny, images, temperature):
    with pytest.raises(ValueError, match=f"2 images and a positive temperature; got {images}"):
        distilled(model, tiny.x[:images], CONFIG, student=lambda: SmallCNN(1, 3, 4), temperature=temperature)


def test_answered_images_carry_the_networks_labels(model, tiny):
    data = answered(model, tiny.x, tiny.classes)
    assert isinstance(data, ImageSet) and torch.equal(data.y, predict(model, tiny.x).argmax(1))
