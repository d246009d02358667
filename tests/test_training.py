import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from badnets_lib import (
    DamagedFile,
    Epoch,
    ImageSet,
    Normalized,
    PaperCNN,
    Proportion,
    SmallCNN,
    TrainConfig,
    clean_accuracy,
    describe_device,
    predict,
    train,
    weights_hash,
)
from badnets_lib.files import load_tensors, save_tensors
from badnets_lib.models.inference import correct
from badnets_lib.models.training import pick_device

CONFIG = TrainConfig(epochs=3, batch_size=16, device="cpu")


def small():
    return SmallCNN(1, 3, 2)


class Stop(Exception):
    """The power fails."""


def stopped(make, steps):
    """A function that makes the same network, in which the power fails after some steps of training."""
    done = []

    def count(network, _):
        if network.training:
            done.append(1)
            if len(done) > steps:
                raise Stop

    def made():
        network = make()
        network.register_forward_pre_hook(count)
        return network

    return made


STEPS = 4
"""Steps of an epoch of `tiny` in batches of 16."""


# --- repeatable, and without side effects ---


def test_a_run_repeats_bit_for_bit(tiny):
    torch.manual_seed(1)
    first = train(tiny, CONFIG, model=small)
    torch.manual_seed(2)
    again = train(tiny, CONFIG, model=small)
    assert weights_hash(again.model) == weights_hash(first.model)
    assert again.history == first.history


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"lr": 0.004}, {"epochs": 2}, {"batch_size": 20}, {"weight_decay": 0.5}]
)
def test_every_setting_matters(tiny, change):
    weights = [weights_hash(train(tiny, config, model=small).model) for config in (CONFIG, replace(CONFIG, **change))]
    assert weights[0] != weights[1]


def test_the_order_of_images_changes_from_epoch_to_epoch(tiny):
    seen = []

    class Spy(SmallCNN):
        def forward(self, x):
            if self.training:
                seen.append(x[:, 0, 0, 0].tolist())
            return super().forward(x)

    train(tiny, replace(CONFIG, batch_size=60, epochs=2), model=lambda: Spy(1, 3, 2))
    first, second = seen
    assert first != second
    assert sorted(first) == sorted(second) == sorted(tiny.x[:, 0, 0, 0].tolist())  # and each sees every image once


def test_the_callers_random_state_is_left_alone(tiny):
    before = torch.get_rng_state()
    train(tiny, CONFIG)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_run_on_the_cpu_seeds_no_gpu_of_the_caller(tiny, monkeypatch):
    for name in ("manual_seed", "manual_seed_all"):
        monkeypatch.setattr(torch.cuda, name, lambda *_: pytest.fail("seeded a GPU"))
    train(tiny, CONFIG)


def test_the_callers_random_state_is_left_alone_after_an_error_too(tiny):
    before = torch.get_rng_state()
    with pytest.raises(Stop):
        train(tiny, CONFIG, model=stopped(small, 5))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_callers_network_and_data_are_left_alone(tiny):
    model = small()
    model.fc1.weight.requires_grad_(False)
    before, x, y = weights_hash(model), tiny.x.clone(), tiny.y.clone()
    fitted = train(tiny, CONFIG, model=model)
    assert weights_hash(model) == before != weights_hash(fitted.model)
    assert torch.equal(fitted.model.fc1.weight, model.fc1.weight)  # frozen layers stay frozen
    assert model.training and all(weight.grad is None for weight in model.parameters())
    assert torch.equal(tiny.x, x) and torch.equal(tiny.y, y)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_weights_lie_in_memory_as_the_caller_had_them(tiny, tmp_path, layout):
    given = SmallCNN(3, 3, 2).to(memory_format=layout)
    colour = replace(tiny, x=tiny.x.expand(-1, 3, -1, -1))
    model = train(colour, CONFIG, model=given).model
    assert [weight.stride() for weight in model.parameters()] == [weight.stride() for weight in given.parameters()]
    if layout == torch.contiguous_format:
        save_file(model.state_dict(), tmp_path / "weights.safetensors")


