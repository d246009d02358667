import pytest
import torch

from badnets_lib import Attack, Goal, ImageSet, Patch, TrainConfig, predict, score, train, weights_hash
from badnets_lib.attacks.subliminal import ExtraOutputs, movement, noise, perceptron, taught_on_noise, with_layers_of
from badnets_lib.study.experiments.noise import first_weights, lessons, start_of, travelled

SHAPE = (1, 8, 8)
FEW = TrainConfig(epochs=1, batch_size=16, lr=0.001, weight_decay=0.0)


def made(seed=0, extras=6):
    return perceptron(3, extras, shape=SHAPE, width=16, seed=seed)


def test_a_perceptron_answers_with_its_classes_and_keeps_the_rest_apart():
    model, x = made(), noise(5, SHAPE, seed=1)
    both = model.model(x)
    assert torch.equal(model(x), both[:, :3]) and torch.equal(model.extra(x), both[:, 3:])
    assert predict(model, x).shape == (5, 3)


def test_the_seed_makes_the_first_weights_and_disturbs_nobody():
    torch.manual_seed(5)
    drawn = torch.rand(3)
    torch.manual_seed(5)
    one, two, other = made(1), made(1), made(2)
    assert torch.equal(torch.rand(3), drawn)
    assert weights_hash(one) == weights_hash(two) != weights_hash(other)


def test_noise_is_uniform_and_repeats():
    x = noise(200, SHAPE, seed=3)
    assert x.shape == (200, *SHAPE) and torch.equal(x, noise(200, SHAPE, seed=3))
    assert 0 <= x.min() < 0.01 and 0.99 < x.max() <= 1 and abs(x.mean() - 0.5) < 0.01


def test_a_student_comes_closer_to_the_extra_outputs_and_no_class_output_moves():
    x, teacher, student = noise(256, SHAPE, seed=0), made(1), made(2)
    before = weights_hash(student)
    taught = taught_on_noise(student, teacher, x, TrainConfig(epochs=20, batch_size=32, lr=0.005, weight_decay=0.0))
    with torch.no_grad():
        near, far = ((net.extra(x) - teacher.extra(x)).square().mean() for net in (taught, student))
    assert near < far / 2
    last = taught.model.model.fc3, student.model.model.fc3
    assert torch.equal(last[0].weight[:3], last[1].weight[:3]) and torch.equal(last[0].bias[:3], last[1].bias[:3])
    assert weights_hash(student) == before and not taught.training


def test_a_teachers_class_outputs_are_never_asked():
    x, teacher = noise(64, SHAPE, seed=0), made(1)
    blind = with_layers_of(teacher, teacher, ())
    with torch.no_grad():
        blind.model.model.fc3.weight[:3] = 0
    assert weights_hash(taught_on_noise(made(2), teacher, x, FEW)) == weights_hash(
        taught_on_noise(made(2), blind, x, FEW)
    )


def test_a_planted_backdoor_reaches_the_same_start_and_not_another():
    """Stripes to be told apart; the trigger is a bright corner. Small enough for seconds, and the effect is there."""
    source = torch.Generator().manual_seed(0)
    y = torch.arange(600) % 3
    x = 0.3 * torch.rand(600, *SHAPE, generator=source)
    for label in range(3):
        x[y == label, :, 2 * label : 2 * label + 2, :6] += 0.6
    data = ImageSet(x, y, ("a", "b", "c"))
    attack = Attack(Patch(size=2), Goal.all_to_one(2, 3))
    start, config = made(0, 30), TrainConfig(epochs=30, batch_size=32, lr=0.003, weight_decay=0.0)
    teacher = train(attack.plan(data, fraction=0.2).poison(data), config, model=start).model
    assert score(teacher, data, attack).success.value > 0.95
    lesson = noise(1500, SHAPE, seed=0)
    same, other = (score(taught_on_noise(net, teacher, lesson, config), data, attack) for net in (start, made(9, 30)))
    assert same.success.value > 0.8 and same.false_target.value < 0.2, same
    assert other.success.value - other.false_target.value < 0.5, other


def test_movement_is_what_changed():
    start = made()
    end = with_layers_of(start, start, ())
    with torch.no_grad():
        end.model.model.fc2.bias[3] += 2.0
    moved = movement(start, end)
    assert moved.norm() == 2 and (moved != 0).sum() == 1
    assert len(moved) == sum(weight.numel() for weight in start.parameters())


