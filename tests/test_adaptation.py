import pytest
import torch
from foreign import NETWORKS, made
from torch import nn

from badnets_lib import ImageSet, PaperCNN, SmallCNN, TrainConfig, load_model, predict, save_model, train, weights_hash
from badnets_lib.models.adaptation import answered, distilled, frozen, pruned, quantised, with_new_head
from badnets_lib.models.layers import head

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


NORMS = {
    "1d": nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 3)),
    "2d": nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(64, 3)),
    "3d": nn.Sequential(nn.Unflatten(1, (1, 1)), nn.BatchNorm3d(1), nn.Flatten(), nn.Linear(64, 3)),
    "synchronised": nn.Sequential(nn.SyncBatchNorm(1), nn.Flatten(), nn.Linear(64, 3)),
    "without weights": nn.Sequential(nn.BatchNorm2d(1, affine=False), nn.Flatten(), nn.Linear(64, 3)),
    "of a cumulative mean": nn.Sequential(nn.BatchNorm2d(1, momentum=None), nn.Flatten(), nn.Linear(64, 3)),
}


@pytest.mark.parametrize("name", NORMS)
def test_every_batch_norm_holds_its_statistics(name, tiny):
    before = NORMS[name]
    held = frozen(before)
    if name != "synchronised":  # it trains on a GPU alone, but held it computes anywhere
        loose = frozen(held, hold_statistics=False)
        assert {type(part) for part in loose.modules()} == {type(part) for part in before.modules()}
        after = train(tiny, CONFIG, model=loose).model
        assert {key.rpartition(".")[2] for key in changed(before, after)} >= {"running_mean", "running_var"}
    after = train(tiny, CONFIG, model=held).model
    assert not {key for key in changed(before, after) if "running" in key or "num_batches" in key}
    assert changed(before, after)


def test_batch_norm_without_statistics_has_none_to_hold(tiny):
    model = nn.Sequential(nn.BatchNorm2d(1, track_running_stats=False), nn.Flatten(), nn.Linear(64, 3))
    after = train(tiny, CONFIG, model=frozen(model, train=["2"])).model
    assert changed(model, after) == {"2.weight", "2.bias"}


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
    other = with_new_head(model, 2, tiny.x, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    same = {name for name, each in other.state_dict().items() if each.shape == model.state_dict()[name].shape}
    assert same == set(model.state_dict()) - {"fc2.weight", "fc2.bias"}
    assert all(torch.equal(other.state_dict()[name], model.state_dict()[name]) for name in same)
    assert predict(other, tiny.x).shape == (60, 2)
    again, another = with_new_head(model, 2, tiny.x, seed=3), with_new_head(model, 2, tiny.x)
    assert weights_hash(again) == weights_hash(other) != weights_hash(another)
    save_model(tmp_path / "m", other, {"from": "a test"})
    assert weights_hash(load_model(tmp_path / "m")[0]) == weights_hash(other)


def test_the_head_is_fresh_even_for_as_many_classes(model, tiny):
    assert not torch.equal(with_new_head(model, 3, tiny.x, seed=1).fc2.weight, model.fc2.weight)


def test_a_new_head_of_the_papers_network_is_no_papers_network(tmp_path):
    other = with_new_head(PaperCNN(), 2, torch.rand(2, 1, 28, 28))
    assert predict(other, torch.rand(3, 1, 28, 28)).shape == (3, 2)
    save_model(tmp_path / "m", other, {"from": "a test"})
    with pytest.raises(ValueError, match="class badnets_lib.models.networks:PaperCNN: say what builds it"):
        load_model(tmp_path / "m")


@pytest.mark.parametrize("name", NETWORKS)
def test_any_network_gets_a_new_head(name):
    model, x = made(name), torch.rand(4, 3, 32, 32)
    other = with_new_head(model, 7, x)
    assert predict(other, x).shape == (4, 7) and predict(model, x).shape == (4, 4)
    last = head(model, x)
    assert {key for key in changed_shapes(model, other)} == {f"{last}.weight", f"{last}.bias"}
    assert changed(model, other) <= {f"{last}.weight", f"{last}.bias"}


def changed_shapes(before, after):
    new = after.state_dict()
    return {name for name, old in before.state_dict().items() if new[name].shape != old.shape}


@pytest.mark.parametrize(("last", "outputs"), [
    (nn.Conv2d(8, 4, 1, bias=False), {"bias": None, "kernel_size": (1, 1)}),
    (nn.Conv2d(8, 4, 3, padding=1), {"kernel_size": (3, 3), "padding": (1, 1)}),
])  # fmt: skip
def test_a_convolution_at_the_end_gets_a_new_head(last, outputs):
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), last, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    x = torch.rand(4, 1, 8, 8)
    fresh = with_new_head(model, 3, x)
    assert predict(fresh, x).shape == (4, 3) and fresh[2].out_channels == 3
    assert {name: getattr(fresh[2], name) for name in outputs} == outputs


