import random

import pytest
import torch
from hypothesis import given, strategies

from badnets_lib import DamagedFile, SmallCNN, predict
from badnets_lib.provenance.hidden_bytes import found, hidden, last_bytes, room_for, unevenness, wiped

STATE = {"a": torch.linspace(-3, 3, 40).view(5, 8), "steps": torch.tensor(7), "b": torch.full((9,), 1e-3)}


@given(message=strategies.binary(max_size=45))
def test_what_was_hidden_is_found(message):
    assert room_for(STATE) == 45
    assert found(hidden(STATE, message)) == message


def test_every_weight_moves_by_less_than_its_last_byte_and_the_rest_stays():
    carrying = hidden(STATE, bytes(range(45)))
    for name in ("a", "b"):
        assert ((carrying[name] - STATE[name]).abs() <= 2.0**-15 * STATE[name].abs()).all()
        assert not torch.equal(carrying[name], STATE[name])
    assert torch.equal(carrying["steps"], STATE["steps"])


def test_bytes_are_where_the_format_says():
    one = hidden({"w": torch.ones(6)}, b"AB")["w"]
    assert [value & 255 for value in one.view(torch.int32).tolist()] == [0, 0, 0, 2, 65, 66]
    assert last_bytes({"w": one}) == b"\0\0\0\2AB"


def test_a_network_answers_as_before_and_keeps_its_own_weights():
    torch.manual_seed(0)
    model, x = SmallCNN(width=4).eval(), torch.rand(8, 1, 28, 28)
    before = predict(model, x)
    state = model.state_dict()
    kept = {name: tensor.clone() for name, tensor in state.items()}
    carrying = hidden(state, b"x" * room_for(state))
    assert all(torch.equal(state[name], kept[name]) for name in kept)
    model.load_state_dict(carrying)
    assert (predict(model, x) - before).abs().max() < 1e-3


def test_zeroing_the_last_bits_leaves_nothing_to_find():
    clean = wiped(hidden(STATE, b"secret"))
    assert set(last_bytes(clean)) == {0} and found(clean) == b""


def test_text_stands_out_and_random_bytes_do_not():
    words = b"a harmless text, again and again. " * 400
    assert unevenness(random.Random(0).randbytes(20_000)) < 1.3
    assert unevenness(words) > 50


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="room for 45 bytes; the message has 46"):
        hidden(STATE, b"x" * 46)
    with pytest.raises(DamagedFile, match="no message"):
        found({"w": torch.linspace(0.1, 0.7, 6)})
    with pytest.raises(ValueError, match="needs 1,275 bytes"):
        unevenness(b"too short")
