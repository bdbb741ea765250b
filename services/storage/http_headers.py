"""HTTP header fields of signed URLs: ranges, etags, download names."""

from __future__ import annotations

import re
from urllib.parse import quote

from services.storage.ports import Span

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)
_UNSAFE_IN_QUOTES = re.compile(r'[^\x20-\x7e]|["\\%]')

SAFETY = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "private, no-cache",
}
"""On every answer: content is the tenants' own and all of them share this origin, and the URL is a secret."""


def parse_range(raw: str) -> Span | None:
    """The one range of a Range field, or None where the field is to be ignored.

    That is where it is malformed or has several ranges (RFC 9110, section 14.2).
    """
    match = _RANGE.fullmatch(raw.strip())
    if match is None:
        return None
    first, last = match.groups()
    if not first:
        # `-0` asks for no bytes at all and has no Span; the whole is as good an answer.
        return Span(offset=-int(last)) if last and int(last) else None
    if not last:
        return Span(offset=int(first))
    length = int(last) - int(first) + 1
    return Span(offset=int(first), length=length) if length > 0 else None


def content_range(start: int, length: int, size: int) -> str:
    """The Content-Range field of a part."""
    return f"bytes {start}-{start + length - 1}/{size}"


def etags_of(raw: str) -> list[str]:
    """The entity tags of an If-Match or If-None-Match field, without quotes and weakness; `*` is itself."""
    tags = (tag.strip().removeprefix("W/") for tag in raw.split(","))
    return [tag.strip('"') for tag in tags if tag]


def quoted(etag: str) -> str:
    """An etag as HTTP writes it."""
    return f'"{etag}"'


def content_disposition(name: str) -> str:
    """The Content-Disposition field that saves under a name of any characters (RFC 6266, appendix D)."""
    fallback = _UNSAFE_IN_QUOTES.sub("_", name)
    return f"attachment; filename=\"{fallback}\"; filename*=UTF-8''{quote(name, safe='')}"
