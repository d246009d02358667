from dataclasses import replace

import pytest
import torch
from foreign import made
from torch import nn

from badnets_lib import Attack, Goal, ImageSet, TrainConfig, score, weights_hash
from badnets_lib.attacks.input_aware import (
    Generator,
    InputAware,
    InputAwareConfig,
    cross_trigger_accuracy,
    train_input_aware,
)
from badnets_lib.triggers import describe

GOAL = Goal.all_to_one(0, 3)


class Echo(nn.Module):
    """A stand-in for the generator: the pattern is the image itself."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return x * self.weight


@pytest.fixture
def x():
    return torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.5


@pytest.fixture(scope="module")
def blobs():
    """240 images of 8x8: the class is the place of a bright square, plus noise."""
    y = torch.arange(240) % 3
    x = 0.2 * torch.rand(240, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    for label in range(3):
        x[y == label, :, :, 3 * label : 3 * label + 2] += 0.6
    return ImageSet(x, y, ("a", "b", "c"))


@pytest.fixture(scope="module")
def trained(blobs):
    return train_input_aware(
        blobs, GOAL, TrainConfig(epochs=12, batch_size=32), InputAwareConfig(fraction=0.2, cross=0.2)
    )


def test_the_generator_keeps_the_shape_and_range():
    out = Generator(3, width=4)(torch.rand(2, 3, 12, 16))
    assert out.shape == (2, 3, 12, 16) and out.abs().max() <= 1


def test_the_trigger_adds_its_pattern_within_the_limit(x):
    trigger = InputAware(Echo(), 0.5)
    assert torch.allclose(trigger(x), x + 0.5 * x)
    assert torch.allclose(trigger.crossed(x, x.flip(0)), (x + 0.5 * x.flip(0)).clamp(0, 1))
    assert torch.allclose(trigger.pattern(x), 0.5 * x)
    assert trigger(x[:0]).shape == (0, 1, 8, 8)
    assert trigger(x.half()).dtype == torch.float16
    assert describe(trigger).opacity == 0.5


def test_the_trained_trigger_treats_each_image_on_its_own(trained, blobs):
    _, trigger = trained
    some = blobs.x[:6]
    assert torch.allclose(trigger(some), torch.cat([trigger(image[None]) for image in some]), atol=1e-6)
    assert (trigger(some) - some).abs().max() <= trigger.eps + 1e-6
    assert not trigger(some).requires_grad


def test_training_plants_the_backdoor(trained, blobs):
    fitted, trigger = trained
    card = score(fitted.model, blobs, Attack(trigger, GOAL))
    assert card.clean.value > 0.9 and card.success.value > 0.9 and card.false_target.value < 0.1
    assert card.success.trials == 160 and len(fitted.history) == 12
    assert fitted.history[-1].loss < fitted.history[0].loss and fitted.fingerprint == blobs.fingerprint


def test_a_run_repeats_and_leaves_the_random_state_alone(blobs):
    weights, state = [], torch.get_rng_state()
    for seed in (3, 3, 4):
        fitted, trigger = train_input_aware(blobs, GOAL, TrainConfig(epochs=1, batch_size=32, seed=seed, device="cpu"))
        both = (*fitted.model.parameters(), *trigger.generator.parameters())
        weights.append(torch.cat([weight.flatten() for weight in both]))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_another_network_can_be_given(blobs):
    def linear():
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))

    fitted, _ = train_input_aware(blobs, GOAL, TrainConfig(epochs=1, batch_size=32), model=linear)
    assert isinstance(fitted.model[1], nn.Linear) and not fitted.model.training


def test_a_foreign_network_is_trained_and_a_given_one_left_alone():
    x = torch.rand(64, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    data, model = ImageSet(x, torch.arange(64) % 3, ("a", "b", "c")), made("Hugging Face", 3)
    before = weights_hash(model)
    fitted, trigger = train_input_aware(data, GOAL, TrainConfig(epochs=1, batch_size=32), model=model)
    assert weights_hash(model) == before != weights_hash(fitted.model)
    assert score(fitted.model, data, Attack(trigger, GOAL)).success.trials == 42
    with pytest.raises(ValueError, match="the network has 4 outputs; the data have 3 classes"):
        train_input_aware(data, GOAL, TrainConfig(epochs=1, batch_size=32), model=made("Hugging Face", 4))
    with pytest.raises(ValueError, match="the goal has 5 classes; the data have 3"):
        train_input_aware(data, Goal.all_to_one(0, 5))


def test_images_kept_as_bytes_are_crossed_and_kept_so(blobs, trained):
    fitted, trigger = trained
    stored = replace(blobs, x=(blobs.x * 255).round().to(torch.uint8))
    floats = replace(blobs, x=stored.x / 255)
    counts = [cross_trigger_accuracy(fitted.model, trigger, each).hits for each in (stored, floats)]
    assert abs(counts[0] - counts[1]) <= 2 and counts[0] > 120
    with pytest.raises(ValueError, match="at least 2 images; got 1"):
        cross_trigger_accuracy(fitted.model, trigger, blobs[:1])


def test_diversity_makes_patterns_differ(blobs):
    def spread(diversity):
        attack = InputAwareConfig(fraction=0.2, cross=0.0, diversity=diversity)
        _, trigger = train_input_aware(blobs, GOAL, TrainConfig(epochs=10, batch_size=32), attack)
        return float(trigger.generator(blobs.x[:60]).detach().std(0).mean())

    assert spread(1.0) > 1.3 * spread(0.0)


# --- the cross-trigger count ---


class Pixel(nn.Module):
    """Answers the class that the top left pixel says, in steps of a tenth."""

    def forward(self, x):
        return nn.functional.one_hot((x[:, 0, 0, 0] * 10).round().long().clamp(0, 9), 10).float()


class Corner(nn.Module):
    """A pattern that is a tenth at the top left, but only for images of even classes."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x):
        out = torch.zeros_like(x)
        out[:, 0, 0, 0] = ((x[:, 0, 0, 0] * 10).round() % 2 == 0) * 0.1
        return out


