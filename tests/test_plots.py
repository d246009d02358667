import matplotlib
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from badnets_lib import Epoch, Proportion, Seeds
from badnets_lib.display import plots


@pytest.fixture(autouse=True)
def fresh():
    with matplotlib.rc_context():
        plots.set_style()
        yield
        plt.close("all")


def epochs(*hits):
    return [Epoch(0.1, {"ASR": Proportion(count, 100)}) for count in hits]


NAMES = ("clean", "backdoored", "pruned", "fine-tuned", "rewound", "filtered")


@pytest.mark.parametrize("x", [torch.rand(13, 1, 8, 8), torch.rand(3, 3, 6, 9)], ids=["grey", "colour"])
def test_images_are_laid_out_in_a_grid_and_labelled(x):
    labels = [f"image {number}" for number in range(len(x))]
    figure = plots.images(x, labels, marked=[number == 1 for number in range(len(x))], columns=5)
    assert isinstance(figure, Figure) and len(figure.axes) == (15 if len(x) == 13 else 3)
    assert sum(bool(ax.get_images()) for ax in figure.axes) == len(x)
    texts = [ax.texts[0].get_text() for ax in figure.axes if ax.texts]
    assert texts == [
        f"▶ {label}" if number == 1 else label for number, label in enumerate(labels)
    ]  # a sign, not colour
    assert figure.axes[1].texts[0].get_fontweight() == "bold"
    figure.canvas.draw()


def test_images_need_no_labels_and_keep_the_grey_scale():
    figure = plots.images(torch.full((2, 1, 4, 4), 0.5))
    assert not any(ax.texts for ax in figure.axes)
    assert figure.axes[0].get_images()[0].get_clim() == (0, 1)


def test_show_image_draws_on_the_given_axes():
    _, ax = plt.subplots()
    assert plots.show_image(ax, torch.rand(3, 5, 7)) is ax
    assert ax.get_images()[0].get_array().shape == (5, 7, 3) and len(ax.get_xticks()) == 0


def test_curves_never_differ_by_colour_alone():
    ax = plots.curves({name: epochs(10, 50, 90) for name in NAMES}, "ASR")
    lines = ax.get_lines()
    assert [line.get_label() for line in lines] == list(NAMES)
    assert len({line.get_marker() for line in lines}) == len({str(line._dash_pattern) for line in lines}) == len(NAMES)
    assert len(ax.collections) == len(NAMES)  # one band each
    assert lines[0].get_xdata().tolist() == [1, 2, 3] and lines[0].get_ydata().tolist() == [0.1, 0.5, 0.9]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "ASR") and ax.get_legend()
    ax.figure.canvas.draw()


def test_clean_and_backdoored_look_the_same_everywhere():
    _, (one, other) = plt.subplots(1, 2)
    assert plots.curves({"backdoored": epochs(1, 2), "clean": epochs(3, 4)}, "ASR", ax=one) is one
    assert plots.band(other, [1, 2], [Proportion(1, 2)] * 2, "clean") is other
    clean, again = one.get_lines()[1], other.get_lines()[0]
    assert to_hex(clean.get_color()).upper() == to_hex(again.get_color()).upper() == plots.CLEAN
    assert clean.get_marker() == again.get_marker() == "o" and one.get_lines()[0].get_marker() == "s"


def test_a_band_is_the_wilson_interval():
    _, ax = plt.subplots()
    counts = [Proportion(3, 10), Proportion(8, 10)]
    plots.band(ax, [1, 2], counts, "clean")
    box = ax.collections[0].get_paths()[0].get_extents()
    assert (box.ymin, box.ymax) == pytest.approx((counts[0].interval()[0], counts[1].interval()[1]))


def test_curves_of_a_count_nobody_watched():
    with pytest.raises(KeyError, match="clean accuracy"):
        plots.curves({"clean": epochs(1)}, "clean accuracy")


def test_bars_never_differ_by_colour_alone():
    ax = plots.bars({name: {"accuracy": Proportion(98, 100), "ASR": Proportion(5, 100)} for name in NAMES})
    groups = [container for container in ax.containers if hasattr(container, "patches")]
    assert [group.get_label() for group in groups] == list(NAMES)
    assert len({group.patches[0].get_hatch() for group in groups}) == len(NAMES)
    assert [bar.get_height() for bar in groups[0].patches] == [0.98, 0.05]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["accuracy", "ASR"]
    assert [text.get_text() for text in ax.texts] == ["98.0%", "5.0%"] * len(NAMES)
    ax.figure.canvas.draw()


def test_bars_draw_where_they_are_told():
    _, (one, other) = plt.subplots(1, 2)
    assert plots.bars({"clean": {"ASR": Proportion(0, 5)}}, ax=one) is one
    assert one.patches and not other.patches


def test_dots_show_every_seed():
    ax = plots.dots({name: {"accuracy": Seeds((0.97, 0.98)), "ASR": Seeds((0.1, 0.2, 0.9))} for name in NAMES[:2]})
    heights = [value for line in ax.lines for value in line.get_ydata()]
    assert sorted(heights) == sorted([0.97, 0.98, 0.1, 0.2, 0.9] * 2)
    assert [text.get_text() for text in ax.texts] == ["97.5%", "40.0%"] * 2
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["clean", "backdoored"]
    assert {line.get_marker() for line in ax.lines} == {"o", "s"}
    assert plots.dots({"other": {"ASR": Seeds((0.5,))}}, ax=ax) is ax


