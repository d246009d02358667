import pytest
import torch
from foreign import NETWORKS, made
from hypothesis import given, strategies as st
from torch.nn.functional import cross_entropy

from badnets_lib import ImageSet, SmallCNN, TrainConfig, predict, train, weights_hash
from badnets_lib.attacks.evasion import AdversarialPatch, fgsm, learn_patch, pgd

ATTACKS = [fgsm, pgd, lambda *args, **settings: pgd(*args, random_start=False, **settings)]
each_attack = pytest.mark.parametrize("attack", ATTACKS, ids=["fgsm", "pgd", "pgd from the image"])


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return SmallCNN(1, 3, 4).train()


@each_attack
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_stays_in_the_ball_and_in_range_and_raises_the_loss(attack, model, tiny, dtype):
    x, before = tiny.x.to(dtype), tiny.x.clone()
    attacked = attack(model, x, tiny.y, eps=0.05)
    assert attacked.shape == x.shape and attacked.dtype == dtype and not attacked.requires_grad
    assert attacked.min() >= 0 and attacked.max() <= 1
    assert 0 < (attacked - x).abs().max() <= 0.05 + 1e-6
    assert cross_entropy(predict(model, attacked), tiny.y) > cross_entropy(predict(model, x), tiny.y)
    assert torch.equal(tiny.x, before)


@given(st.floats(0.001, 2), st.floats(0.001, 1), st.integers(1, 4), st.booleans())
def test_the_ball_holds_for_any_settings(model, eps, step, steps, random_start):
    x = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    attacked = pgd(model, x, torch.arange(3), eps=eps, step=step, steps=steps, random_start=random_start)
    assert (attacked - x).abs().max() <= eps + 1e-6
    assert attacked.min() >= 0 and attacked.max() <= 1


@each_attack
def test_leaves_the_network_as_it_was(attack, tiny):
    model = SmallCNN(1, 3, 2).train()
    model.norm1.eval()
    model.conv1.weight.requires_grad_(False)
    before, modes = weights_hash(model), [part.training for part in model.modules()]
    attack(model, tiny.x, tiny.y)
    learn_patch(model, tiny, 0, size=2, steps=2)
    assert weights_hash(model) == before
    assert [part.training for part in model.modules()] == modes
    assert [weight.requires_grad for weight in model.parameters()] == [False] + [True] * 9
    assert all(weight.grad is None for weight in model.parameters())


def test_leaves_the_network_as_it_was_after_an_error_too(tiny):
    model = SmallCNN(3, 3, 2).train()
    with pytest.raises(RuntimeError):
        fgsm(model, tiny.x, tiny.y)
    assert model.training and all(weight.requires_grad for weight in model.parameters())


def test_more_steps_do_more_harm(model, tiny):
    losses = [cross_entropy(predict(model, a), tiny.y) for a in (
        fgsm(model, tiny.x, tiny.y, eps=0.1), pgd(model, tiny.x, tiny.y, eps=0.1, random_start=False),
    )]  # fmt: skip
    assert losses[1] > losses[0]


def test_the_random_start_owns_its_seed(model, tiny):
    torch.manual_seed(1)
    first, state = pgd(model, tiny.x, tiny.y, steps=1, seed=3), torch.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(pgd(model, tiny.x, tiny.y, steps=1, seed=3), first)
    assert not torch.equal(pgd(model, tiny.x, tiny.y, steps=1, seed=4), first)
    torch.manual_seed(1)
    assert torch.equal(state, torch.get_rng_state())


def test_small_labels_will_do(model, tiny):
    assert torch.equal(fgsm(model, tiny.x, tiny.y.to(torch.uint8)), fgsm(model, tiny.x, tiny.y))


@pytest.mark.parametrize("settings", [
    {"eps": 0.0}, {"eps": -0.1}, {"eps": float("nan")}, {"step": 0.0}, {"step": float("nan")}, {"steps": 0},
], ids=str)  # fmt: skip
def test_impossible_settings_are_refused(model, tiny, settings):
    with pytest.raises(ValueError, match="eps and step must be positive and steps at least 1"):
        pgd(model, tiny.x, tiny.y, **settings)


@each_attack
def test_what_is_no_image_is_refused(attack, model, tiny):
    with pytest.raises(ValueError, match=r"values in \[0, 1\]"):
        attack(model, tiny.x * 255, tiny.y)


