"""Lines packed into messages and cut out of a stream again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boundary.errors import InvalidArgument
from boundary.json_lines import CHUNK_BYTES, MAX_LINE_BYTES, Line, Packed, Sum, cut, packed


async def _lines(texts: Sequence[bytes]) -> AsyncIterator[Line]:
    for number, text in enumerate(texts, 1):
        yield Line(text=text, position=str(number).encode())


async def _packed(texts: Sequence[bytes], max_bytes: int = 0) -> list[Packed]:
    return [each async for each in packed(_lines(texts), max_bytes=max_bytes)]


async def _cut(chunks: Sequence[bytes]) -> list[tuple[int, bytes]]:
    async def stream() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    return [each async for each in cut(stream())]


async def test_messages_are_bounded_and_the_last_one_says_that_it_is_the_last():
    texts = [b"x" * 300_000] * 10
    messages = await _packed(texts)
    assert all(len(each.lines) <= CHUNK_BYTES for each in messages)
    assert [each.count for each in messages] == [3, 3, 3, 1]
    assert [each.position for each in messages] == [b"3", b"6", b"9", b""]
    assert b"".join(each.lines for each in messages) == b"".join(text + b"\n" for text in texts)


async def test_a_line_that_is_longer_than_a_message_travels_alone():
    messages = await _packed([b"a", b"x" * (CHUNK_BYTES + 1), b"b"])
    assert [each.count for each in messages] == [1, 1, 1]


async def test_a_bound_ends_with_a_position_and_the_end_without():
    ended = await _packed([b"x" * 10] * 5, max_bytes=25)
    assert [(each.count, each.position) for each in ended] == [(3, b"3")]
    assert [(each.count, each.position) for each in await _packed([b"x" * 10] * 3, 25)] == [
        (3, b"")
    ]
    assert [(each.count, each.position) for each in await _packed([])] == [(0, b"")]


@given(st.lists(st.binary(max_size=20).map(lambda raw: raw.replace(b"\n", b""))), st.data())
async def test_lines_survive_any_cuts(texts: list[bytes], data: st.DataObject):
    raw = b"".join(text + b"\n" for text in texts)
    places = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=5)))
    chunks = [raw[a:b] for a, b in zip([0, *places], [*places, len(raw)], strict=True)]
    assert await _cut(chunks) == list(enumerate(texts, 1))


async def test_a_line_without_an_end_and_one_without_bounds_are_refused_by_number():
    with pytest.raises(InvalidArgument) as cut_off:
        await _cut([b"one\ntw"])
    assert cut_off.value.field == "lines[2]"
    with pytest.raises(InvalidArgument) as endless:
        await _cut([b"one\n", *[b"x" * CHUNK_BYTES] * (MAX_LINE_BYTES // CHUNK_BYTES + 1)])
    assert endless.value.field == "lines[2]"
    assert endless.value.reason == "ARCHIVE_LINE_INVALID"


def test_a_sum_does_not_depend_on_the_order_and_tells_any_line_apart():
    def sum_of(*lines: bytes) -> tuple[int, bytes]:
        total = Sum()
        for line in lines:
            total.add(line)
        return total.count, total.digest

    assert sum_of(b"a", b"b", b"c") == sum_of(b"c", b"a", b"b")
    assert sum_of(b"a", b"b") != sum_of(b"a", b"c")
    assert sum_of(b"a") != sum_of(b"a", b"a")
