"""What the fields of a resource may hold. Every rule raises InvalidArgument with the field's path."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from boundary.errors import InvalidArgument
from services.table.ports import MAX_ITEM_BYTES

Rule = Callable[[Any, str], None]

MAX_LABELS = 64
MAX_LABEL_KEY = 63
MAX_LABEL_VALUE = 255
MAX_EMAIL = 254
MAX_RECIPIENTS = MAX_ITEM_BYTES // 16
"""No item holds more: the shortest recipient takes 16 bytes by DynamoDB's rule."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_CONTROL_BUT_LINES = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_ENTITY_ID = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
# The dot-atom form of RFC 5321, in ASCII as Amazon SES takes it; domains in punycode.
_EMAIL = re.compile(
    r"(?=.{1,64}@)[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
    r"(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)+"
)


def line(*, at_most: int, at_least: int = 0) -> Rule:
    """Text of one line: no control characters, so that it can go into a message's header."""

    def check(text: str, path: str) -> None:
        _require_length(text, path, at_least, at_most)
        if _CONTROL.search(text):
            raise InvalidArgument(path, "must not hold control characters")
        if at_least and not text.strip():
            raise InvalidArgument(path, "must not be blank")

    return check


def text(*, at_most: int) -> Rule:
    """Text that may have several lines."""

    def check(value: str, path: str) -> None:
        _require_length(value, path, 0, at_most)
        if _CONTROL_BUT_LINES.search(value):
            raise InvalidArgument(path, "must not hold control characters")

    return check


def email(address: str, path: str) -> None:
    """An e-mail address, or nothing."""
    if address and (len(address) > MAX_EMAIL or _EMAIL.fullmatch(address) is None):
        raise InvalidArgument(
            path,
            f"must be an e-mail address of up to {MAX_EMAIL} ASCII characters",
            reason="INVALID_EMAIL",
        )


def required_email(address: str, path: str) -> None:
    """An e-mail address."""
    if not address:
        raise InvalidArgument(path, "is required", reason="REQUIRED_FIELD")
    email(address, path)


def reference(collection: str) -> Rule:
    """The name of another resource, or nothing. Whether it is there is not asked."""
    pattern = re.compile(f"{collection}/{_ENTITY_ID}")

    def check(name: str, path: str) -> None:
        if name and pattern.fullmatch(name) is None:
            raise InvalidArgument(
                path, f"must be a name such as {collection}/welcome", reason="INVALID_NAME"
            )

    return check


def labels(entries: Mapping[str, str], path: str) -> None:
    """Free labels."""
    if len(entries) > MAX_LABELS:
        raise InvalidArgument(path, f"must hold at most {MAX_LABELS} labels")
    for key, value in entries.items():
        if not 1 <= len(key) <= MAX_LABEL_KEY or _CONTROL.search(key):
            raise InvalidArgument(
                path, f"a key must be 1 to {MAX_LABEL_KEY} characters, none of them control ones"
            )
        if len(value) > MAX_LABEL_VALUE or _CONTROL.search(value):
            raise InvalidArgument(
                path,
                f"a value must be up to {MAX_LABEL_VALUE} characters, none of them control ones",
            )


def recipients(entries: Sequence[Any], path: str) -> None:
    """Recipients: each has an address, and a name of one line."""
    if len(entries) > MAX_RECIPIENTS:
        raise InvalidArgument(
            path, f"must hold at most {MAX_RECIPIENTS} recipients", reason="ITEM_TOO_LARGE"
        )
    name = line(at_most=200)
    for index, recipient in enumerate(entries):
        required_email(recipient.email, f"{path}[{index}].email")
        name(recipient.display_name, f"{path}[{index}].display_name")
        if "" in recipient.attributes:
            raise InvalidArgument(f"{path}[{index}].attributes", "must not hold an empty key")


def time_zone(name: str, path: str) -> None:
    """A time zone of the IANA database, or nothing."""
    if name and name not in _time_zones():
        raise InvalidArgument(
            path,
            "must be a time zone of the IANA database, for example Europe/Berlin",
            reason="INVALID_TIME_ZONE",
        )


@lru_cache(maxsize=1)
def _time_zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


def _require_length(value: str, path: str, at_least: int, at_most: int) -> None:
    if not value and at_least:
        raise InvalidArgument(path, "is required", reason="REQUIRED_FIELD")
    if not at_least <= len(value) <= at_most:
        lengths = f"{at_least} to {at_most}" if at_least else f"up to {at_most}"
        raise InvalidArgument(path, f"must be {lengths} characters")