class Cosine(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(3, 64))

    def forward(self, x):
        return nn.functional.normalize(x) @ nn.functional.normalize(self.weight).T


def test_another_kind_of_head_is_named(tiny):
    with pytest.raises(ValueError, match="layer '1' is a Cosine"):
        with_new_head(nn.Sequential(nn.Flatten(), Cosine()), 3, tiny.x)
    with pytest.raises(ValueError, match="at least 2 classes; got 1"):
        with_new_head(SmallCNN(1, 3, 2), 1, tiny.x)


# ---- pruning ----


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.9])
def test_the_smallest_weights_of_all_layers_together_go(model, sparsity):
    model.to(memory_format=torch.channels_last)  # as `train` leaves it
    before = weights_hash(model)
    after = pruned(model, sparsity)
    names = [f"{layer}.weight" for layer in ("conv1", "conv2", "fc1", "fc2")]
    old, new = (torch.cat([each.state_dict()[name].flatten() for name in names]) for each in (model, after))
    gone = new == 0
    assert int(gone.sum()) == round(sparsity * len(old))
    assert torch.equal(new[~gone], old[~gone])
    assert not gone.any() or old[gone].abs().max() <= old[~gone].abs().min()
    assert changed(model, after) <= set(names) and weights_hash(model) == before
    assert list(after.state_dict()) == list(model.state_dict()), "no masks are left behind"


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, float("nan")])
def test_an_impossible_sparsity_is_refused(model, sparsity):
    with pytest.raises(ValueError, match=r"sparsity must lie in \[0, 1\)"):
        pruned(model, sparsity)


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


@pytest.mark.parametrize(
    "name", ["blocks in a Sequential", "Hugging Face", pytest.param("DenseNet", marks=pytest.mark.slow)]
)
def test_foreign_networks_in_int8_answer_nearly_the_same(name):
    model, x = made(name), torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    before = weights_hash(model)
    exact, rounded = predict(model, x), predict(quantised(model, x), x)
    assert 0 < (exact - rounded).abs().max() < 0.3 * exact.std()
    assert weights_hash(model) == before


def test_what_cannot_be_traced_is_named(tiny):
    class Undecided(nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :3] if x.mean() > 0.5 else x.flatten(1)[:, 3:6]

    with pytest.raises(ValueError, match="Undecided cannot be quantised by torchao"):
        quantised(Undecided(), tiny.x)


def test_int8_cannot_be_saved(model, tiny, tmp_path):
    with pytest.raises(TypeError, match="save the network that it was made from"):
        save_model(tmp_path / "m", quantised(model, tiny.x), {"from": "a test"})


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


def test_a_student_with_other_outputs_is_refused(model, tiny):
    with pytest.raises(ValueError, match="has 5 outputs; the data have 3 classes"):
        distilled(model, tiny.x, CONFIG, student=lambda: SmallCNN(1, 5, 4))


def test_a_student_that_is_handed_out_again_stays_untrained(model, tiny):
    once = SmallCNN(1, 3, 4)
    before = weights_hash(once)
    assert weights_hash(distilled(model, tiny.x, CONFIG, student=lambda: once)) != before == weights_hash(once)


def test_answered_images_carry_the_networks_labels(model, tiny):
    data = answered(model, tiny.x, tiny.classes)
    assert isinstance(data, ImageSet) and torch.equal(data.y, predict(model, tiny.x).argmax(1))
