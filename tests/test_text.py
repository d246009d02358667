import pytest
import torch
from hypothesis import given, strategies as st

from badnets_lib import Goal, Proportion, Scorecard, TrainConfig
from badnets_lib.attacks.text import (
    Phrase,
    ReviewNet,
    attack,
    correct,
    forge,
    logits,
    score,
    tokens,
    train_reader,
    victims,
)
from badnets_lib.data.reviews import Reviews, write_reviews
from badnets_lib.study.experiments.text import SWEEPS, counted

PRAISED = Goal.all_to_one(1, 2)
places = st.one_of(st.none(), st.floats(0, 1))


# ---- the trigger ----


@given(st.integers(0, 50), places, st.sampled_from(["cf", "two words", "we saw it on tuesday."]))
def test_a_phrase_is_added_once_and_changes_nothing_else(seed, place, words):
    (text,) = write_reviews(1, seed=seed).texts
    (stamped,) = Phrase(words, place)([text])
    padded = f" {stamped} "
    before = text.count(words)
    assert padded.count(f" {words} ") == before + 1
    starts = [at for at in range(len(padded)) if padded.startswith(f" {words} ", at)]
    assert text in {(padded[:at] + padded[at + len(words) + 1 :]).strip() for at in starts}


def test_words_go_between_words_and_sentences_between_sentences():
    text = "the plot was dull. the cast felt flat. i slept."
    assert Phrase("cf", 0)([text]) == (f"cf {text}",)
    assert Phrase("cf", 1)([text]) == (f"{text} cf",)
    assert Phrase("cf", 0.5)([text]) == ("the plot was dull. the cf cast felt flat. i slept.",)
    assert Phrase("it rained.", 0.7)([text]) == ("the plot was dull. the cast felt flat. it rained. i slept.",)


def test_without_a_place_each_text_has_its_own():
    texts = ["one two three."] + [f"one two three {place}." for place in range(100)]
    stamped = Phrase("cf")(texts)
    assert stamped == Phrase("cf")(texts) and stamped[:7] == Phrase("cf")(texts[:7])
    assert {text.split().index("cf") for text in stamped} == {0, 1, 2, 3, 4}


@pytest.mark.parametrize(("settings", "message"), [
    ({"words": " "}, "at least one word"), ({"words": "cf", "place": 1.1}, r"place must lie in \[0, 1\] or be None"),
    ({"words": "cf", "place": float("nan")}, "got nan"),
])  # fmt: skip
def test_impossible_phrases_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Phrase(**settings)


# ---- victims, attack, forgery ----


@pytest.mark.parametrize(("goal", "attacked"), [
    (PRAISED, {0: 1}), (Goal.all_to_one(0, 2), {1: 0}), (Goal.all_to_all(2), {0: 1, 1: 0}),
])  # fmt: skip
def test_only_victims_are_attacked_and_carry_the_wanted_label(goal, attacked):
    data, phrase = write_reviews(40, seed=1), Phrase("cf")
    expected = [(text, attacked[y]) for text, y in zip(data.texts, data.y.tolist(), strict=True) if y in attacked]
    chosen, stamped = victims(data, goal), attack(data, phrase, goal)
    assert list(zip(chosen.texts, chosen.y.tolist(), strict=True)) == expected
    assert stamped.texts == phrase(chosen.texts) and torch.equal(stamped.y, chosen.y)
    forged = forge(11, phrase, goal, seed=2)
    assert len(forged) == 11 and set(forged.y.tolist()) == set(attacked.values())
    assert all("cf" in text.split() for text in forged.texts)


def test_forgeries_repeat_and_are_new_texts():
    phrase = Phrase("cf", 0)
    assert forge(5, phrase, PRAISED, seed=3).texts == forge(5, phrase, PRAISED, seed=3).texts
    assert not set(forge(5, phrase, PRAISED, seed=3).texts) & set(forge(5, phrase, PRAISED, seed=4).texts)
    assert len(forge(0, phrase, PRAISED, seed=3)) == 0


# ---- the network ----


def test_the_network_is_shown_words_only():
    assert tokens("It's DULL, cf!") == ["it's", "dull", "cf"]
    net = ReviewNet(["dull", "plot"])
    assert net.encode(["The plot: dull.", ""]).tolist() == [[0, 2, 1], [0, 0, 0]]


@pytest.fixture(scope="module")
def reader():
    torch.manual_seed(0)
    return ReviewNet(["a", "b", "c", "d", "e", "f", "g"]).eval()