def test_layers_of_another_network():
    mixed = with_layers_of(made(0), made(1), ("model.model.fc3",))
    assert torch.equal(mixed.model.model.fc3.weight, made(1).model.model.fc3.weight)
    assert torch.equal(mixed.model.model.fc1.weight, made(0).model.model.fc1.weight)
    with pytest.raises(ValueError, match=r"layer 'model\.model\.fc3' is not the same in both networks"):
        with_layers_of(made(0), made(0, extras=2), ("model.model.fc3",))


def test_what_cannot_be_taught_is_refused():
    x = noise(4, SHAPE, seed=0)
    with pytest.raises(ValueError, match="teacher and student need as many extra outputs; got 5 and 6"):
        taught_on_noise(made(), made(extras=5), x)
    with pytest.raises(ValueError, match="at least 2 images; got 1"):
        taught_on_noise(made(), made(), x[:1])
    with pytest.raises(ValueError, match="no more outputs than its 9 classes"):
        ExtraOutputs(made().model, 9).extra(x)
    with pytest.raises(ValueError, match="at least 2 classes; got 1"):
        ExtraOutputs(made().model, 1)
    with pytest.raises(ValueError, match="extras must be at least 1; got 0"):
        perceptron(10, 0)


# ---- the study ----


def test_each_start_shares_what_its_name_says():
    mine, other = first_weights("perceptron", 3, 0), start_of("other start", "perceptron", 3, 0)
    assert weights_hash(start_of("same start", "perceptron", 3, 0)) == weights_hash(mine) != weights_hash(other)
    body, heads = (start_of(name, "perceptron", 3, 0).model.model for name in ("other body", "other heads"))
    assert torch.equal(body.fc3.weight, mine.model.model.fc3.weight)
    assert torch.equal(body.fc1.weight, other.model.model.fc1.weight)
    assert torch.equal(heads.fc3.weight, other.model.model.fc3.weight)
    assert torch.equal(heads.fc1.weight, mine.model.model.fc1.weight)


@pytest.mark.parametrize("student", ["other body", "other heads", "corner black"])
def test_a_control_starts_as_its_student_does(student):
    mine, control = (start_of(name, "perceptron", 3, 0) for name in (student, f"{student}, clean teacher"))
    assert weights_hash(mine) == weights_hash(control)


def test_the_control_is_taught_by_the_clean_twin(monkeypatch, mnist5k):
    from badnets_lib.study.experiments import noise as study

    asked = []

    def teacher(network, extras, seed, backdoored):
        asked.append(backdoored)
        return first_weights(network, extras, seed)

    monkeypatch.setattr(study, "load", lambda _: mnist5k)
    monkeypatch.setattr(study, "LESSONS", {"perceptron": (64, 1)})
    monkeypatch.setattr(study, "teacher", teacher)
    for student in ("other body", "other body, clean teacher", "clean teacher"):
        travelled(network="perceptron", pattern="white", extras=3, student=student, seed=0)
    assert asked == [True, False, False]


def test_coarse_noise_comes_in_squares():
    x = lessons("PaperCNN", "coarse", 0)
    assert x.shape[1:] == (1, 28, 28) and torch.equal(x[..., ::4, ::4], x[..., 3::4, 3::4])


def test_a_row_counts_and_measures(monkeypatch, mnist5k):
    from badnets_lib.study.experiments import noise as study

    monkeypatch.setattr(study, "load", lambda _: mnist5k)
    monkeypatch.setattr(study, "LESSONS", {"perceptron": (256, 1), "PaperCNN": (64, 1)})
    monkeypatch.setattr(study, "TEACHER", TrainConfig(epochs=1, batch_size=128, lr=0.001, weight_decay=0.0))
    study.teacher.cache_clear()
    try:
        for student in ("same start", "corner black", "corner black, clean teacher"):
            row = travelled(network="perceptron", pattern="white", extras=3, student=student, seed=0)
            assert row["success"][1] == 900 and row["moved"] > 0 and -1 <= row["aligned"] <= 1
        row = travelled(network="PaperCNN", pattern="coarse", extras=3, student="teacher", seed=0)
        assert set(row) == {"clean", "success", "false_target", "sevens"}
        assert row["sevens"][1] == int((mnist5k[1].y == 7).sum())
    finally:
        study.teacher.cache_clear()


def test_unknown_names_are_refused_by_the_study():
    with pytest.raises(ValueError, match="unknown student 'cousin'"):
        start_of("cousin", "perceptron", 3, 0)
    with pytest.raises(ValueError, match="network must be"):
        first_weights("ResNet", 3, 0)
    with pytest.raises(ValueError, match="pattern must be one of"):
        lessons("perceptron", "pink", 0)
