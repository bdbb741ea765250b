"""The grammar of object paths, in one place.

A path lies below the tenant's prefix and never names anything on a disk, so no path can leave the tenant here.
The grammar keeps it from leaving elsewhere: in a proxy that decodes percent signs, a browser, a tool that copies
the bucket to a file system, or the eye of somebody who reads it.
"""

from __future__ import annotations

import re
import unicodedata

from boundary.errors import InvalidArgument

MAX_PATH_BYTES = 900
"""With the longest prefix, `tenant-` and 40 characters and `/`, a key stays below S3's 1,024 bytes."""

_ENCODED = re.compile(r"%(?:2f|2e|5c|00|25|c0|c1)", re.IGNORECASE)
"""Percent-encoded `/`, `.`, `\\`, NUL and `%` (decoded twice), and how overlong UTF-8 of them begins."""

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories without a shape of their own: control, format, surrogate, private, unassigned, separators."""

_MEANINGFUL = frozenset("/\\.%")

_LOOK_ALIKES = frozenset(
    "\u0337\u0338\u20e5"  # solidus overlays, which combine with the character before
    "\u2044\u2215\u29f8\u2571\u27cb\u29f6\u3033\u2f03\u1735"  # like a slash
    "\u2216\u29f5\u29f9\u2572\u27cd\u29f7\u2f02"  # like a backslash
    "\u3002\uff61\u0701\u0702\ua4f8\u1427\u2e31"  # like a dot
)
"""Confusable with `/`, `\\` or `.` (Unicode UTS 39, confusables) though they do not normalise to them. Letters of
living scripts that resemble a slash stay allowed."""

REASON = "INVALID_PATH"


def parse_path(raw: str, *, field: str) -> str:
    """The path in raw.

    A path has 1 to 900 bytes of UTF-8, in Unicode normalisation form C, and neither begins nor ends with `/`. No
    segment is empty, `.` or `..`. It holds no backslash, no control, format or unassigned character, no
    percent-encoded separator and nothing that looks like a slash, backslash or dot without being one.

    Args:
        raw: what the caller sent.
        field: the request field that it came in.

    Raises:
        InvalidArgument: raw is not in the grammar (`INVALID_PATH`).
    """
    if not raw:
        raise _refused(field, "must not be empty")
    _check(raw, raw, field)
    return raw


def parse_prefix(raw: str, *, field: str) -> str:
    """The prefix of paths in raw: empty, or in the grammar of a path, with or without a `/` at its end.

    Raises:
        InvalidArgument: raw is not in the grammar (`INVALID_PATH`).
    """
    if raw:
        _check(raw, raw.removesuffix("/"), field)
    return raw


def _check(raw: str, path: str, field: str) -> None:
    too_long = _refused(field, f"must not be longer than {MAX_PATH_BYTES} bytes of UTF-8")
    if len(raw) > MAX_PATH_BYTES:  # before each character is looked at
        raise too_long
    for character in raw:
        _check_character(character, field)
    if len(raw.encode()) > MAX_PATH_BYTES:
        raise too_long
    if any(segment in ("", ".", "..") for segment in path.split("/")):
        raise _refused(field, "must not have an empty, '.' or '..' segment")
    if _ENCODED.search(raw) is not None:
        raise _refused(field, "must not have a percent-encoded separator")
    if not unicodedata.is_normalized("NFC", raw):
        raise _refused(field, "must be in Unicode normalization form C")


def _check_character(character: str, field: str) -> None:
    if character == "\\":
        raise _refused(field, "must not have a backslash")
    if character.isascii():
        if not character.isprintable():
            raise _refused(field, "must not have a control character")
        return
    if unicodedata.category(character) in _HIDDEN:
        raise _refused(field, "must not have a control, format or unassigned character")
    if character in _LOOK_ALIKES or not _MEANINGFUL.isdisjoint(
        unicodedata.normalize("NFKC", character)
    ):
        raise _refused(field, "must not have a character that looks like a separator or a dot")


def _refused(field: str, description: str) -> InvalidArgument:
    return InvalidArgument(field, description, reason=REASON)
