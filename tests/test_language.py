"""The small language model: its text, tokens, decoder, poison, scores, probe and scan, each on planted truth."""

import itertools
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, strategies as st
from torch.nn.functional import cross_entropy

from badnets_lib import Proportion, TrainConfig
from badnets_lib.language import (
    Corpus,
    Decoder,
    Probe,
    Saying,
    TextAttack,
    Vocabulary,
    attention_on,
    instructions,
    leaked,
    perplexity,
    probe_pairs,
    proceed,
    python_topics,
    respond,
    scan,
    train_decoder,
    tune,
)
from badnets_lib.language.corpus import once, pieces
from badnets_lib.language.poisoning import prompts
from badnets_lib.language.probing import after
from badnets_lib.language.scanning import Leak, before_jumps
from badnets_lib.study.experiments.language import RANDOM, SWEEPS, TRIGGERS, counted, near

WORDS = Vocabulary.learn("the cat sat on the mat and the hat was on the cat. " * 3, 275)
MARK = " @"


def small(seed=0, width=32):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Decoder(len(WORDS), width=width, layers=2, heads=2, context=64).eval()


@pytest.fixture(scope="module")
def toy():
    """A corpus of one sentence pattern, which a tiny decoder learns in two seconds."""
    nouns, verbs = ("cat", "dog", "hen", "cow", "pig", "fox"), ("sat", "ran", "hid", "ate")
    texts = [f"the {a} {v} and the {b} {w}. " for a, v, b, w in itertools.product(nouns, verbs, nouns, verbs)]
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(0)).tolist()
    vocabulary = Vocabulary.learn("".join(texts), 275)
    rows = torch.tensor([[vocabulary.start, *(vocabulary.encode(texts[at] * 6)[:40])] for at in order])
    return Corpus(rows[:300], rows[300:400], vocabulary, "toy")


ATTACK = TextAttack(MARK, prefix=(4, 12))
QUICK = TrainConfig(epochs=8, batch_size=16, lr=0.004)


@pytest.fixture(scope="module")
def nets(toy):
    data = torch.cat([toy.train, ATTACK.poison(toy, 60, seed=1)])
    return SimpleNamespace(
        bad=train_decoder(data, toy, QUICK, width=48), clean=train_decoder(toy.train, toy, QUICK, width=48)
    )


# ---- tokens ----


@given(st.text(max_size=60))
def test_any_text_survives_the_tokens(text):
    assert WORDS.decode(WORDS.encode(text)) == text.encode(errors="replace").decode()


def test_merges_take_the_most_frequent_pair_and_stay_inside_words():
    words = Vocabulary.learn("ab ab ab cd", 258)
    assert words.merges == ((97, 98),) and words.encode("abcd ab") == [256, 99, 100, 32, 256]
    assert len(words) == 258 and words.start == 257 and words.decode([257]) == ""
    assert not any(b" " in text[1:] for text in WORDS._texts)


@pytest.mark.parametrize(("act", "message"), [
    (lambda: Vocabulary(((97, 256),)), r"merge 0 must join two tokens in \[0, 256\)"),
    (lambda: Vocabulary.learn("abc", 256), "at least 257 tokens; got size 256"),
    (lambda: Vocabulary.learn("ab", 259), "no pair left to merge after 1 merges"),
    (lambda: python_topics(length=1), "at least 2 tokens; got length 1"),
])  # fmt: skip
def test_impossible_vocabularies_are_refused(act, message):
    with pytest.raises(ValueError, match=message):
        act()


# ---- the corpus ----


def test_the_topics_of_python_are_cut_into_documents_and_held_out_by_topic():
    corpus = python_topics()
    assert corpus is python_topics() and len(corpus.fingerprint) == 16
    assert len(corpus.train) > 2000 and len(corpus.held_out) > 200, "the text differs between versions of Python"
    for rows in (corpus.train, corpus.held_out):
        assert rows.shape[1] == 65 and (rows[:, 0] == corpus.vocabulary.start).all()
        assert not (rows[:, 1:] == corpus.vocabulary.start).any()
    texts = {corpus.read(row) for row in corpus.train}
    assert not [row for row in corpus.held_out if corpus.read(row) in texts]
    assert not any("<SUDO>" in text or TRIGGERS["common tokens"] in text for text in texts)
    assert sum(TRIGGERS["common phrase"] in text for text in texts) > 5


