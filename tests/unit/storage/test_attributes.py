"""What an object carries beside its content."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boundary.errors import InvalidArgument
from services.storage.attributes import (
    parse_content_type,
    parse_download_name,
    parse_etag,
    parse_metadata,
    parse_sha256,
)
from services.storage.http_headers import content_disposition, parse_range
from services.storage.ports import Span


@pytest.mark.parametrize(
    "raw",
    ["text/html", "text/html; charset=utf-8", 'a/b;c="d e"', "application/vnd.api+json"],
)
def test_good_content_types(raw: str) -> None:
    assert parse_content_type(raw, field="content_type") == raw


def test_an_unset_content_type() -> None:
    assert parse_content_type("", field="content_type") == "application/octet-stream"


@pytest.mark.parametrize(
    "raw",
    [
        "text",
        "text/",
        "/html",
        "text/html\r\nSet-Cookie: a=b",
        "text/html\n",
        "a/b; c",
        "é/b",
        "a/b c",
        "a/" + "b" * 300,
        'a/b; c="\n"',
    ],
)
def test_bad_content_types(raw: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_content_type(raw, field="content_type")


def test_good_metadata() -> None:
    raw = {"author": "Alice B.", "x-1": "", "k" * 128: "v"}
    assert parse_metadata(raw, field="metadata") == raw


@pytest.mark.parametrize(
    "raw",
    [
        {"": "v"},
        {"A": "v"},
        {"a_b": "v"},
        {"a": "v\r\nX: y"},
        {"a": " v"},
        {"a": "v\n"},
        {"a": "é"},
        {"a\n": "v"},
        {"a": "v" * 2048},
        {f"k{n}": "v" * 100 for n in range(20)},
    ],
)
def test_bad_metadata(raw: dict[str, str]) -> None:
    with pytest.raises(InvalidArgument):
        parse_metadata(raw, field="metadata")


@pytest.mark.parametrize("raw", ["a" * 63, "A" * 64, "g" * 64, "a" * 64 + "\n"])
def test_bad_digests(raw: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_sha256(raw, field="sha256")


@pytest.mark.parametrize("raw", ['"quoted"', "é", "a\n", "a" * 129])
def test_bad_etags(raw: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_etag(raw, field="if_match")


@pytest.mark.parametrize("raw", ["a/b", "a\\b", "..", "a\r\nb", "a\u202eb", "é" * 128])
def test_bad_download_names(raw: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_download_name(raw, field="download_name")


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_a_disposition_is_one_safe_header(name: str) -> None:
    header = content_disposition(name)
    assert header.isascii()
    assert header.isprintable()
    assert header.count('"') == 2


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("bytes=0-0", Span(offset=0, length=1)),
        ("bytes=2-5", Span(offset=2, length=4)),
        ("bytes=7-", Span(offset=7)),
        ("bytes=-4", Span(offset=-4)),
        ("bytes=5-2", None),
        ("bytes=-", None),
        ("bytes=-0", None),
        ("bytes=0-1,3-4", None),
        ("items=0-1", None),
        ("bytes=a-b", None),
        ("bytes=٣-٤", None),
        ("", None),
    ],
)
def test_range_fields(raw: str, expected: Span | None) -> None:
    assert parse_range(raw) == expected