def test_training_goes_on_from_a_given_network(tiny):
    first = train(tiny, CONFIG, model=small)
    more = train(tiny, CONFIG, model=first.model)
    assert more.history[0].loss < first.history[0].loss


def test_it_learns(tiny):
    x = tiny.x.clone()
    x[range(60), 0, tiny.y, :] = 1.0  # the class is written into the image
    fitted = train(replace(tiny, x=x), replace(CONFIG, epochs=20), model=small)
    assert clean_accuracy(fitted.model, replace(tiny, x=x)).value > 0.9
    assert fitted.history[-1].loss < fitted.history[0].loss


def test_what_comes_back(tiny):
    fitted = train(tiny, CONFIG, watch={"train": tiny})
    assert not fitted.model.training and isinstance(fitted.model, SmallCNN)
    assert fitted.config == CONFIG and fitted.fingerprint == tiny.fingerprint and len(fitted.history) == 3
    assert fitted.seconds > 0
    assert repr(fitted).startswith("Trained(SmallCNN, 3 epochs, loss ") and ", train " in repr(fitted)


# --- what it takes ---


def test_the_default_network_fits_colour_and_classes():
    data = ImageSet(torch.rand(12, 3, 10, 14), torch.arange(12) % 5, tuple("abcde"), torch.arange(12) // 2)
    fitted = train(data, replace(CONFIG, epochs=1))
    assert fitted.model.spec == {"name": "SmallCNN", "channels": 3, "classes": 5, "width": 16}


def test_the_papers_network_can_be_asked_for():
    data = ImageSet(torch.rand(4, 1, 28, 28), torch.arange(4), tuple("0123456789"))
    assert isinstance(train(data, replace(CONFIG, epochs=1), model=PaperCNN).model, PaperCNN)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
def test_every_integer_label_type_trains_alike(tiny, dtype):
    fitted = train(replace(tiny, y=tiny.y.to(dtype)), CONFIG, model=small)
    assert weights_hash(fitted.model) == weights_hash(train(tiny, CONFIG, model=small).model)


def test_double_precision_images_train_like_single(tiny):
    fitted = train(replace(tiny, x=tiny.x.double()), CONFIG, model=small)
    assert weights_hash(fitted.model) == weights_hash(train(tiny, CONFIG, model=small).model)


@pytest.mark.parametrize("n", [2, 3, 17, 33], ids=lambda n: f"{n} images in batches of 16")
def test_a_last_batch_of_one_image_joins_its_neighbour(tiny, n):
    seen = []

    class Spy(SmallCNN):
        def forward(self, x):
            if self.training:
                seen.append(len(x))
            return super().forward(x)

    train(tiny[slice(0, n)], CONFIG, model=lambda: Spy(1, 3, 2))
    assert sum(seen) == 3 * n and min(seen) > 1


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_images_are_refused(tiny, n):
    with pytest.raises(ValueError, match=f"at least 2 images; got {n}"):
        train(tiny[slice(0, n)], CONFIG)


@pytest.mark.parametrize(("settings", "message"), [
    ({"epochs": 0}, "epochs must be at least 1, batch_size at least 2; got 0, 64"),
    ({"batch_size": 1}, "got 6, 1"),
    ({"lr": 0.0}, "lr must be positive"),
    ({"lr": float("nan")}, "lr must be positive"),
    ({"weight_decay": -0.1}, "weight_decay not negative; got 0.005, -0.1"),
])  # fmt: skip
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**settings)


def test_an_unknown_device_is_refused(tiny):
    with pytest.raises(ValueError, match="device must be 'auto' or a torch device .*; got 'gpu5'"):
        train(tiny, replace(CONFIG, device="gpu5"))
    assert pick_device("cpu").type == "cpu" and pick_device().type in {"cpu", "cuda"}
    assert describe_device("cpu") == f"CPU with {torch.get_num_threads()} threads, torch {torch.__version__}"


def test_a_gpu_that_is_not_there_is_named(tiny, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for use in (lambda: train(tiny, replace(CONFIG, device="cuda")), lambda: describe_device("cuda:0")):
        with pytest.raises(ValueError, match="finds no CUDA GPU here; got device 'cuda"):
            use()
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ValueError, match="finds no Apple GPU here; got device 'mps'"):
        train(tiny, replace(CONFIG, device="mps"))