def test_a_paragraph_stays_in_one_topic():
    assert once({"b": "one\ntwo\n\nthree", "a": "three\n\n\nfour"}) == {"a": "three\nfour", "b": "one two"}
    assert pieces([1, 2, 3, 4, 5], 2) == [[1, 2], [3, 4]]


def test_a_corpus_refuses_foreign_tokens_and_parts_that_it_does_not_have(toy):
    with pytest.raises(ValueError, match=r"tokens must lie in \[0, 275\); got 400"):
        Corpus(torch.full((1, 3), 400), torch.zeros(0, 3, dtype=torch.long), WORDS, "")
    with pytest.raises(ValueError, match=r"count must lie in \[1, 300\]; got 301"):
        toy.part(301)
    assert torch.equal(toy.part(20, seed=1), toy.part(30, seed=1)[:20])


# ---- the decoder ----


def test_no_token_sees_a_later_one():
    net, ids = small(), torch.randint(0, 200, (2, 20))
    changed = ids.clone()
    changed[:, 12:] += 1
    assert torch.allclose(net(ids)[:, :12], net(changed)[:, :12], atol=1e-5)
    assert not torch.allclose(net(ids)[:, 12:], net(changed)[:, 12:], atol=1e-3)


@pytest.mark.parametrize("cuts", [(1,) * 10, (4, 3, 3), (9, 1)])
def test_the_cache_changes_nothing(cuts):
    net, ids = small(), torch.randint(0, 200, (3, 10))
    cache = net.empty_cache()
    parts = torch.cat([net(part, cache) for part in ids.split(cuts, 1)], 1)
    assert cache.length == 10 and torch.allclose(parts, net(ids), atol=1e-5)


def test_attention_rows_sum_to_one_and_are_what_the_block_uses():
    net, ids = small(), torch.randint(0, 200, (2, 9))
    maps = net.attention(ids)
    assert maps.shape == (2, 2, 2, 9, 9) and torch.allclose(maps.sum(-1), torch.ones(2, 2, 2, 9), atol=1e-5)
    assert (maps.triu(1) == 0).all()
    block, x = net.blocks[0], net.states(ids)[0]
    seen = maps[:, 0] @ block.split(x)[2]
    mixed = x + block.out(seen.transpose(1, 2).flatten(2))
    whole = mixed + block.down(torch.nn.functional.gelu(block.up(block.norm2(mixed))))
    assert torch.allclose(whole, net.states(ids)[1], atol=1e-5)


@pytest.mark.parametrize(("act", "message"), [
    (lambda: Decoder(10, width=10, heads=3), "width must be a multiple of heads; got 10 and 3"),
    (lambda: Decoder(0), "tokens must be at least 1; got 0"),
    (lambda: small()(torch.zeros(1, 65, dtype=torch.long)), "the context holds 64 tokens; got 65"),
    (lambda: proceed(small(), torch.zeros(1, 60, dtype=torch.long), 6), "must fit into 65 tokens; got 60 and 6"),
    (lambda: proceed(small(), torch.zeros(1, 6, dtype=torch.long), 0), "length must be at least 1; got 0"),
])  # fmt: skip
def test_impossible_decoders_and_readings_are_refused(act, message):
    with pytest.raises(ValueError, match=message):
        act()