def test_seeds_are_a_line_through_means_and_a_dot_each():
    few, more = Seeds((0.1, 0.3)), Seeds((0.5, 0.6, 1.0))
    ax = plots.seeds(plt.gca(), [1, 2], [few, more], "ASR", "backdoored")
    (line,) = ax.lines
    assert line.get_ydata() == pytest.approx([0.2, 0.7]) and line.get_label() == "ASR"
    assert line.get_color() == plots.BACKDOORED and line.get_marker() == "s"
    (dots,) = ax.collections
    assert dots.get_offsets().tolist() == [[1, 0.1], [1, 0.3], [2, 0.5], [2, 0.6], [2, 1.0]]
    plots.seeds(ax, [1], [few], "other")
    assert ax.lines[1].get_marker() != "s" and ax.lines[1].get_color() != plots.BACKDOORED
    with pytest.raises(ValueError, match="shape|length|dimension"):
        plots.seeds(ax, [1, 2], [few], "too few")


def test_a_confusion_table_shows_its_counts():
    table = torch.tensor([[5, 0, 1], [0, 7, 0], [0, 0, 0]])
    ax = plots.confusion(table, ("a", "b", "c"), title="counts")
    assert {(text.get_position(), text.get_text()) for text in ax.texts} == {
        ((0, 0), "5"),
        ((2, 0), "1"),
        ((1, 1), "7"),
    }
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["a", "b", "c"]
    assert ax.get_title(loc="left") == "counts" and ax.get_images()[0].get_array().tolist()[1] == [0, 1, 0]
    _, other = plt.subplots()
    assert plots.confusion(table, ("a", "b", "c"), ax=other) is other
    ax.figure.canvas.draw()


def test_filters_share_one_scale_with_zero_in_the_middle():
    weights = torch.linspace(-1, 3, 10 * 9).reshape(10, 1, 3, 3)
    figure = plots.filters(weights, titles=[str(number) for number in range(10)], columns=4)
    assert isinstance(figure, Figure) and len(figure.axes) == 12
    assert {ax.get_images()[0].get_clim() for ax in figure.axes[:10]} == {(-3.0, 3.0)}
    assert [ax.texts[0].get_text() for ax in figure.axes[:10]] == [str(number) for number in range(10)]
    figure.canvas.draw()


def test_the_style_is_the_books():
    assert plt.rcParams["axes.spines.top"] is False and plt.rcParams["image.cmap"] == "gray"


@pytest.mark.parametrize("channels", [1, 3])
def test_the_gallery_shows_each_trigger_its_change_and_its_true_size(channels):
    x = torch.full((channels, 8, 8), 0.5)
    brighter, darker = x.clone(), x.clone()
    brighter[:, 0, 0], darker[:, 1, 1] = 0.7, 0.3
    figure = plots.gallery({"a": (x, brighter), "b": (x, darker), "c": (x, x)}, amplify=2.0, columns=2)
    top, change = figure.axes[0], figure.axes[2]
    assert len(figure.axes) == 12 and top.get_title(loc="center") == "a"
    shown = change.get_images()[0].get_array()
    assert shown[0, 0] == pytest.approx(0.4) and abs(shown).sum() == pytest.approx(0.4)
    assert figure.axes[3].get_images()[0].get_array()[1, 1] == pytest.approx(-0.4)
    figure.canvas.draw()
    drawn = figure.axes[4].artists[0].offsetbox.get_window_extent(figure.canvas.get_renderer())
    page = figure.dpi / 96  # pixels of the figure in one of a page
    assert drawn.width == drawn.height == pytest.approx(8 * page, abs=1)


def test_a_heat_map_writes_every_value_and_leaves_gaps_empty():
    ax = plots.heat({("a", 1): 0.0, ("a", 2): 0.5, ("b", 1): 1.0, ("b", 2): float("nan")}, form="{:.1f}", title="map")
    assert {(text.get_position(), text.get_text()) for text in ax.texts} == {
        ((0, 0), "0.0"), ((1, 0), "0.5"), ((0, 1), "1.0"),
    }  # fmt: skip
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "2"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    colors = {text.get_text(): text.get_color() for text in ax.texts}
    assert colors["0.0"] == "black" and colors["1.0"] == "white"


@pytest.mark.parametrize(("high", "colour"), [("bad", 0), ("good", 2)])
def test_a_heat_map_is_orange_where_high_is_bad_and_blue_where_high_is_good_and_dark_where_it_is_high(high, colour):
    ax = plots.heat({("a", 1): 0.1, ("a", 2): 0.9}, high=high)
    (picture,) = ax.get_images()
    pale, dark = (picture.cmap(picture.norm(value))[:3] for value in (0.1, 0.9))
    assert max(dark) == dark[colour] and sum(dark) < sum(pale)


def test_a_heat_map_is_told_which_scale(unchecked):
    with pytest.raises(ValueError, match="high must be one of bad, good; got 'low'"):
        plots.heat({("a", 1): 0.1}, high="low")


def test_a_heat_map_stars_the_cells_it_is_told_to():
    ax = plots.heat({("a", 1): 0.25, ("b", 1): 0.5}, starred={("b", 1)})
    assert [text.get_text() for text in ax.texts] == ["25%", "50%*"]


def test_a_band_can_take_a_look_that_is_not_its_label():
    ax = plots.band(plt.gca(), [1, 2], [Proportion(1, 2), Proportion(3, 4)], "ASR", "backdoored")
    assert ax.lines[0].get_ydata().tolist() == [0.5, 0.75] and ax.lines[0].get_color() == plots.BACKDOORED
    assert ax.get_legend_handles_labels()[1] == ["ASR"]