SLOW = ("ResNet-18", "MobileNetV3")


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in NETWORKS
])  # fmt: skip
def test_any_network_is_attacked_along_its_gradient_and_left_alone(name):
    model, x = made(name), torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    if name == "ViT":
        torch.nn.init.normal_(model.heads.head.weight)  # torchvision's is zero, and so is every gradient
    y = torch.tensor([0, 1, 2, 3])
    seen = x.clone().requires_grad_()
    output = model.eval()(seen)
    (gradient,) = torch.autograd.grad(cross_entropy(getattr(output, "logits", output), y, reduction="sum"), seen)
    before = weights_hash(model.train())
    expected = (x + 0.05 * gradient.sign()).clamp(0, 1)
    attacked = fgsm(model, x, y, eps=0.05)
    assert ((attacked - expected).abs() < 1e-6).float().mean() > 0.99  # a gradient of nearly zero may change its sign
    assert 0 < (pgd(model, x, y, eps=0.05, steps=2) - x).abs().max() <= 0.05 + 1e-6
    assert weights_hash(model) == before and all(part.training for part in model.modules())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_ball_holds_for_networks_of_any_precision(tiny, dtype):
    model = SmallCNN(1, 3, 4).to(dtype)
    attacked = pgd(model, tiny.x, tiny.y, eps=0.01)
    assert attacked.dtype == torch.float32 and 0.009 < (attacked - tiny.x).abs().max() <= 0.01 + 1e-6
    patch = learn_patch(model, tiny, 0, size=2, steps=2)
    assert patch.pixels.dtype == torch.float32 and patch.pixels.isfinite().all()


def test_batches_change_nothing(model, tiny):
    torch.testing.assert_close(pgd(model, tiny.x, tiny.y, batch_size=7), pgd(model, tiny.x, tiny.y))


@pytest.mark.parametrize(("labels", "message"), [
    (torch.arange(60), r"labels must lie in \[0, 3\), the network's outputs; got 0 to 59"),
    (torch.full((60,), -1), r"labels must lie in \[0, 3\)"),
    (torch.zeros(3, dtype=torch.long), "one label for each; got 60 and 3"),
])  # fmt: skip
def test_labels_that_do_not_fit_are_named(model, tiny, unchecked, labels, message):
    with pytest.raises(ValueError, match=message):
        pgd(model, tiny.x, labels)


def test_a_network_that_answers_no_numbers_is_not_attacked(tiny):
    model = SmallCNN(1, 3, 2)
    torch.nn.init.constant_(model.fc2.bias, float("nan"))
    with pytest.raises(ValueError, match="are not finite numbers"):
        fgsm(model, tiny.x, tiny.y)


# --- the patch ---


def test_a_patch_is_learnt_against_any_network():
    x = torch.rand(12, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    data, model = ImageSet(x, torch.arange(12) % 4, tuple("abcd")), made("Hugging Face")
    target = int(predict(model, x).mean(0).argmin())
    patch = learn_patch(model, data, target, size=24, steps=40)
    before, after = (predict(model, each).log_softmax(1)[:, target].mean() for each in (x, patch(x)))
    assert after > before
    with pytest.raises(ValueError, match="the network has 5 outputs; the data have 4 classes"):
        learn_patch(made("Hugging Face", 5), data, 0)


def test_a_learnt_patch_pulls_towards_its_target(mnist5k):
    data, test = mnist5k
    model = train(data[slice(0, None, 2)], TrainConfig(epochs=3, device="cpu"), model=lambda: SmallCNN(1, 10, 8)).model
    victims = test.x[test.y != 3]
    torch.manual_seed(1)
    patch = learn_patch(model, data[slice(0, None, 8)], 3, size=20, steps=40)
    torch.manual_seed(2)
    again = learn_patch(model, data[slice(0, None, 8)], 3, size=20, steps=40)
    assert torch.equal(patch.pixels, again.pixels)
    before, after = ((predict(model, x).argmax(1) == 3).float().mean() for x in (victims, patch(victims)))
    assert before < 0.1 and after > 0.5


def test_a_patch_is_pasted_into_its_corner(tiny):
    before = tiny.x.clone()
    out = AdversarialPatch(torch.full((1, 3, 3), 0.25))(tiny.x)
    assert (out[:, :, 5:, 5:] == 0.25).all()
    out[:, :, 5:, 5:] = before[:, :, 5:, 5:]
    assert torch.equal(out, before) and torch.equal(tiny.x, before)


def test_a_patch_too_big_says_so():
    with pytest.raises(ValueError, match="a patch of 8 pixels does not fit 4x9 images"):
        AdversarialPatch(torch.zeros(1, 8, 8))(torch.zeros(1, 1, 4, 9))


@pytest.mark.parametrize(("target", "settings", "message"), [
    (3, {}, r"target must lie in \[0, 3\); got 3"),
    (-1, {}, "got -1"),
    (0, {"size": 9}, "size must lie between 1 and 8; got 9"),
    (0, {"size": 0}, "got 0"),
    (0, {"size": 2, "steps": 0}, "steps must be at least 1; got 0"),
])  # fmt: skip
def test_an_impossible_patch_is_refused(model, tiny, target, settings, message):
    with pytest.raises(ValueError, match=message):
        learn_patch(model, tiny, target, **settings)


def test_a_patch_needs_images_of_other_classes(model, tiny):
    with pytest.raises(ValueError, match="images of other classes than 2"):
        learn_patch(model, tiny[tiny.y == 2], 2, size=2)
