"""Item sizes by DynamoDB's rule, and the bound that saves computing them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.table import item_json
from services.table.sizes import item_size, value_size

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**38) + 1, 10**38 - 1) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("", 0),
        ("abc", 3),
        ("é€", 5),
        (None, 1),
        (True, 1),
        (0, 1),
        (7, 2),
        (12, 2),
        (123, 3),
        (-12, 3),
        (120000, 2),
        ([], 3),
        (["a", 1], 3 + 2 + 3),
        ({"a": "bc"}, 3 + 1 + 1 + 2),
    ],
)
def test_value_sizes(value, size):
    assert value_size(value) == size


def test_an_item_counts_its_keys_and_names():
    assert item_size("TENANT#A", "USER#1", {"name": "x"}) == 2 + 8 + 2 + 6 + 4 + 1


@given(st.dictionaries(TEXT, VALUES, max_size=4))
def test_no_item_takes_twice_the_room_of_its_json(item):
    encoded = item_json.encode(item)
    assert sum(len(name.encode()) + value_size(value) for name, value in item.items()) <= 2 * len(
        encoded
    )
    assert item_json.decode(encoded) == item