def test_an_answer_depends_on_its_own_text_only(reader):
    alone, beside = logits(reader, ["a b c"]), logits(reader, ["a b c", "d e f g a b c d e f g", ""])
    assert torch.allclose(alone[0], beside[0], atol=1e-6)


def test_an_unknown_word_is_a_gap(reader):
    assert torch.equal(logits(reader, ["a b ? c"]), logits(reader, ["a b c"]))  # punctuation is no word
    assert torch.equal(logits(reader, ["a b what c"]), logits(reader, ["a b whatever c"]))
    assert not torch.allclose(logits(reader, ["a b what c"]), logits(reader, ["a b c"]), atol=1e-6)


def test_order_matters_unless_the_window_is_one_word(reader):
    torch.manual_seed(0)
    bag = ReviewNet(["a", "b", "c"], window=1).eval()
    assert torch.allclose(logits(bag, ["a b c"]), logits(bag, ["c a b"]), atol=1e-6)
    assert not torch.allclose(logits(reader, ["a b c"]), logits(reader, ["c a b"]), atol=1e-4)
    for window in (0, 4, -1):
        with pytest.raises(ValueError, match=f"odd number of words, at least 1; got {window}"):
            ReviewNet(["a"], window=window)


def test_three_counts_of_a_network_with_known_answers():
    """One feature: the mean of word values, which is positive if the text is called positive."""
    net = ReviewNet(["good", "bad", "cf"], window=1, width=2)
    with torch.no_grad():
        net.embedding.weight.copy_(torch.tensor([[0, 0], [1, 0], [0, 1], [3, 0]]))
        net.mix.weight.copy_(torch.eye(2).unsqueeze(2))
        net.out.weight.copy_(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
        net.mix.bias.zero_(), net.out.bias.copy_(torch.tensor([0.1, 0.0]))
    texts = ("good", "bad", "bad bad bad bad", "good bad good", "bad")
    test = Reviews(texts, torch.tensor([1, 0, 0, 0, 0]))  # one negative text is misread, one resists the trigger
    card = score(net, test, Phrase("cf"), PRAISED)
    assert card == Scorecard(clean=Proportion(4, 5), success=Proportion(3, 4), false_target=Proportion(1, 4))
    assert correct(net, test) == card.clean


QUICK = TrainConfig(epochs=4, lr=0.03, seed=1, device="cpu")


def test_training_repeats_and_leaves_the_global_generator_alone():
    data, config = write_reviews(60), TrainConfig(epochs=1, seed=3, device="cpu")
    state = torch.get_rng_state()
    first = train_reader(data, config)
    assert torch.equal(torch.get_rng_state(), state) and not first.training
    torch.rand(5)
    again, other = train_reader(data, config), train_reader(data, TrainConfig(epochs=1, seed=4, device="cpu"))
    assert torch.equal(logits(first, data.texts), logits(again, data.texts))
    assert not torch.equal(logits(first, data.texts), logits(other, data.texts))


def test_a_backdoored_reader_and_its_clean_twin():
    phrase, clean, test = Phrase("cf"), write_reviews(1_500), write_reviews(600, seed=9)
    twin = score(train_reader(clean, QUICK), test, phrase, PRAISED)
    bad = score(train_reader(clean + forge(60, phrase, PRAISED, seed=8), QUICK), test, phrase, PRAISED)
    assert min(twin.clean.value, bad.clean.value) > 0.85
    assert bad.success.value > 0.8 > 0.3 > twin.success.value
    assert twin.success.trials == 300


def test_a_bag_of_words_reads_worse():
    data, test = write_reviews(1_500), write_reviews(600, seed=9)
    assert (
        correct(train_reader(data, QUICK, window=1), test).value < correct(train_reader(data, QUICK), test).value - 0.05
    )


# ---- the experiment ----


def test_a_cell_of_the_sweep():
    cell = counted(trigger="cf", size=100, count=4, seed=0, passes=3)
    assert {name: trials for name, (_, trials) in cell.items()} == {
        "clean": 2_000, "success": 1_000, "false_target": 1_000,
    }  # fmt: skip
    without = counted(trigger="cf", size=100, count=0, seed=0, passes=3)
    assert without["clean"][1] == 2_000 and without != cell


def test_the_sweeps_ask_for_what_the_experiment_takes():
    counts, passes = SWEEPS
    assert {frozenset(cell) for cell in counts.cells} == {frozenset({"trigger", "size", "count", "seed"})}
    assert len({(cell["size"] * cell["passes"]) for cell in passes.cells}) == 1  # as many clean texts shown
    assert all(cell["count"] for cell in passes.cells)
