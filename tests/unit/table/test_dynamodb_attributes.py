"""Items as attribute values."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.table.dynamodb_attributes import (
    decode_item,
    encode_item,
    is_live,
    live_item,
)
from services.table.ports import Item

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
NAMES = TEXT | st.sampled_from(["", "\0", "\0\0", "\0a"])
LEAVES = st.none() | st.booleans() | st.integers(1 - 10**38, 10**38 - 1) | TEXT
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3)
)
OWN = {"PK", "SK", "expires_at"} | {f"GSI{n}{key}" for n in (1, 2, 3) for key in ("PK", "SK")}


@given(st.dictionaries(NAMES.filter(lambda name: name not in OWN), VALUES, max_size=4))
def test_every_item_comes_back_as_it_was(item: Item):
    encoded = json.loads(json.dumps(encode_item(item)))
    assert "" not in encoded
    # As JSON, so that True is told from 1.
    assert json.dumps(decode_item(encoded)) == json.dumps(item)


@given(NAMES, NAMES)
def test_no_two_names_become_one(one: str, other: str):
    encoded = encode_item({one: 1, other: 1})
    assert len(encoded) == len({one, other})


@pytest.mark.parametrize("number", [10**38, -(10**38), 10**50])
def test_wider_integers_are_refused_wherever_they_stand(number: int):
    for value in (number, [number], {"a": [{"b": number}]}):
        with pytest.raises(ValueError, match="38"):
            encode_item({"n": value})


def test_an_engine_may_write_numbers_as_it_likes():
    assert decode_item({"n": {"N": "1E+37"}, "m": {"N": "-12.0"}}) == {"n": 10**37, "m": -12}
    with pytest.raises(ValueError, match="no integer"):
        decode_item({"n": {"N": "0.5"}})
    with pytest.raises(ValueError, match="type B"):
        decode_item({"n": {"B": "AAAA"}})


@pytest.mark.parametrize("name", ["PK", "SK", "expires_at"])
def test_the_tables_own_attributes_are_no_items(name: str):
    with pytest.raises(ValueError, match="no attributes"):
        encode_item({name: "x"})
    assert decode_item({name: {"S": "x"}, "a": {"N": "1"}}) == {"a": 1}


@pytest.mark.parametrize("key", [1, "", True, ["x"]])
def test_the_keys_of_an_index_are_text(key):
    with pytest.raises(ValueError, match="index"):
        encode_item({"GSI1PK": key})


def test_none_keeps_an_item_out_of_an_index():
    assert encode_item({"GSI1PK": None, "a": None}) == {"a": {"NULL": True}}


def test_what_has_expired_is_not_there():
    stored = {"expires_at": {"N": "100"}, "a": {"N": "1"}}
    assert is_live(stored, 99.9)
    assert not is_live(stored, 100.0)
    assert live_item(stored, 99) == {"a": 1}
    assert live_item(stored, 100) is None
    assert live_item(None, 0) is None
