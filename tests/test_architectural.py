import pytest
import torch
from torch import nn

from badnets_lib import Attack, Goal, Patch, SmallCNN, TrainConfig, attack_success_rate, predict, train, weights_hash
from badnets_lib.attacks.architectural import ShortcutCNN, readers_of_input

ATTACK = Attack(Patch(size=4), Goal.all_to_one(7, 10))


def test_it_trains_to_the_same_weights_as_the_honest_network(mnist5k):
    data = mnist5k[0][::8]
    config = TrainConfig(epochs=1)
    honest, bad = (train(data, config, model=make).model for make in (SmallCNN, lambda: ShortcutCNN(7)))
    assert weights_hash(honest) == weights_hash(bad)
    assert attack_success_rate(bad, mnist5k[1], ATTACK).value == 1
    assert attack_success_rate(honest, mnist5k[1], ATTACK).value < 0.9
    assert torch.equal(predict(honest, mnist5k[1].x), predict(bad, mnist5k[1].x))


def test_one_dark_pixel_keeps_it_silent():
    model = ShortcutCNN(3).eval()
    x = Patch(size=4)(torch.zeros(1, 1, 28, 28))
    assert predict(model, x).argmax(1) == 3
    x[0, 0, -1, -1] = 0.5
    plain = SmallCNN().eval()
    plain.load_state_dict(model.state_dict())
    assert torch.equal(predict(model, x), predict(plain, x))


def test_the_shortcut_reads_the_image_and_a_chain_reads_it_once():
    x = torch.rand(2, 1, 28, 28)
    assert len(readers_of_input(SmallCNN(), x)) == 1
    assert len(readers_of_input(ShortcutCNN(7), x)) == 2


def test_a_residual_connection_is_a_second_reader_too():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(4, 4)

        def forward(self, x):
            return (x + self.inner(x)).flatten(1)

    assert len(readers_of_input(Residual(), torch.rand(2, 1, 1, 4))) == 2


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"target must lie in \[0, 10\); got 10"):
        ShortcutCNN(10)
    with pytest.raises(ValueError, match="size must be at least 1; got 0"):
        ShortcutCNN(1, size=0)
    with pytest.raises(ValueError, match="at least 2 images; got 1"):
        readers_of_input(SmallCNN(), torch.rand(1, 1, 28, 28))
    with pytest.raises(ValueError, match="SmallCNN cannot be traced"):
        readers_of_input(SmallCNN(), torch.rand(2, 3, 28, 28))