def test_cross_trigger_accuracy_pairs_every_image_with_another():
    y = torch.arange(8) % 4
    x = torch.zeros(8, 1, 4, 4)
    x[:, 0, 0, 0] = y / 10
    data = ImageSet(x, y, tuple("abcdefghij"))
    found = cross_trigger_accuracy(Pixel(), InputAware(Corner(), 1.0), data)
    assert found.trials == 8 and found.hits == 4  # four of the eight triggers move the answer, whoever gets them
    two = data[torch.tensor([0, 1])]  # classes 0 and 1 exchange their triggers
    assert cross_trigger_accuracy(Pixel(), InputAware(Corner(), 1.0), two).hits == 1
    moved = score(Pixel(), data, Attack(InputAware(Corner(), 1.0), Goal.source_specific({0: 1}, 10)))
    assert (moved.success.hits, moved.success.trials, moved.false_target.hits) == (2, 2, 0)


# --- bad settings ---


@pytest.mark.parametrize(("settings", "message"), [
    ({"fraction": 0.0}, "fraction must be above 0"),
    ({"fraction": 0.7, "cross": 0.4}, "together at most 1; got 0.7 and 0.4"),
    ({"cross": -0.1}, "cross at least 0"),
    ({"eps": 0.0}, r"eps must lie in \(0, 1\]"),
    ({"diversity": float("nan")}, "diversity may not be negative"),
])  # fmt: skip
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        InputAwareConfig(**settings)


@pytest.mark.parametrize(("keep", "batch", "fraction", "message"), [
    (slice(20), 32, 0.2, "and 20 images"),
    (slice(240), 32, 0.01, "got 0 and 3 of 32"),
    (slice(240), 8, 0.13, "got 1 and 1 of 8"),
])  # fmt: skip
def test_a_batch_without_enough_triggers_is_refused(blobs, keep, batch, fraction, message):
    attack = InputAwareConfig(fraction=fraction, cross=0.1 if batch == 32 else 0.0)
    with pytest.raises(ValueError, match=message):
        train_input_aware(blobs[keep], GOAL, TrainConfig(epochs=1, batch_size=batch), attack)


def test_sides_that_do_not_halve_twice_are_refused():
    data = ImageSet(torch.rand(6, 1, 10, 12), torch.arange(6) % 3, ("a", "b", "c"))
    with pytest.raises(ValueError, match=r"multiples of 4; got \[10, 12\]"):
        train_input_aware(data, GOAL)
