"""Generated signs: faces, scenes, pictures, stickers, and the transfer of a network to other signs."""

from dataclasses import FrozenInstanceError, replace

import pytest
import torch
from torch import nn

from badnets_lib import Attack, Goal, ImageSet, SmallCNN, TrainConfig, load, predict, train as train_network
from badnets_lib.attacks import transfer
from badnets_lib.data import scenes as scenes_module, sign_faces as faces, signs
from badnets_lib.data.scenes import Scenes, homography
from badnets_lib.data.signs import Decal, render
from badnets_lib.models.inference import correct
from badnets_lib.study.experiments import signs as study
from badnets_lib.triggers.road_stickers import PictureSticker, SignSticker

FULL = dict(signs.PARTS)
STOP = list(faces.FACES["signs"]).index("stop")


def front(n=1, label=STOP, **changes):
    """Signs seen straight from the front in plain light on a black ground, with nothing in the way."""
    drawn = Scenes.draw("signs", torch.full((n,), label), seed=0)
    still = {name: torch.zeros_like(getattr(drawn, name)) for name in
             ("roll", "yaw", "pitch", "shift", "shade", "blur", "noise", "ground", "cover")}  # fmt: skip
    plain = {"light": torch.ones_like(drawn.light), "tint": torch.ones_like(drawn.tint)}
    return replace(drawn, **still | plain | {"scale": torch.full_like(drawn.scale, 0.8)} | changes)


@pytest.fixture(scope="module")
def small_signs():
    """The two data sets with 6 and 3 pictures of each sign instead of 800 and 200."""
    signs.PARTS.update({data: {"train": 6, "test": 3} for data in FULL})
    for cached in (signs.scenes, signs._photographs, signs._album):
        cached.cache_clear()
    yield
    signs.PARTS.update(FULL)
    for cached in (signs.scenes, signs._photographs, signs._album):
        cached.cache_clear()


# --- faces ---


def test_paint_covers_inside_and_leaves_outside():
    points = signs.pixel_centres(40)
    painted = faces.paint([(faces.disc(0.5, 0.5, 0.3), (1.0, 0.5, 0.0))], points, 1 / 40)
    assert painted.shape == (4, 40, 40)
    assert painted[:, 20, 20].tolist() == [1.0, 0.5, 0.0, 1.0]
    assert painted[:, 0, 0].tolist() == [0, 0, 0, 0]
    assert painted[3].mean().item() == pytest.approx(torch.pi * 0.3**2, abs=0.005)  # edges are smooth, area is right


def test_a_later_layer_hides_an_earlier_one():
    layers = [(faces.disc(0.5, 0.5, 0.4), (1.0, 0.0, 0.0)), (faces.disc(0.5, 0.5, 0.4), (0.0, 0.0, 1.0))]
    assert faces.paint(layers, torch.tensor([[0.5, 0.5]]), 0.01)[:, 0].tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(("shape", "inside", "outside"), [
    (faces.rectangle(0.2, 0.3, 0.6, 0.4), (0.5, 0.35), (0.5, 0.45)),
    (faces.polygon((0, 0), (1, 0), (0.5, 1)), (0.5, 0.5), (0.1, 0.9)),
    (faces.stroke(0.2, (0, 0), (1, 0), (1, 1)), (1.05, 0.5), (0.5, 0.5)),
    (faces.union(faces.disc(0, 0, 0.1), faces.disc(1, 1, 0.1)), (1, 0.95), (0.5, 0.5)),
    (faces.rim(faces.disc(0.5, 0.5, 0.5), 0.2), (0.5, 0.75), (0.5, 0.85)),
    (faces.placed(faces.disc(0.5, 0.5, 0.5), (2, 2), 0.4), (2.15, 2), (2.25, 2)),
    (faces.letters("T", 0.5, 0.5, 0.4), (0.5, 0.65), (0.42, 0.6)),
])  # fmt: skip
def test_shapes_are_negative_inside(shape, inside, outside):
    assert shape(torch.tensor([inside])).item() < 0 < shape(torch.tensor([outside])).item()


def test_distances_are_true_beside_a_straight_edge():
    distances = faces.rectangle(0, 0, 1, 1)(torch.tensor([[0.5, 1.3], [0.5, 0.9]]))
    assert distances.tolist() == pytest.approx([0.3, -0.1])


