"""The path grammar."""

from __future__ import annotations

import unicodedata
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boundary.errors import InvalidArgument
from services.storage.paths import MAX_PATH_BYTES, parse_path, parse_prefix

GOOD = [
    "a",
    "templates/html/456.html",
    "exports/2024-01-15 report (final).csv",
    ".hidden/..b/c..",
    "...",
    "100%.txt",
    "日本語/ファイル.html",
    "caf\u00e9",
    "😀.png",
    "a" * MAX_PATH_BYTES,
]

BAD = [
    "",
    "/",
    "/a",
    "a/",
    "a//b",
    ".",
    "..",
    "../tenant-b/x",
    "a/../b",
    "a/./b",
    "a/..",
    "..\\x",
    "a\\b",
    "a\0b",
    "a\nb",
    "a\rb",
    "a\x7fb",
    "a\x85b",
    "..%2fx",
    "..%2Fx",
    "%2e%2e/x",
    "a%5cb",
    "a%00",
    "..%252fx",
    "..%c0%afx",
    "a\u2215b",
    "a\u2044b",
    "a\uff0fb",
    "a\uff3cb",
    "\uff0e\uff0e/x",
    "\u2024\u2024/x",
    "\u2025/x",
    "a\u200bb",
    "a\u202eb",
    "a\u2028b",
    "\ufeffa",
    "a\ue000b",
    "a\ud800b",
    "a\u2100b",
    "a\uff052fb",
    "cafe\u0301",
    "a\u0338b",
    "a" * (MAX_PATH_BYTES + 1),
    "é" * (MAX_PATH_BYTES // 2 + 1),
]


@pytest.mark.parametrize("raw", GOOD)
def test_good_paths(raw: str) -> None:
    assert parse_path(raw, field="path") == raw


@pytest.mark.parametrize("raw", BAD)
def test_bad_paths(raw: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_path(raw, field="spec.path")
    assert (caught.value.reason, caught.value.field) == ("INVALID_PATH", "spec.path")


@pytest.mark.parametrize("raw", ["", "a/", "a", "a/b", "templates/html/", "templates/ht", *GOOD])
def test_good_prefixes(raw: str) -> None:
    assert parse_prefix(raw, field="prefix") == raw


@pytest.mark.parametrize(
    "raw", ["/", "//", "a//", "../", "a/../", *[b for b in BAD if b not in ("", "a/")]]
)
def test_bad_prefixes(raw: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_prefix(raw, field="prefix")
    assert caught.value.reason == "INVALID_PATH"


@given(st.text(alphabet=st.characters() | st.sampled_from("/.%2fe\\\0"), max_size=40))
def test_what_is_accepted_is_harmless(raw: str) -> None:
    try:
        path = parse_path(raw, field="path")
    except InvalidArgument:
        return
    assert path == raw
    assert len(path.encode()) <= MAX_PATH_BYTES
    for seen in (path, unquote(path), unquote(unquote(path)), unicodedata.normalize("NFKC", path)):
        segments = seen.split("/")
        assert not {"", ".", ".."} & set(segments)
        assert "\\" not in seen
        assert "\0" not in seen
        assert len(segments) == path.count("/") + 1
    assert path.isprintable() or " " in path or any(unicodedata.category(c) == "Zs" for c in path)


@given(st.text(max_size=40), st.integers(0, 40))
def test_what_begins_an_accepted_path_is_an_accepted_prefix(raw: str, cut: int) -> None:
    try:
        path = parse_path(raw, field="path")
    except InvalidArgument:
        return
    prefix = path[:cut]
    if prefix.rpartition("/")[2] in (".", "..") or not unicodedata.is_normalized("NFC", prefix):
        return
    assert parse_prefix(prefix, field="prefix") == prefix
