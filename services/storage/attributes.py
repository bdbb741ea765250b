"""The grammar of what an object carries beside its content: media type, metadata, digest, download name.

All of it ends up in HTTP headers one day (S3 user metadata, presigned downloads), so all of it is header-safe: no
CR, no LF, nothing that a header would not carry as it is.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

from boundary.errors import InvalidArgument

DEFAULT_CONTENT_TYPE = "application/octet-stream"

MAX_METADATA_BYTES = 2048
"""Of all keys and values together (S3 user guide, user-defined object metadata)."""

_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"  # noqa: S105 - RFC 9110's word for it, section 5.6.2
_QUOTED = r'"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\[\x20-\x7e])*"'
_CONTENT_TYPE = re.compile(rf"{_TOKEN}/{_TOKEN}(?: ?; ?{_TOKEN}=(?:{_TOKEN}|{_QUOTED}))*")
_METADATA_KEY = re.compile(r"[a-z0-9-]{1,128}")
_METADATA_VALUE = re.compile(r"(?:[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)?")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def parse_content_type(raw: str, *, field: str) -> str:
    """The media type in raw (RFC 9110, section 8.3.1), up to 255 characters; DEFAULT_CONTENT_TYPE where empty.

    Raises:
        InvalidArgument: raw is no media type.
    """
    if not raw:
        return DEFAULT_CONTENT_TYPE
    if len(raw) > 255 or _CONTENT_TYPE.fullmatch(raw) is None:
        raise InvalidArgument(
            field, "must be a media type, such as text/html; charset=utf-8", reason="INVALID_TYPE"
        )
    return raw


def parse_metadata(raw: Mapping[str, str], *, field: str) -> dict[str, str]:
    """The uploader's own metadata: keys of `a-z 0-9 -`, values of printable ASCII without spaces at the ends.

    Raises:
        InvalidArgument: a key or value is out of grammar, or all together are over MAX_METADATA_BYTES.
    """
    if len(raw) > MAX_METADATA_BYTES:  # every key has a byte at least; count before looking at each
        raise InvalidArgument(field, f"must not be larger than {MAX_METADATA_BYTES} bytes")
    for key, value in raw.items():
        if _METADATA_KEY.fullmatch(key) is None:
            raise InvalidArgument(field, "keys must be 1 to 128 of a-z, 0-9 and -")
        if _METADATA_VALUE.fullmatch(value) is None:
            raise InvalidArgument(
                field, "values must be printable ASCII without spaces at their ends"
            )
    if sum(len(key) + len(value) for key, value in raw.items()) > MAX_METADATA_BYTES:
        raise InvalidArgument(field, f"must not be larger than {MAX_METADATA_BYTES} bytes")
    return dict(raw)


def parse_sha256(raw: str, *, field: str) -> str:
    """The SHA-256 in raw: 64 lower-case hexadecimal digits, or empty.

    Raises:
        InvalidArgument: raw is neither.
    """
    if raw and _SHA256.fullmatch(raw) is None:
        raise InvalidArgument(field, "must be 64 lower-case hexadecimal digits")
    return raw


def parse_etag(raw: str, *, field: str) -> str:
    """The etag in raw: up to 128 printable ASCII characters without quotes, or empty.

    Raises:
        InvalidArgument: raw can be no etag.
    """
    if len(raw) > 128 or not raw.isascii() or (raw and not raw.isprintable()) or '"' in raw:
        raise InvalidArgument(field, "is not an etag")
    return raw


def parse_download_name(raw: str, *, field: str) -> str:
    """The file name in raw, up to 255 bytes of UTF-8 without separators and control characters, or empty.

    Raises:
        InvalidArgument: raw is no such name.
    """
    if len(raw) > 255:
        raise InvalidArgument(field, "must be a file name of at most 255 bytes")
    if any(unicodedata.category(character) in _UNPRINTABLE for character in raw):
        raise InvalidArgument(field, "must not have a control, format or unassigned character")
    if len(raw.encode()) > 255 or "/" in raw or "\\" in raw or raw in (".", ".."):
        raise InvalidArgument(field, "must be a file name of at most 255 bytes")
    return raw
