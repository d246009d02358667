import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from badnets_lib import (
    DamagedFile,
    Epoch,
    ImageSet,
    PaperCNN,
    Proportion,
    SmallCNN,
    TrainConfig,
    channel_means,
    clean_accuracy,
    describe_device,
    predict,
    train,
    weights_hash,
)
from badnets_lib.files import load_tensors, save_tensors
from badnets_lib.models.training import correct, pick_device

CONFIG = TrainConfig(epochs=3, batch_size=16, device="cpu")


def small():
    return SmallCNN(1, 3, 2)


class Stop(Exception):
    """The power fails."""


@pytest.fixture
def stop_before(monkeypatch):
    """Make a run stop before an epoch (0: at once)."""
    from badnets_lib.models import training

    whole = training._Run.one_epoch

    def arrange(epoch):
        def one_epoch(run):
            if len(run.history) == epoch:
                raise Stop
            whole(run)

        monkeypatch.setattr(training._Run, "one_epoch", one_epoch)

    return arrange


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


def test_the_callers_random_state_is_left_alone_after_an_error_too(tiny, stop_before):
    stop_before(1)
    before = torch.get_rng_state()
    with pytest.raises(Stop):
        train(tiny, CONFIG)
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


@pytest.mark.parametrize("epoch", [0, 1, 2])
@pytest.mark.parametrize("model", [small, PaperCNN], ids=["small", "paper"])
def test_an_interrupted_run_ends_at_the_same_weights(tmp_path, stop_before, monkeypatch, epoch, model):
    size = 28 if model is PaperCNN else 8
    x = torch.rand(40, 1, size, size, generator=torch.Generator().manual_seed(0))
    data = ImageSet(x, torch.arange(40) % 3, tuple("0123456789") if model is PaperCNN else ("a", "b", "c"))
    watch, path = {"data": data}, tmp_path / "run"
    straight = train(data, CONFIG, model=model, watch=watch)
    with monkeypatch.context():
        stop_before(epoch)
        with pytest.raises(Stop):
            train(data, CONFIG, model=model, watch=watch, resume=path)
    assert path.exists() is (epoch > 0)
    stop_before(None)
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


def test_a_finished_run_is_returned_at_once(tiny, tmp_path, stop_before):
    first = train(tiny, CONFIG, model=small, watch={"all": tiny}, resume=tmp_path / "run")
    content = (tmp_path / "run").read_bytes()
    stop_before(3), stop_before(0)  # not one more epoch
    again = train(tiny, CONFIG, model=small, watch={"all": tiny}, resume=tmp_path / "run")
    assert weights_hash(again.model) == weights_hash(first.model) and again.history == first.history
    assert isinstance(again.history[0], Epoch) and isinstance(again.history[0].watched["all"], Proportion)
    assert not again.model.training and (tmp_path / "run").read_bytes() == content


def test_a_run_with_frozen_layers_resumes(tiny, tmp_path, stop_before, monkeypatch):
    model = small()
    model.conv1.weight.requires_grad_(False)
    straight = train(tiny, CONFIG, model=model)
    stop_before(2)
    with pytest.raises(Stop):
        train(tiny, CONFIG, model=model, resume=tmp_path / "run")
    stop_before(None)
    assert weights_hash(train(tiny, CONFIG, model=model, resume=tmp_path / "run").model) == weights_hash(straight.model)


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


# --- predict and channel_means ---


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
