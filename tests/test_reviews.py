import re

import pytest
import torch

from badnets_lib.data.reviews import ASIDES, BLAME, CLASSES, DENIALS, FILLING, PRAISE, Reviews, write_reviews


def opinions(text):
    """+1 or -1 for every sentence with an opinion, by rules that know nothing of how the text was made."""
    found = []
    for sentence in text.rstrip(".").split(". "):
        words = sentence.split()
        good, bad = set(words) & set(PRAISE), set(words) & set(BLAME)
        assert len(good) + len(bad) <= 1
        if good or bad:
            found.append((1 if good else -1) * (-1 if set(words) & set(DENIALS) else 1))
    return found


def test_the_label_is_what_most_opinions_say():
    data = write_reviews(400, seed=1)
    for text, label in zip(data.texts, data.y.tolist(), strict=True):
        assert len(opinions(text)) in (2, 3)
        assert (sum(opinions(text)) > 0) == (label == 1), text
        dissent = [sentence for sentence in text.split(". ") if sentence.startswith("although")]
        assert [opinions(sentence) for sentence in dissent] == [[-1 if label else 1]] * len(dissent), text


def test_reviews_are_as_mixed_as_the_description_says():
    texts = write_reviews(4_000, seed=2).texts
    sentences = [sentence for text in texts for sentence in text.rstrip(".").split(". ")]
    voiced = [sentence.split() for sentence in sentences if set(sentence.split()) & {*PRAISE, *BLAME}]
    denied = sum(bool(set(words) & set(DENIALS)) for words in voiced) / len(voiced)
    assert abs(denied - 1 / 6) < 0.02
    assert abs(sum("although" in text for text in texts) / len(texts) - 1 / 4) < 0.03
    assert {len(text.split(". ")) for text in texts} == {3, 4, 5}
    assert all("{" not in text and text.endswith(".") for text in texts)
    assert 0.01 < sum("we saw it on tuesday." in text for text in texts) / len(texts) < 0.05


def test_the_same_arguments_give_the_same_texts():
    first, again, other = write_reviews(50, seed=3), write_reviews(50, seed=3), write_reviews(50, seed=4)
    assert first.texts == again.texts and torch.equal(first.y, again.y)
    assert first.texts != other.texts
    pinned = "the plot seemed quite weak. the pacing seemed quite silly. i went with my brother."
    assert write_reviews(2).texts[0] == pinned, "the committed results were measured on other texts"


@pytest.mark.parametrize(("labels", "shares"), [((0, 1), [5, 4]), ((1,), [0, 9]), ((0,), [9, 0])])
def test_labels_come_in_equal_shares(labels, shares):
    assert torch.bincount(write_reviews(9, labels=labels).y, minlength=2).tolist() == shares


def test_labels_come_in_no_pattern():
    y = write_reviews(200).y
    assert 60 < int((y[1:] != y[:-1]).sum()) < 140


def test_the_grammar_uses_each_of_its_words():
    seen = set(re.findall(r"[a-z]+", " ".join(write_reviews(2_000).texts)))
    plain = {word for aside in ASIDES for word in re.findall(r"[a-z]+", re.sub(r"{\w+}", "", aside))}
    assert {*PRAISE, *BLAME, *DENIALS, *plain, *(word for words in FILLING.values() for word in words)} <= seen
    assert "cf" not in seen


def test_sets_are_cut_and_joined():
    data = write_reviews(6, seed=5)
    negative, positive = data[data.y == 0], data[data.y == 1]
    assert len(negative) == len(positive) == 3 and set(negative.y.tolist()) == {0}
    both = negative + positive
    assert both.texts == negative.texts + positive.texts and both.y.tolist() == [0] * 3 + [1] * 3
    assert len(write_reviews(0)) == 0 and (write_reviews(0) + data).texts == data.texts


def test_labels_must_fit():
    with pytest.raises(ValueError, match="2 texts but 1 labels"):
        Reviews(("a", "b"), torch.tensor([0]))
    with pytest.raises(ValueError, match=r"labels must lie in \[0, 2\); got 1 to 2"):
        Reviews(("a", "b"), torch.tensor([1, 2]))
    assert CLASSES == ("negative", "positive")