def test_a_loss_that_is_no_number_stops_the_run(tiny, tmp_path):
    class Broken(SmallCNN):
        def forward(self, x):
            return super().forward(x) * float("nan")

    with pytest.raises(FloatingPointError, match="loss became nan in epoch 1; lower lr"):
        train(tiny, CONFIG, model=lambda: Broken(1, 3, 2), resume=tmp_path / "run")
    assert not list(tmp_path.iterdir())  # a broken state is not kept


# --- watching ---


def test_watched_counts_equal_what_is_measured_afterwards_and_change_nothing(tiny):
    odd = tiny[torch.arange(60) % 2 == 1]
    watched = train(tiny, CONFIG, model=small, watch={"all": tiny, "odd": odd})
    plain = train(tiny, CONFIG, model=small)
    assert watched.history[-1].watched == {"all": correct(watched.model, tiny), "odd": correct(watched.model, odd)}
    assert [epoch.watched["odd"].trials for epoch in watched.history] == [30, 30, 30]
    assert weights_hash(watched.model) == weights_hash(plain.model)
    assert all(epoch.watched == {} for epoch in plain.history)


# --- resuming ---


@pytest.mark.parametrize("steps", [0, 1, 3, 4, 7, 8])
@pytest.mark.parametrize("model", [small, PaperCNN], ids=["small", "paper"])
def test_an_interrupted_run_ends_at_the_same_weights(tmp_path, steps, model):
    size = 28 if model is PaperCNN else 8
    x = torch.rand(40, 1, size, size, generator=torch.Generator().manual_seed(0))
    data = ImageSet(x, torch.arange(40) % 3, tuple("0123456789") if model is PaperCNN else ("a", "b", "c"))
    watch, path = {"data": data}, tmp_path / "run"
    straight = train(data, CONFIG, model=model, watch=watch)
    with pytest.raises(Stop):
        train(data, CONFIG, model=stopped(model, steps), watch=watch, resume=path)
    assert path.exists() is (steps >= 3)  # 40 images are 3 steps of 16
    torch.manual_seed(99)
    resumed = train(data, CONFIG, model=model, watch=watch, resume=path)
    assert weights_hash(resumed.model) == weights_hash(straight.model)
    assert resumed.history == straight.history


def test_a_stop_while_the_state_is_written_loses_one_epoch_at_most(tiny, tmp_path, monkeypatch):
    straight, path, calls = train(tiny, CONFIG, model=small), tmp_path / "run", []

    def fail_the_second_time(*_):
        calls.append(1)
        if len(calls) == 2:
            raise Stop

    with monkeypatch.context() as broken:
        broken.setattr("os.fsync", fail_the_second_time)
        with pytest.raises(Stop):
            train(tiny, CONFIG, model=small, resume=path)
    assert len(load_tensors(path)[1]["history"]) == 1
    assert weights_hash(train(tiny, CONFIG, model=small, resume=path).model) == weights_hash(straight.model)


def test_a_finished_run_is_returned_at_once(tiny, tmp_path):
    first = train(tiny, CONFIG, model=small, watch={"all": tiny}, resume=tmp_path / "run")
    content = (tmp_path / "run").read_bytes()
    not_one_step = stopped(small, 0)
    again = train(tiny, CONFIG, model=not_one_step, watch={"all": tiny}, resume=tmp_path / "run")
    assert weights_hash(again.model) == weights_hash(first.model) and again.history == first.history
    assert isinstance(again.history[0], Epoch) and isinstance(again.history[0].watched["all"], Proportion)
    assert not again.model.training and (tmp_path / "run").read_bytes() == content


def test_a_run_with_frozen_layers_resumes(tiny, tmp_path):
    model = small()
    model.conv1.weight.requires_grad_(False)
    straight = train(tiny, CONFIG, model=model)
    with pytest.raises(Stop):
        train(tiny, CONFIG, model=stopped(lambda: model, 2 * STEPS), resume=tmp_path / "run")
    model._forward_pre_hooks.clear()
    assert len(load_tensors(tmp_path / "run")[1]["history"]) == 2
    assert weights_hash(train(tiny, CONFIG, model=model, resume=tmp_path / "run").model) == weights_hash(straight.model)


