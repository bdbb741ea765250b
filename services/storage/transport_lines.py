"""Objects described in a line of JSON each, as an archive has them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from typing import Any

import orjson

from boundary.errors import InvalidArgument
from boundary.json_lines import bad_line
from services.storage.archive_paths import is_archived
from services.storage.attributes import parse_content_type, parse_metadata, parse_sha256
from services.storage.paths import parse_path
from services.storage.ports import StoredObject, Upload


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """An object as an archive describes it: its path, its size, and what to store beside its content."""

    path: str
    size: int
    upload: Upload


def line_of(stored: StoredObject) -> bytes:
    """The line of an object."""
    return orjson.dumps(
        {
            "path": stored.path,
            "size": stored.size,
            "sha256": stored.sha256,
            "content_type": stored.content_type,
            "metadata": dict(sorted(stored.metadata.items())),
            "update_time": stored.update_time.astimezone(UTC).isoformat(),
        }
    )


def content_line_of(stored: StoredObject) -> bytes:
    """What of an object is the same in every place of the tenant, as a line to add up."""
    return orjson.dumps(
        [
            stored.path,
            stored.size,
            stored.sha256,
            stored.content_type,
            sorted(stored.metadata.items()),
        ]
    )


def digest_in(number: int, line: bytes) -> bytes:
    """The SHA-256 that a line gives, of which nothing else is looked at.

    Raises:
        InvalidArgument: the line is none; the error names it.
    """
    try:
        return bytes.fromhex(orjson.loads(line)["sha256"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise bad_line(number, "describes no object") from error


def described_in(number: int, line: bytes) -> Described:
    """The object that a line describes, checked like one that a caller stores.

    Raises:
        InvalidArgument: the line is none; the error names it.
    """
    try:
        value: Any = orjson.loads(line)
        path, size, sha256 = value["path"], value["size"], value["sha256"]
        content_type, metadata = value["content_type"], value["metadata"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise bad_line(number, "describes no object") from error
    texts = (path, sha256, content_type)
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in texts):
        raise bad_line(number, "describes no object")
    if not all(isinstance(text, str) for entry in metadata.items() for text in entry):
        raise bad_line(number, "describes no object")
    try:
        described = Described(
            path=parse_path(path, field="path"),
            size=int(size),
            upload=Upload(
                content_type=parse_content_type(content_type, field="content_type"),
                metadata=parse_metadata(metadata, field="metadata"),
                sha256=parse_sha256(sha256, field="sha256"),
            ),
        )
    except (InvalidArgument, ValueError, TypeError) as error:
        description = error.message if isinstance(error, InvalidArgument) else "has no size"
        raise bad_line(number, description) from error
    if not sha256 or is_archived(path):
        raise bad_line(number, "describes no object outside of the archives")
    return described
