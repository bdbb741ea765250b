"""The manifest of an archive: what it consists of, signed, so that nothing in it can be changed unnoticed.

An archive is a folder: parts of JSON lines (`items-00001.jsonl` and so on), the objects' contents under
`objects/{two digits}/{SHA-256}`, and `manifest.json`, which comes last and makes the others an archive. The
manifest is a certificate (boundary/certificates.py) with a section for each store: it lists the parts with their
SHA-256, and the parts that describe objects list each content's. What was changed is therefore named, down to
the line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from boundary.certificates import CertificateError, Sections, verify
from boundary.ids import TenantId

EXPORTS, BACKUPS = "exports", "backups"
"""The folders that archives are in (domain spec, folder structure)."""

KIND = "archive"
"""The type of certificate that a manifest is."""

MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 4 * 1024 * 1024
FORMAT = 1
"""The version of an archive's form."""

ITEMS, EVENTS, OBJECTS = "items", "events", "objects"
STORES = (ITEMS, EVENTS, OBJECTS)
"""What parts hold, in the order in which they are written and read."""

_ARCHIVE = "archive"
_PATH = re.compile(rf"(?:{EXPORTS}|{BACKUPS})/[A-Za-z0-9][A-Za-z0-9._-]{{0,63}}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of an archive: its name, how many lines and bytes it has, and their SHA-256 in hexadecimal."""

    name: str
    count: int
    bytes: int
    sha256: str

    @property
    def store(self) -> str:
        """Whose lines it holds: one of STORES."""
        return self.name.partition("-")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What an archive consists of. Times are in microseconds since the epoch.

    Attributes:
        tenant_id: whose archive it is.
        path: where it was written, below the tenant's prefix; a copy stands elsewhere.
        started_at: when the first part was begun.
        ended_at: when the last part was done.
        content_bytes: how many bytes of content the objects have.
        parts: in the order of their stores, and numbered within each.
    """

    tenant_id: TenantId
    path: str
    started_at: int
    ended_at: int
    content_bytes: int
    parts: Sequence[Part]

    def of(self, store: str) -> list[Part]:
        """The parts of a store, in order."""
        return [part for part in self.parts if part.store == store]

    def count(self, store: str) -> int:
        """How many lines a store's parts have."""
        return sum(part.count for part in self.of(store))


def is_archive(path: str) -> bool:
    """Whether a path is where an archive can be: `exports/{name}` or `backups/{name}`."""
    return _PATH.fullmatch(path) is not None


def content_name(sha256: str) -> str:
    """Where in an archive the content of that SHA-256 is."""
    return f"{OBJECTS}/{sha256[:2]}/{sha256}"


def part_name(store: str, number: int) -> str:
    """The name of a store's part, numbered from 1."""
    return f"{store}-{number:05}.jsonl"


def part_of(value: Mapping[str, Any]) -> Part:
    """A part as `dataclasses.asdict` gives it.

    Raises:
        KeyError, TypeError, ValueError: it is none.
    """
    return Part(
        name=str(value["name"]),
        count=int(value["count"]),
        bytes=int(value["bytes"]),
        sha256=str(value["sha256"]),
    )


def sections_of(manifest: Manifest) -> Sections:
    """What of a manifest is signed."""
    sections: dict[str, dict[str, Any]] = {
        _ARCHIVE: {
            "format": FORMAT,
            "tenant_id": manifest.tenant_id,
            "path": manifest.path,
            "started_at": manifest.started_at,
            "ended_at": manifest.ended_at,
            "content_bytes": manifest.content_bytes,
        }
    }
    for store in STORES:
        parts = [asdict(part) for part in manifest.of(store)]
        sections[store] = {"count": manifest.count(store), "parts": parts}
    return sections


def read_manifest(text: str, *, keys: Mapping[str, bytes]) -> Manifest:
    """The manifest in the content of `manifest.json`.

    Args:
        keys: the public keys by id, raw, whose signatures are believed.

    Raises:
        CertificateError: it is not what was signed, by nobody who is believed, or in no form that is known here.
    """
    sections = verify(text, keys=keys, kind=KIND)
    try:
        return _manifest_of(sections)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CertificateError("sections", "are in no form that this version reads") from error


def _manifest_of(sections: Mapping[str, Mapping[str, Any]]) -> Manifest:
    archive = sections[_ARCHIVE]
    if archive["format"] != FORMAT:
        raise ValueError("an archive of another form")
    parts = []
    for store in STORES:
        of_store = [part_of(value) for value in sections[store]["parts"]]
        names = [part_name(store, number) for number, _ in enumerate(of_store, 1)]
        if [part.name for part in of_store] != names:
            raise ValueError("the parts are out of order")
        parts += of_store
    return Manifest(
        tenant_id=TenantId(str(archive["tenant_id"])),
        path=str(archive["path"]),
        started_at=int(archive["started_at"]),
        ended_at=int(archive["ended_at"]),
        content_bytes=int(archive["content_bytes"]),
        parts=parts,
    )