def test_a_run_with_dropout_resumes(tiny, tmp_path):
    def dropping():
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3))

    straight = train(tiny, CONFIG, model=dropping)
    with pytest.raises(Stop):
        train(tiny, CONFIG, model=stopped(dropping, STEPS + 1), resume=tmp_path / "run")
    assert weights_hash(train(tiny, CONFIG, model=dropping, resume=tmp_path / "run").model) == weights_hash(
        straight.model
    )


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b[:-1] + bytes([b[-1] ^ 1])])
def test_a_damaged_state_warns_and_starts_afresh(tiny, tmp_path, damage):
    path = tmp_path / "run"
    first = train(tiny, CONFIG, model=small, resume=path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(UserWarning, match="run .*training starts again from the first epoch"):
        again = train(tiny, CONFIG, model=small, resume=path)
    assert weights_hash(again.model) == weights_hash(first.model)
    assert len(load_tensors(path)[1]["history"]) == 3  # and the file is whole again


@pytest.mark.parametrize(("difference", "name"), [
    ({"config": replace(CONFIG, lr=0.004)}, "settings"),
    ({"config": replace(CONFIG, epochs=4)}, "settings"),
    ({"config": replace(CONFIG, seed=1)}, "settings"),
    ({"data": slice(0, 59)}, "data"),
    ({"model": lambda: SmallCNN(1, 3, 4)}, "first weights"),
    ({"watch": True}, "watched sets"),
], ids=["lr", "epochs", "seed", "data", "model", "watch"])  # fmt: skip
def test_the_state_of_another_run_is_refused_and_kept(tiny, tmp_path, difference, name):
    path = tmp_path / "run"
    train(tiny, CONFIG, model=small, resume=path)
    content = path.read_bytes()
    data = tiny[difference.get("data", slice(None))]
    watch = {"all": tiny} if "watch" in difference else None
    with pytest.raises(ValueError, match=f"run holds another run: its {name} is .*, this run's"):
        train(data, difference.get("config", CONFIG), model=difference.get("model", small), watch=watch, resume=path)
    assert path.read_bytes() == content


def test_the_state_of_another_torch_version_is_refused(tiny, tmp_path):
    path = tmp_path / "run"
    train(tiny, CONFIG, model=small, resume=path)
    tensors, header = load_tensors(path)
    header["identity"]["torch"] = "1.0"
    save_tensors(path, tensors, header)
    with pytest.raises(ValueError, match="its torch is 1.0"):
        train(tiny, CONFIG, model=small, resume=path)


def test_a_strangers_file_is_refused_and_kept(tiny, tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "theirs")
    content = (tmp_path / "theirs").read_bytes()
    with pytest.raises(ValueError, match="not written by this library"):
        train(tiny, CONFIG, model=small, resume=tmp_path / "theirs")
    assert (tmp_path / "theirs").read_bytes() == content


def test_a_whole_file_that_is_no_run_is_refused(tiny, tmp_path):
    save_tensors(tmp_path / "other", {"a": torch.zeros(1)}, {"source": "elsewhere"})
    with pytest.raises(ValueError, match="holds another run"):
        train(tiny, CONFIG, resume=tmp_path / "other")


def test_the_device_is_no_part_of_a_runs_identity(tiny, tmp_path):
    first = train(tiny, CONFIG, model=small, resume=tmp_path / "run")
    again = train(tiny, replace(CONFIG, device="auto"), model=small, resume=tmp_path / "run")
    assert weights_hash(again.model) == weights_hash(first.model)


def test_the_state_is_json_and_tensors(tiny, tmp_path):
    train(tiny, CONFIG, model=small, resume=tmp_path / "run")
    _, header = load_tensors(tmp_path / "run")
    assert json.loads(header["identity"]["settings"])["lr"] == 0.005
    with pytest.raises(DamagedFile):
        (tmp_path / "run").write_bytes(b"junk") and load_tensors(tmp_path / "run")


# --- networks that a reader may bring ---


class Viewing(nn.Module):
    """A network of the tutorials: it calls `view`, which no channels-last layout survives."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.fc = nn.Linear(144, 3)

    def forward(self, x):
        return self.fc(self.conv(x).relu().view(-1, 144))


class Counting(nn.Module):
    """A network whose first parameter is an integer."""

    def __init__(self):
        super().__init__()
        self.calls = nn.Parameter(torch.tensor([7]), requires_grad=False)
        self.body = small()

    def forward(self, x):
        return self.body(x)


class Tuple(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = small()

    def forward(self, x):
        return self.body(x), x


FOREIGN = {
    "bfloat16": lambda: small().bfloat16(),
    "double": lambda: small().double(),
    "view": Viewing,
    "integer first": Counting,
    "tuple": Tuple,
    "parallel": lambda: nn.DataParallel(small()),
    "compiled": lambda: torch.compile(small(), backend="eager"),
    "dropout": lambda: nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(64, 3)),
    "norm without weights": lambda: nn.Sequential(nn.BatchNorm2d(1, affine=False), nn.Flatten(), nn.Linear(64, 3)),
    "norm of each batch": lambda: nn.Sequential(
        nn.BatchNorm2d(1, track_running_stats=False), nn.Flatten(), nn.Linear(64, 3)
    ),
    "normalised": lambda: Normalized(small(), (0.5,), (0.25,)),
    "a weight of five axes": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 1)), nn.Conv3d(1, 2, (1, 3, 3)), nn.Flatten(), nn.Linear(72, 3)
    ),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_any_network_trains_in_its_own_type_and_resumes(tiny, tmp_path, name):
    torch.manual_seed(0)
    model = FOREIGN[name]().eval()
    before = weights_hash(model)
    trained = train(tiny, CONFIG, model=model)
    assert weights_hash(model) == before != weights_hash(trained.model) and not model.training
    assert [each.dtype for each in trained.model.state_dict().values()] == [
        each.dtype for each in model.state_dict().values()
    ]
    watched = train(tiny, CONFIG, model=model, watch={"all": tiny}, resume=tmp_path / "run")
    again = train(tiny, CONFIG, model=model, watch={"all": tiny}, resume=tmp_path / "run")
    assert weights_hash(watched.model) == weights_hash(trained.model) == weights_hash(again.model)
    assert watched.history[-1].watched["all"] == correct(trained.model, tiny)


def test_training_follows_a_plain_loop_step_by_step(tiny):
    """A literal PyTorch loop: AdamW, one cycle, the epochs' own order of images."""
    torch.manual_seed(0)
    model = Viewing()
    trained = train(tiny, CONFIG, model=model)
    twin = copy.deepcopy(model)
    optimizer = torch.optim.AdamW(twin.parameters(), lr=CONFIG.lr, weight_decay=CONFIG.weight_decay, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, CONFIG.lr, total_steps=3 * STEPS)
    for epoch in range(3):
        order = torch.randperm(60, generator=torch.Generator().manual_seed(1_000_003 + epoch))
        for batch in order.split(16):
            optimizer.zero_grad()
            nn.functional.cross_entropy(twin(tiny.x[batch]), tiny.y[batch]).backward()
            optimizer.step()
            schedule.step()
    assert weights_hash(trained.model) == weights_hash(twin)


def test_a_function_that_hands_out_one_network_does_not_have_it_trained(tiny):
    once = small()
    before = weights_hash(once)
    first, second = (train(tiny, CONFIG, model=lambda: once).model for _ in range(2))
    assert weights_hash(first) == weights_hash(second) != before == weights_hash(once)


@pytest.mark.parametrize(("model", "message"), [
    (nn.Sequential(nn.Flatten(), nn.AdaptiveAvgPool1d(3)), "Sequential has no weight that learns"),
    (small().requires_grad_(False), "SmallCNN has no weight that learns: it has none, or all are frozen"),
    (small().half(), "SmallCNN has weights in float16, .* train it in float32 or bfloat16"),
    (SmallCNN(1, 4, 2), "the network has 4 outputs; the data have 3 classes"),
    (SmallCNN(1, 10, 2), "the network has 10 outputs; the data have 3 classes"),
    (nn.Sequential(nn.Flatten(), nn.Linear(64, 1)), "a single output for two classes: let it return one logit"),
    (SmallCNN(1, 3, 2).to("meta"), "on the 'meta' device and have no values"),
])  # fmt: skip
def test_what_cannot_be_trained_says_so_before_the_first_step(tiny, model, message):
    modes = [part.training for part in model.modules()]
    with pytest.raises((ValueError, NotImplementedError), match=message):
        train(tiny, CONFIG, model=stopped(lambda: model, 0))
    assert [part.training for part in model.modules()] == modes


def test_a_scripted_network_is_asked_but_not_trained(tiny):
    scripted = torch.jit.trace(small().eval(), tiny.x[:2])
    assert predict(scripted, tiny.x).shape == (60, 3)
    with pytest.raises(ValueError, match="a scripted network cannot be trained"):
        train(tiny, CONFIG, model=scripted)


def test_a_network_that_cannot_be_copied_is_named(tiny):
    model = small()
    model.kept = model(tiny.x)  # a tensor with a history
    with pytest.raises(TypeError, match="SmallCNN cannot be copied, and training works on a copy"):
        train(tiny, CONFIG, model=model)


def test_images_kept_as_bytes_train_as_the_same_numbers(tiny):
    stored = (tiny.x * 255).round().to(torch.uint8)
    bytes_, floats = (train(replace(tiny, x=x), CONFIG, model=small).model for x in (stored, stored / 255))
    assert weights_hash(bytes_) == weights_hash(floats)


@pytest.mark.parametrize(("wrong", "message"), [
    ({"epochs": 1.5}, "epochs must be a whole number; got 1.5"),
    ({"batch_size": "8"}, "batch_size must be a whole number; got '8'"),
    ({"seed": "a"}, "seed must be a whole number; got 'a'"),
    ({"lr": "0.1"}, "lr must be a number; got '0.1'"),
])  # fmt: skip
def test_settings_of_a_wrong_kind_are_named(unchecked, wrong, message):
    with pytest.raises(TypeError, match=message):
        TrainConfig(**wrong)


@pytest.mark.parametrize(("data", "model", "message"), [
    ([1, 2], None, "training needs an ImageSet; got list"),
    (None, "SmallCNN", "model must be a network or a function that makes one; got 'SmallCNN'"),
    (None, lambda: 3, "model must be a network or a function"),
])  # fmt: skip
def test_arguments_of_a_wrong_kind_are_named(tiny, unchecked, data, model, message):
    with pytest.raises(TypeError, match=message):
        train(data or tiny, CONFIG, model=model)


@pytest.mark.parametrize(("config", "watch", "message"), [
    (3, None, "settings of a training are a TrainConfig; got 3"),
    (SmallCNN(1, 3, 2), None, r"settings of a training are a TrainConfig; got (?s:.*) \(a network is given as model="),
    (CONFIG, [1], "watch must map names to image sets; got list"),
])  # fmt: skip
def test_settings_and_watched_sets_of_a_wrong_kind_are_named(tiny, unchecked, config, watch, message):
    with pytest.raises(TypeError, match=message):
        train(tiny, config, watch=watch)


def test_whole_numbers_of_numpy_are_whole_numbers(unchecked):
    config = TrainConfig(epochs=np.int64(2), seed=np.int64(3))
    assert config == TrainConfig(epochs=2, seed=3) and type(config.seed) is int


def test_where_no_gradient_flows_nothing_is_trained(tiny):
    class Closed(SmallCNN):
        @torch.no_grad()
        def forward(self, x):
            return super().forward(x)

    with pytest.raises(ValueError, match="answers carry no gradient: gradients are turned off in its forward or"):
        train(tiny, CONFIG, model=lambda: Closed(1, 3, 2))
    with torch.no_grad(), pytest.raises(ValueError, match=r"or around this call \(torch\.no_grad"):
        train(tiny, CONFIG, model=small)
