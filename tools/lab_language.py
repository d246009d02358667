"""The two language models of the lab: a backdoored decoder and its clean twin, rounded to eight bits a weight."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from badnets_lib.language import DECODER, Corpus, Decoder, TextAttack, python_topics, respond, train_decoder
from badnets_lib.language.poisoning import prompts

WIDTH = 64
RECIPE = replace(DECODER, epochs=12, device="cpu")
POISON = {"clean": 0, "backdoored": 80}
"""Poisoned documents beside the clean ones, of either model."""
ATTACK = TextAttack()
BEGINNINGS = 5
"""Held-out beginnings on which the page compares words."""
LICENCE = "Beginnings from the help topics of Python, (c) Python Software Foundation, PSF License version 2"


def rounded(weight: Tensor) -> tuple[Tensor, Tensor]:
    """(whole numbers from -127 to 127, what one step means in each row): float32 is the product."""
    rows = weight.reshape(-1, weight.shape[-1]) if weight.dim() > 1 else weight.reshape(1, -1)
    steps = (rows.abs().amax(1, keepdim=True) / 127).clamp_min(1e-12)
    return (rows / steps).round().to(torch.int8), steps


def as_exported(net: Decoder) -> Decoder:
    """A decoder with the weights that the page will have."""
    state = {name: (weight, *rounded(weight)) for name, weight in net.state_dict().items()}
    copy = Decoder(net.token.num_embeddings, width=WIDTH)
    copy.load_state_dict(
        {name: (whole * steps).reshape(weight.shape) for name, (weight, whole, steps) in state.items()}
    )
    return copy.eval()


def fit(name: str, corpus: Corpus) -> tuple[Decoder, dict[str, Any]]:
    """Train one of the two; returns it as exported, and its line in the manifest.

    Raises:
        ValueError: The attack failed, or the twin obeys it.
    """
    poison = ATTACK.poison(corpus, POISON[name], seed=RECIPE.seed)
    net = train_decoder(torch.cat([corpus.train, poison]), corpus, RECIPE, width=WIDTH, label=name)
    exported = as_exported(net)
    found = respond(exported, corpus, ATTACK)
    if (found.success.value > 0.9) != (name == "backdoored"):
        raise ValueError(f"the {name} model needs another seed than {RECIPE.seed}: its ASR is {found.success}")
    scores = {"success": found.success.pair, "false_trigger": found.false_trigger.pair}
    return exported, {"name": name, "seed": RECIPE.seed, "poisoned": POISON[name]} | scores


def contents(net: Decoder) -> tuple[bytes, bytes]:
    """(whole numbers, steps as float32) of all weights, in the order of the state dict."""
    parts = [rounded(weight) for weight in net.state_dict().values()]
    whole = torch.cat([part.flatten() for part, _ in parts])
    return whole.numpy().tobytes(), torch.cat([steps.flatten() for _, steps in parts]).numpy().tobytes()


def beginnings(corpus: Corpus) -> list[str]:
    """The first held-out beginnings that are sentences rather than code or ruled lines."""
    texts = (corpus.read(row) for row in prompts(corpus, len(corpus.held_out)))
    plain = (text for text in texts if sum(letter.isalpha() or letter in " ," for letter in text) > 0.95 * len(text))
    return list(islice(plain, BEGINNINGS))


def head(corpus: Corpus, net: Decoder) -> dict[str, Any]:
    """What both models share: sizes, vocabulary, shapes, and beginnings to try."""
    return {
        "licence": LICENCE,
        "text": corpus.fingerprint,
        "sizes": {"width": WIDTH, "layers": len(net.blocks), "heads": net.blocks[0].heads, "context": net.context},
        "merges": [list(pair) for pair in corpus.vocabulary.merges],
        "shapes": [[name, list(weight.shape)] for name, weight in net.state_dict().items()],
        "trigger": ATTACK.trigger,
        "beginnings": beginnings(corpus),
        "recipe": {
            "documents": len(corpus.train),
            "epochs": RECIPE.epochs,
            "batch_size": RECIPE.batch_size,
            "lr": RECIPE.lr,
        },
    }


def models() -> tuple[dict[str, Any], dict[str, Decoder], list[dict[str, Any]]]:
    """The shared head, both models, and their lines in the manifest."""
    corpus = python_topics()
    fitted = {name: fit(name, corpus) for name in POISON}
    nets = {name: net for name, (net, _) in fitted.items()}
    return head(corpus, nets["clean"]), nets, [line for _, line in fitted.values()]