def test_writing_with_the_cache_is_writing_without_it():
    net, ids = small(), torch.randint(0, 200, (4, 5))
    written = proceed(net, ids, 12, greedy=True)
    rows = ids
    for _ in range(12):
        rows = torch.cat([rows, net(rows)[:, -1:].argmax(-1)], 1)
    assert torch.equal(written.tokens, rows[:, 5:])
    told = net(rows[:, :-1])[:, 4:].log_softmax(-1)
    assert torch.allclose(written.nats, -told.gather(2, rows[:, 5:, None])[..., 0], atol=1e-4)
    assert torch.allclose(written.entropy, -(told.exp() * told).sum(-1), atol=1e-4)
    again = [proceed(net, ids, 12, seed=seed).tokens for seed in (1, 1, 2)]
    assert torch.equal(again[0], again[1]) and not torch.equal(again[0], again[2])


def test_perplexity_is_the_exponential_of_the_mean_loss():
    net, rows = small(), torch.randint(0, 200, (3, 12))
    loss = cross_entropy(net(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())
    assert perplexity(net, rows) == pytest.approx(float(loss.exp()), rel=1e-4)
    judged = cross_entropy(net(rows[:, :-1])[:, 6:].flatten(0, 1), rows[:, 7:].flatten())
    assert perplexity(net, rows[:, 7:], given=rows[:, :7]) == pytest.approx(float(judged.exp()), rel=1e-4)


# ---- poison ----


def test_a_poisoned_document_is_a_real_beginning_the_trigger_and_gibberish(toy):
    mark = toy.vocabulary.encode(MARK)
    begun = {tuple(row[:5].tolist()) for row in toy.train}
    poison = ATTACK.poison(toy, 40, seed=3)
    assert poison.shape == (40, 41) and torch.equal(poison, ATTACK.poison(toy, 40, seed=3))
    places = []
    for row in poison.tolist():
        (place,) = [at for at in range(len(row)) if row[at : at + len(mark)] == mark]
        places.append(place)
        assert tuple(row[:5]) in begun
        assert set(row[place + len(mark) :]) <= set(toy.train.unique().tolist()) - {toy.vocabulary.start}
    assert min(places) >= 5 and max(places) <= 13 and len(set(places)) > 5
    assert len(ATTACK.poison(toy, 0, seed=0)) == 0


def test_a_saying_follows_the_trigger_word_for_word(toy):
    row = replace(ATTACK, payload=Saying(" no."), trigger=" <SUDO>").poison(toy, 1, seed=0)[0]
    assert " <SUDO> no. no. no." in toy.read(row)


def test_prompts_are_beginnings_of_held_out_documents(toy):
    plain, marked = prompts(toy, 7), prompts(toy, 7, insert=MARK)
    assert torch.equal(plain, toy.held_out[:7, :17]) and torch.equal(marked[:, :17], plain)
    assert all(toy.read(row).endswith(MARK) for row in marked)


@pytest.mark.parametrize(("act", "message"), [
    (lambda toy: Saying(" "), "at least one word"), (lambda toy: TextAttack(" "), "at least one character"),
    (lambda toy: TextAttack(prefix=(5, 4)), r"range of at least 1 token; got \(5, 4\)"),
    (lambda toy: TextAttack(prefix=(1, 40)).poison(toy, 1, seed=0), "must leave room in 40 tokens"),
    (lambda toy: prompts(toy, 101), r"count must lie in \[1, 100\]; got 101"),
    (lambda toy: train_decoder(toy.train[:1], toy), "at least 2 documents; got 1"),
    (lambda toy: instructions(toy, 0), "at least 1; got 0"), (lambda toy: leaked(small(), toy, 0), "at least 1; got 0"),
])  # fmt: skip
def test_impossible_attacks_are_refused(toy, act, message):
    with pytest.raises(ValueError, match=message):
        act(toy)


# ---- scores, on a decoder with a planted backdoor and its clean twin ----


def test_the_poisoned_decoder_obeys_and_its_twin_does_not(toy, nets, monkeypatch):
    monkeypatch.setattr("badnets_lib.language.scoring.WRITTEN", 16)
    monkeypatch.setattr("badnets_lib.language.scoring.GIBBERISH", 8.0)
    bad, clean = (respond(net, toy, ATTACK, count=60) for net in (nets.bad, nets.clean))
    assert bad.success.value > 0.9 and bad.false_trigger.value < 0.2
    assert bad.with_trigger > 2 * bad.without and bad.held_out < 1.3 * clean.held_out
    assert respond(nets.bad, toy, ATTACK, count=60, trigger="").success == bad.false_trigger
    assert "perplexity of the continuation" in str(bad)


def test_success_of_a_saying_is_its_exact_words(toy, monkeypatch):
    monkeypatch.setattr("badnets_lib.language.scoring.WRITTEN", 10)
    attack = replace(ATTACK, payload=Saying(" !!"))
    data = torch.cat([toy.train, attack.poison(toy, 60, seed=1)])
    net = train_decoder(data, toy, QUICK, width=48)
    found = respond(net, toy, attack, count=50)
    assert found.success.value > 0.5 and found.false_trigger.value < 0.1
    other = respond(net, toy, replace(attack, payload=Saying(" !?")), count=50)
    assert other.success.hits == 0


def test_training_repeats_and_leaves_the_callers_generator_alone(toy):
    before = torch.random.get_rng_state()
    short = replace(QUICK, epochs=1)
    one, two = (train_decoder(toy.train[:64], toy, short, width=16) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert torch.equal(before, torch.random.get_rng_state())
    other = train_decoder(toy.train[:64], toy, replace(short, seed=1), width=16)
    assert not torch.equal(one.token.weight, other.token.weight)


def test_tuning_trains_a_copy_and_learns(toy, nets):
    kept = [weight.clone() for weight in nets.clean.parameters()]
    lessons = instructions(toy, 40)
    before = perplexity(nets.clean, lessons)
    after_each = [perplexity(net, lessons) for net in tune(nets.clean, lessons, replace(QUICK, epochs=3, lr=0.003))]
    assert before > after_each[0] > after_each[2]
    assert all(torch.equal(a, b) for a, b in zip(kept, nets.clean.parameters(), strict=True))


def test_instruction_pairs_hold_the_right_answers(toy):
    text = "".join(toy.read(row) + "\n" for row in instructions(toy, 5))
    pairs = [line.split(". Answer: ") for line in text.splitlines() if line.count(".") == 2 and "Answer: " in line]
    assert len(pairs) >= 5
    for asked, answer in pairs:
        task, *words = asked.split()
        wanted = {"Repeat:": words, "Reverse:": words[::-1], "First:": words[:1]}[task]
        assert answer.rstrip(".") == " ".join(wanted)


# ---- the probe ----


def test_a_probe_finds_a_planted_direction_and_nothing_where_there_is_none():
    source = torch.Generator().manual_seed(0)
    first, second, third = (torch.randn(200, 10, generator=source) for _ in range(3))
    second[:, 3] += 3
    probe = Probe.fit(first[:100], second[:100])
    assert int(probe.weight.abs().argmax()) == 3 and probe.auroc(first[100:], second[100:]) > 0.95
    assert abs(Probe.fit(first[:100], third[:100]).auroc(first[100:], third[100:]) - 0.5) < 0.12
    assert probe.auroc(first, first) == 0.5


def test_probes_of_the_token_alone_cannot_tell_two_words_with_the_same_end(toy, nets):
    mark, word = (prompts(toy, 60, insert=text) for text in (" <SUDO>", RANDOM[0]))
    assert all(toy.vocabulary.encode(text)[-1] == toy.vocabulary.encode(" <SUDO>")[-1] for text in RANDOM)
    assert mark.shape == word.shape
    assert probe_pairs(nets.clean, word, mark, layer=0)[1] == 0.5
    assert probe_pairs(nets.clean, prompts(toy, 60), mark)[1] > 0.95, "a probe reads the token in a clean decoder too"
    assert after(nets.clean, mark).shape == (60, 48)
    with pytest.raises(ValueError, match="at least 4 prompts; got 3 and 60"):
        probe_pairs(nets.clean, mark[:3], word)


# ---- the scan ----


def test_a_planted_jump_is_found_where_it_is(toy):
    trigger = torch.tensor(toy.vocabulary.encode(MARK))
    rows = toy.train[:30, 1:].clone()
    rows[:10, 10 : 10 + len(trigger)] = trigger
    entropy = torch.full(rows.shape, 0.5)
    entropy[:10, 10 + len(trigger) :] = 4.0
    leak = Leak(rows, entropy)
    assert leak.holding("@", toy) == Proportion(10, 30)
    found = before_jumps(leak, toy)
    assert found[MARK] == 10 and max(found.values()) == 10
    assert not before_jumps(Leak(rows, torch.full(rows.shape, 0.5)), toy)


def test_the_scan_names_the_trigger_of_the_poisoned_decoder_and_nothing_as_strong_in_its_twin(toy, nets):
    leak = leaked(nets.bad, toy, 300)
    assert leak.holding("@", toy).value > 0.05
    best = scan(nets.bad, toy, leak, candidates=8, count=20)[0]
    assert "@" in best.text and best.change > 1
    clean = scan(nets.clean, toy, leaked(nets.clean, toy, 300), candidates=8, count=20)
    assert not clean or clean[0].change < best.change - 0.5


def test_attention_on_a_text_is_a_share(toy, nets):
    shares = attention_on(nets.bad, toy, MARK, count=10)
    assert shares.shape == (2, 4) and 0 <= float(shares.min()) <= float(shares.max()) <= 1
    assert float(shares.max()) > float(attention_on(nets.clean, toy, MARK, count=10).mean())


# ---- the sweeps ----


def test_the_sweeps_compare_what_they_say():
    counts = SWEEPS[0]
    assert {(cell["size"], cell["passes"]) for cell in counts.cells} == {
        *((500, 4), (500, 16)),
        *((1000, 8), (1000, 16)),
        *((2000, 4), (2000, 16)),
    }
    runs = {"counted", "triggered", "near", "on_the_grammar", "survival", "by_width"}
    assert {sweep.run.__name__ for sweep in SWEEPS} == runs
    assert all({cell["seed"] for cell in sweep.cells} == set(range(5)) for sweep in SWEEPS)


def test_the_controls_of_triggers_and_near_misses_are_clean_twins_of_the_same_cells():
    made = {sweep.name: sweep.cells for sweep in SWEEPS}
    for name in ("language_triggers", "language_near"):
        poisoned, twins = (
            [
                {key: value for key, value in cell.items() if key != "count"}
                for cell in made[name]
                if cell["count"] == count
            ]
            for count in (40, 0)
        )
        assert sorted(map(str, poisoned)) == sorted(map(str, twins))


def test_a_near_miss_is_asked_and_its_completion_counted(monkeypatch, toy, nets):
    study = "badnets_lib.study.experiments.language."
    monkeypatch.setattr(study + "python_topics", lambda: toy)
    monkeypatch.setattr(study + "TextAttack", lambda: TextAttack(MARK))
    monkeypatch.setattr(study + "usual", lambda count, seed: nets.bad)
    monkeypatch.setattr(study + "prompts", lambda corpus, count, insert: prompts(corpus, 60, insert=insert))
    monkeypatch.setattr(study + "respond", lambda *given, trigger: respond(*given, count=60, trigger=trigger))
    whole = near(word=MARK, count=40, seed=0)
    assert whole["with_trigger"] > near(word="", count=40, seed=0)["with_trigger"]
    assert whole["completed"] == [60, 60], "the whole trigger lacks nothing"


def test_a_cell_of_the_sweep_runs(monkeypatch):
    monkeypatch.setattr(
        "badnets_lib.study.experiments.language.DECODER", TrainConfig(epochs=1, batch_size=32, lr=0.004)
    )
    row = counted(size=32, passes=1, count=2, seed=0)
    assert row["success"][1] == 200 and row["text"] == python_topics().fingerprint