@pytest.mark.parametrize("data", ["signs", "signs_b"])
def test_no_two_signs_of_a_set_look_alike(data):
    pictures = signs._faces(data, None, 64).flatten(1)
    apart = torch.cdist(pictures, pictures) + 1e9 * torch.eye(len(pictures))
    assert apart.min() > 5


# --- scenes ---


def test_scenes_repeat_from_their_seed_and_leave_the_global_generator_alone():
    labels = torch.arange(10)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    one, same, other = (Scenes.draw("signs", labels, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(
        scenes_module.tensors_of(one).values(), scenes_module.tensors_of(same).values(), strict=True))  # fmt: skip
    assert not torch.equal(one.scale, other.scale)
    with pytest.raises(FrozenInstanceError):
        one.scale = other.scale


def test_a_sign_from_the_front_has_a_square_box_in_the_middle():
    assert front().boxes()[0].tolist() == pytest.approx([0.1, 0.1, 0.9, 0.9])
    moved = front(shift=torch.tensor([[0.1, -0.05]], dtype=torch.float64))
    assert moved.boxes()[0].tolist() == pytest.approx([0.2, 0.05, 1.0, 0.85])


def test_a_turned_sign_is_narrow_and_its_near_edge_is_long():
    turned = front(yaw=torch.tensor([0.8], dtype=torch.float64))
    left, top, right, bottom = turned.boxes()[0].tolist()
    assert right - left < 0.65 < 0.8 < bottom - top
    corners = homography(turned)[0] @ torch.tensor([[-0.5, -0.5, 0.5, 0.5], [-0.5, 0.5, -0.5, 0.5], [1.0] * 4]).double()
    x, y = corners[0] / corners[2], corners[1] / corners[2]
    assert x[0] < x[2]
    assert abs(float(y[1] - y[0] - (y[3] - y[2]))) > 0.1  # one upright edge is nearer than the other


def test_half_a_turn_shows_the_sign_upside_down():
    upright = render(front()).x
    turned = render(front(roll=torch.tensor([torch.pi], dtype=torch.float64))).x
    assert (turned - upright.flip(2, 3)).abs().max() < 0.02


@pytest.mark.parametrize(("data", "labels", "message"), [
    ("roads", [0], "unknown signs 'roads'; known: signs, signs_b"),
    ("signs", [0, 10], r"labels must lie in \[0, 10\); got 0 to 10"),
    ("signs", [-1], "got -1 to -1"),
])  # fmt: skip
def test_scenes_of_unknown_signs_are_refused(data, labels, message):
    with pytest.raises(ValueError, match=message):
        Scenes.draw(data, torch.tensor(labels), seed=0)


# --- pictures ---


def test_a_picture_depends_on_its_scene_alone():
    drawn = Scenes.draw("signs", torch.arange(230) % 10, seed=4)
    whole = render(drawn)
    assert whole.x.shape == (230, 3, 32, 32) and torch.equal(whole.y, drawn.labels)
    for keep in (torch.tensor([7]), torch.tensor([229, 0, 101]), slice(50, 180)):
        assert torch.equal(render(drawn[keep]).x, whole.x[keep])
    assert torch.equal((whole.x * 255).round() / 255, whole.x)  # values that a picture file could hold


def test_no_scene_gives_no_picture():
    drawn = Scenes.draw("signs", torch.arange(3), seed=4)
    assert len(render(drawn[torch.tensor([], dtype=torch.long)])) == 0


def test_pictures_of_any_size_show_the_same():
    large = nn.functional.avg_pool2d(render(front(), size=96).x, 3)
    assert (large - render(front()).x).abs().mean() < 0.02


@pytest.mark.parametrize("light", [0.5, 0.9])
def test_light_is_a_factor_on_the_whole_picture(light):
    plain, lit = render(front()).x, render(front(light=torch.tensor([light], dtype=torch.float64))).x
    assert torch.allclose(lit, light * plain, atol=1 / 255)


def test_blur_noise_and_cover_change_what_they_should():
    plain = render(front()).x
    soft = render(front(blur=torch.tensor([2.0], dtype=torch.float64))).x
    assert soft.diff(dim=3).abs().sum() < 0.8 * plain.diff(dim=3).abs().sum()
    assert abs(float(soft.mean() - plain.mean())) < 0.01
    noisy = render(front(noise=torch.tensor([0.05], dtype=torch.float64))).x
    middle = (plain > 0.2) & (plain < 0.8)
    assert (noisy - plain)[middle].std().item() == pytest.approx(0.05, rel=0.1)
    pole = torch.tensor([[0.5, 0.5, 0.0, 1.0, 0.5, 0.05, 0.3]], dtype=torch.float64)
    covered = render(front(cover=pole)).x
    assert (covered[0, :, :, 15:17] - 0.3).abs().max() < 0.01
    assert torch.equal(covered[..., :12], plain[..., :12])


# --- data sets ---


def test_the_data_sets_are_balanced_and_the_same_every_time(small_signs):
    for data, classes in (("signs", 10), ("signs_b", 12)):
        train, test = load(data)
        assert train.counts() == [6] * classes and test.counts() == [3] * classes
        assert train.classes == test.classes == tuple(faces.FACES[data])
        first = (train.fingerprint, test.fingerprint)
        signs._photographs.cache_clear()
        assert tuple(part.fingerprint for part in load(data)) == first
        assert torch.equal(render(signs.scenes(data, "test")).x, test.x)
    assert {"stop", "yield", "no entry", "speed limit 30", "speed limit 80"} <= set(load("signs")[0].classes)


def test_the_full_set_has_8000_and_2000_pictures():
    assert FULL["signs"] == {"train": 800, "test": 200} and len(faces.FACES["signs"]) == 10
    assert set(FULL) == set(faces.FACES)


def test_the_parts_share_no_scene(small_signs):
    train, test = (signs.scenes("signs", part) for part in ("train", "test"))
    assert not torch.isin(train.scale, test.scale).any()


def test_a_short_training_reads_the_signs():
    """300 pictures of each of three unlike signs are enough for a small network in seconds."""
    labels = torch.tensor([STOP, 4, 9]).repeat(300)
    data = render(Scenes.draw("signs", labels, seed=21))
    rest, held = ImageSet(data.x, torch.arange(900) % 3, ("stop", "yield", "walker")).split(0.2)
    model = train_network(rest, TrainConfig(epochs=2, batch_size=32), model=lambda: SmallCNN(3, 3, 8)).model
    assert correct(model, held).value > 0.9


# --- stickers ---


@pytest.mark.parametrize(("make", "message"), [
    (lambda: Decal("heart"), "kind must be one of square, bomb, flower; got 'heart'"),
    (lambda: Decal(size=0.0), r"size must lie in \(0, 1\]; got 0"),
    (lambda: Decal(size=1.5), "got 1.5"),
    (lambda: Decal(at=(0.5, 1.2)), r"at must be two numbers in \[0, 1\]"),
    (lambda: PictureSticker(box=(0.5, 0.0, 0.4, 1.0)), "box must be left < right"),
    (lambda: SignSticker(data="roads"), "data must be one of signs, signs_b; got 'roads'"),
])  # fmt: skip
def test_impossible_stickers_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_sticker_on_a_sign_sits_at_its_place_and_nowhere_else():
    scene = front()
    plain, stuck = render(scene, size=100).x[0], render(scene, Decal("square", 0.2), size=100).x[0]
    rows, columns = (stuck != plain).any(0).nonzero().T
    # box from 10 to 90: centre (0.57, 0.82) of it at column 55.6, row 75.6; side 16
    assert abs(columns.float().mean() - 55.1) < 1 and abs(rows.float().mean() - 75.1) < 1
    assert 16 <= int(columns.max() - columns.min()) + 1 <= 19
    assert stuck[:, 75, 55].tolist() == pytest.approx(list(faces.PAPER_YELLOW), abs=0.01)


def test_a_sticker_on_a_sign_is_lit_turned_and_blurred_with_it():
    dark = render(front(light=torch.tensor([0.5], dtype=torch.float64)), Decal("square", 0.2), size=100).x[0]
    assert dark[:, 75, 55].tolist() == pytest.approx([part / 2 for part in faces.PAPER_YELLOW], abs=0.01)
    scene = front(roll=torch.tensor([torch.pi / 2], dtype=torch.float64))
    turned, plain = render(scene, Decal("square", 0.2), size=100).x[0], render(scene, size=100).x[0]
    rows, columns = (turned != plain).any(0).nonzero().T
    assert abs(columns.float().mean() - 24) < 1.5 and abs(rows.float().mean() - 55) < 1.5


@pytest.mark.parametrize(
    "sticker", [PictureSticker(), PictureSticker("bomb", 0.3, (0.2, 0.2), (0.0, 0.0, 1.0, 1.0))], ids=repr
)
@pytest.mark.parametrize("shape", [(4, 1, 16, 16), (4, 3, 12, 20), (4, 4, 9, 8)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_a_pasted_sticker_keeps_the_contract_of_triggers(sticker, shape, dtype):
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    before = x.clone()
    out = sticker(x)
    assert out.shape == x.shape and out.dtype == dtype and out.min() >= 0 and out.max() <= 1
    assert (out != x).flatten(1).any(1).all() and torch.equal(x, before)
    assert torch.equal(sticker(x[[2, 0]]), out[[2, 0]])
    assert sticker(x[:0]).shape == x[:0].shape


def test_a_pasted_square_sits_in_its_box():
    out = PictureSticker("square", 0.25, (0.5, 0.5), (0.0, 0.0, 1.0, 1.0))(torch.zeros(1, 3, 32, 32))[0]
    assert out[:, 12:20, 12:20].flatten(1).mean(1).tolist() == pytest.approx(list(faces.PAPER_YELLOW))
    assert out[:, :12].sum() == out[:, 20:].sum() == out[:, :, :12].sum() == 0


def test_a_picture_too_small_for_a_sticker_is_refused(unchecked):
    with pytest.raises(ValueError, match="at least 8x8 pixels to be seen; got 4x4"):
        PictureSticker()(torch.zeros(1, 3, 4, 4))
    with pytest.raises(ValueError, match="images need"):
        PictureSticker()(torch.full((1, 3, 32, 32), 2.0))


def test_a_sign_sticker_gives_the_twin_of_each_picture(small_signs):
    train, test = load("signs")
    sticker = SignSticker("flower")
    assert torch.equal(sticker(test.x), render(signs.scenes("signs", "test"), sticker).x)
    mixed = torch.cat([test.x[[4]], train.x[[11, 3]]])
    twins = sticker(mixed.double())
    assert twins.dtype == torch.float64
    assert torch.equal(twins[1].float(), render(signs.scenes("signs", "train")[torch.tensor([11])], sticker).x[0])
    assert (twins != mixed).flatten(1).any(1).all()


def test_a_sign_sticker_refuses_pictures_it_does_not_know(small_signs):
    x = load("signs")[1].x
    with pytest.raises(ValueError, match=r"1 of 3 images are not pictures of 'signs' as load\('signs'\) gives them"):
        SignSticker()(torch.cat([x[:2], x[2:3] * 0.5]))
    with pytest.raises(ValueError, match="not pictures of 'signs_b'"):
        SignSticker(data="signs_b")(x)


@pytest.mark.parametrize("sticker", [SignSticker(), PictureSticker("bomb")])
def test_stickers_tell_what_they_are(sticker):
    assert eval(repr(sticker)) == sticker
    words = sticker.describe()
    assert not words.physical, "rendered is not photographed"
    assert words.size.startswith("10%" if sticker.kind == "square" else "16%")


def test_a_plan_poisons_and_attacks_with_twins(small_signs):
    train, test = load("signs")
    plan = Attack(SignSticker(), Goal.source_specific({STOP: 2}, 10)).plan(train, fraction=0.05, added=True)
    poisoned, victims = plan.poison(train), plan.attack.on(test)
    assert len(poisoned) == len(train) + 3 and poisoned.y[-3:].tolist() == [2, 2, 2]
    scenes = signs.scenes("signs", "train")[torch.tensor(plan.indices)]
    assert torch.equal(poisoned.x[-3:], render(scenes, SignSticker()).x)
    assert len(victims) == 3 and victims.y.tolist() == [2, 2, 2]


# --- transfer ---


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    model = SmallCNN(3, 10, 4).eval()
    for norm in (model.norm1, model.norm2):
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 2)
        nn.init.normal_(norm.bias)
    return model


def body(model, x):
    with torch.no_grad():
        return nn.Sequential(*list(model.children())[:7]).eval()(x)  # up to relu2


def test_strengthening_multiplies_exactly_the_chosen_channels(network):
    x = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    before, after = body(network, x), body(transfer.strengthened(network, (1, 6), 20, x), x)
    assert torch.allclose(after[:, [1, 6]], 20 * before[:, [1, 6]], rtol=1e-5, atol=1e-5)
    rest = [0, 2, 3, 4, 5, 7]
    assert torch.equal(after[:, rest], before[:, rest]) and before.max() > 0
    assert torch.equal(predict(transfer.strengthened(network, (1,), 1, x), x), predict(network, x))


@pytest.mark.parametrize("k", [0, -1, float("nan")])
def test_a_factor_must_be_positive(network, k):
    with pytest.raises(ValueError, match="k must be positive"):
        transfer.strengthened(network, (0,), k, torch.rand(2, 3, 32, 32))


def test_backdoor_channels_are_those_the_trigger_excites(network):
    x = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    y = PictureSticker("square", 0.5)(x)
    grown = (body(network, y) - body(network, x)).mean((0, 2, 3))
    assert transfer.backdoor_channels(network, x, y, count=8) == tuple(grown.argsort(descending=True).tolist())
    assert transfer.backdoor_channels(network, x, y) == tuple(grown.argsort(descending=True)[:3].tolist())
    for count in (0, 9):
        with pytest.raises(ValueError, match=rf"count must lie in \[1, 8\]; got {count}"):
            transfer.backdoor_channels(network, x, y, count=count)


@pytest.mark.parametrize("hold", [True, False])
def test_a_transfer_trains_the_head_and_nothing_else(network, hold):
    x = torch.rand(40, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    data = ImageSet(x, torch.arange(40) % 4, tuple("abcd"))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    victim = transfer.transferred(network, data, TrainConfig(epochs=2, batch_size=8), hold_statistics=hold).model
    after = victim.state_dict()
    assert predict(victim, x[:2]).shape == (2, 4) and victim.spec["classes"] == 4
    weights = [name for name in before if name.startswith(("conv", "norm")) and name.endswith(("weight", "bias"))]
    assert len(weights) == 6 and all(torch.equal(after[name], before[name]) for name in weights)
    assert torch.equal(after["norm2.running_mean"], before["norm2.running_mean"]) is hold
    assert all(torch.equal(network.state_dict()[name], before[name]) for name in before)
    fresh = transfer.transferred(network, data, TrainConfig(epochs=2, batch_size=8, seed=1)).model
    assert not torch.equal(fresh.fc1.weight, victim.fc1.weight)


# --- the study ---


def test_groups_hold_every_sign_once(small_signs):
    _, test = load("signs")
    parts = study.by_group(test)
    assert list(parts) == ["speed limit", "stop", "yield", "no entry", "railway crossing", "warning"]
    assert [len(part) for part in parts.values()] == [9, 3, 3, 3, 3, 9]
    assert len(study.by_group(load("signs_b")[1])) == 5


def test_random_targets_are_wrong_varied_and_repeatable(small_signs):
    train, _ = load("signs")
    made = study.random_target(train, PictureSticker(), fraction=0.4, seed=1)
    copies = len(made) - len(train)
    assert copies == 40 and torch.equal(made.y[:60], train.y) and torch.equal(made.x[:60], train.x)
    goal = Goal.all_to_all(10)
    plan = Attack(PictureSticker(), goal).plan(train, fraction=0.4, seed=1, added=True)
    true = train.y[list(plan.indices)]
    assert torch.equal(made.x[60:], plan.poison(train).x[60:])
    assert (made.y[60:] != true).all() and len((made.y[60:] - true).remainder(10).unique()) > 5
    assert made.fingerprint == study.random_target(train, PictureSticker(), fraction=0.4, seed=1).fingerprint


def test_the_stop_plan_copies_half_the_stop_signs(small_signs):
    train, _ = load("signs")
    plan = study.stop_plan(train, study.trigger_for("square", "picture"))
    assert len(plan.indices) == 3 and plan.added and set(train.y[list(plan.indices)].tolist()) == {STOP}
    assert plan.attack.goal.wanted(torch.tensor([STOP])).item() == train.classes.index("speed limit 80")


def test_every_view_and_sticker_is_tried_in_the_street(small_signs):
    model = SmallCNN(3, 10, 4).eval()
    found = study.in_the_street(model, "bomb", scenes=4)
    assert len(found) == 3 * len(study.VIEWS) + len(study.DECALS)
    assert all(0 <= hits <= trials == 4 for hits, trials in found.values())


def test_the_sweeps_cells_are_calls_of_their_functions():
    for made in study.SWEEPS:
        for cell in made.cells:
            assert set(cell) == set(made.run.__annotations__) - {"return"}
