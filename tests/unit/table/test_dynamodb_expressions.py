"""Conditions, updates and key ranges as expressions."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.table.dynamodb_expressions import MAX_SORT_KEY_BYTES, Expressions, holds, last_key
from services.table.ports import ABSENT, ANY, PRESENT, Condition, Item, Range, Update

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
NAMES = TEXT.filter(lambda name: name not in {"PK", "SK", "expires_at"})
KEYS = TEXT.filter(bool)

_GRAMMAR = re.compile(
    r"(?:#n\d+|:v\d+|attribute_(?:not_)?exists|begins_with|BETWEEN|SET|REMOVE|ADD|AND|OR|<=|>=|[=<>(),]|\s)*"
)


@given(
    equals=st.dictionaries(TEXT, st.none() | st.integers(0, 9) | TEXT, max_size=3),
    exists=st.none() | st.booleans(),
    names=st.lists(NAMES, unique=True, max_size=6),
    keys=st.builds(Range, prefix=TEXT, low=st.none() | TEXT, high=st.none() | TEXT),
)
def test_no_text_of_a_caller_is_part_of_an_expression(equals, exists, names, keys):
    parts = Expressions(1e9)
    update = Update(
        sort_key="k",
        set=dict.fromkeys(names[::3], "text"),
        remove=names[1::3],
        add=dict.fromkeys(names[2::3], 1),
    )
    made = [
        parts.condition(Condition(exists=exists, equals=equals), live=True),
        parts.update(update),
        parts.key_condition(("PK", "TENANT#A"), "SK", keys) or "",
    ]
    for expression in made:
        assert _GRAMMAR.fullmatch(expression)
    # DynamoDB refuses what is named and not used, and what is used and not named.
    named = parts.placeholders()
    used = set(re.findall(r"#n\d+|:v\d+", " ".join(made)))
    if made[2]:
        assert used == {
            *named["ExpressionAttributeNames"],
            *named.get("ExpressionAttributeValues", ()),
        }


def test_conditions():
    def text(condition: Condition, *, live: bool = False) -> str:
        return Expressions(5).condition(condition, live=live)

    alive = "(attribute_not_exists(#n1) OR #n1 > :v0)"
    assert text(ANY) == ""
    assert text(PRESENT) == f"attribute_exists(#n0) AND {alive}"
    assert text(ABSENT) == "(attribute_not_exists(#n0) OR #n1 <= :v0)"
    assert text(ANY, live=True) == "(attribute_not_exists(#n0) OR #n0 > :v0)"


@given(low=st.none() | TEXT, high=st.none() | TEXT, prefix=TEXT, key=KEYS)
def test_a_key_condition_holds_of_the_keys_in_the_range(low, high, prefix, key):
    wanted = (
        key.startswith(prefix)
        and (low is None or low.encode() <= key.encode())
        and (high is None or key.encode() <= high.encode())
    )
    parts = Expressions(0)
    condition = parts.key_condition(("PK", "x"), "SK", Range(prefix=prefix, low=low, high=high))
    if condition is None:
        assert not wanted
        return
    values = parts.placeholders()["ExpressionAttributeValues"]
    bounds = [each["S"].encode() for each in values.values()][1:]
    raw = key.encode()
    if "begins_with" in condition:
        held = raw.startswith(bounds[0])
    elif "BETWEEN" in condition:
        held = bounds[0] <= raw <= bounds[1]
    elif ">=" in condition:
        held = raw >= bounds[0]
    elif "<=" in condition:
        held = raw <= bounds[0]
    else:
        held = True
    assert held == wanted
    assert b"" not in bounds  # DynamoDB takes no empty key


@given(prefix=TEXT, rest=TEXT)
def test_the_last_key_of_a_prefix_follows_all_others(prefix, rest):
    last = last_key(prefix)
    assert len(last.encode()) == MAX_SORT_KEY_BYTES
    assert last.startswith(prefix)
    assert (prefix + rest).encode() <= last.encode()


@pytest.mark.parametrize(
    "update",
    [
        Update(sort_key="k", set={"a": 1}, remove=["a"]),
        Update(sort_key="k", set={"a": 1}, add={"a": 1}),
        Update(sort_key="k", remove=["a", "a"]),
    ],
)
def test_an_update_changes_an_attribute_once(update: Update):
    with pytest.raises(ValueError, match="once"):
        Expressions(0).update(update)


@pytest.mark.parametrize("name", ["PK", "SK", "expires_at"])
def test_an_update_leaves_the_tables_own_attributes(name: str):
    for update in (
        Update(sort_key="k", set={name: "x"}),
        Update(sort_key="k", remove=[name]),
        Update(sort_key="k", add={name: 1}),
    ):
        with pytest.raises(ValueError, match="no attributes"):
            Expressions(0).update(update)


def test_an_index_key_of_none_is_removed():
    parts = Expressions(0)
    assert parts.update(Update(sort_key="k", set={"GSI1PK": None})) == "REMOVE #n0"


@pytest.mark.parametrize(
    ("condition", "item", "held"),
    [
        (ANY, None, True),
        (PRESENT, None, False),
        (ABSENT, {}, False),
        (Condition(equals={"a": None}), None, True),
        (Condition(equals={"a": 1}), {"a": 1}, True),
        (Condition(equals={"a": 1}), {"a": True}, False),
        (Condition(equals={"a": 1}), None, False),
    ],
)
def test_holds(condition: Condition, item: Item | None, held: bool):
    assert holds(condition, item) is held
