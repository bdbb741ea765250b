"""What an S3 object says about itself: a label in its metadata and, where that cannot hold all, a record.

S3 fixes an object's metadata when its upload begins. The SHA-256 of content that streams through is known only
at its end, and metadata cannot change without another copy of the content. So an upload in parts whose digest
was not announced has a *record*: a small object under the tenant's own `.silo/records/`, named by the id in the
object's label. It is written **before** the parts become the object and never changed, hence nobody ever sees
the object without its digest, whatever crashes when. A record without an object is a leftover, which `sweep`
removes.

The ways not taken: a copy to the final key with the right metadata stores everything twice and halves the
throughput; tags are written after the object is visible; S3's own SHA-256 of an upload in parts is a digest of
digests.

The record also takes the uploader's metadata where S3 would not: more than 2 KB with the label, not ASCII, or a
key of ours.

The label's id is the port's etag. S3's ETag is not: it is the content's MD5, so the same content written again
has the same one, and a writer who came between would be overlooked.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from services.storage.attributes import MAX_METADATA_BYTES
from services.storage.ports import StoredObject

OWN = ".silo/"
"""What lies under this, below a tenant's prefix, is the adapter's; callers neither see nor reach it."""

RECORDS = OWN + "records/"

_KEY = "silo"
_LABEL = re.compile(r"1\.([0-9a-f]{32})\.([0-9]{1,20})\.([0-9a-f]{64}|-)\.([im])")
_PLAIN = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_PLAIN_KEY = re.compile(r"[a-z0-9-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What stands in the metadata of every object that the adapter writes.

    Attributes:
        id: of this one write; the port's etag, and the name of the record.
        time_us: when the write began, in microseconds since the epoch. For an upload in parts S3 dates the object
            from then, too.
        sha256: the content's digest, or empty where the record has it.
        metadata_aside: whether the record has the uploader's metadata.
    """

    id: str
    time_us: int
    sha256: str
    metadata_aside: bool

    @property
    def recorded(self) -> bool:
        """Whether there is a record."""
        return self.metadata_aside or not self.sha256

    @property
    def record_path(self) -> str:
        """The record's path below the tenant's prefix."""
        return RECORDS + self.id

    def metadata(self, own: Mapping[str, str]) -> dict[str, str]:
        """The S3 metadata of an object with the uploader's own metadata."""
        where = "m" if self.metadata_aside else "i"
        label = f"1.{self.id}.{self.time_us}.{self.sha256 or '-'}.{where}"
        return {_KEY: label} if self.metadata_aside else {**own, _KEY: label}


def new_label(sha256: str, metadata: Mapping[str, str]) -> Label:
    """A label for a write that begins now, of content with a digest or, where that is empty, one not yet known."""
    return Label(
        id=secrets.token_hex(16),
        time_us=round(datetime.now(UTC).timestamp() * 1e6),
        sha256=sha256,
        metadata_aside=not _fits(metadata),
    )


def _fits(metadata: Mapping[str, str]) -> bool:
    label = len(_KEY) + len(f"1.{'0' * 32}.{'0' * 16}.{'0' * 64}.i")
    size = sum(len(key) + len(value) for key, value in metadata.items())
    return size + label <= MAX_METADATA_BYTES and all(
        key != _KEY and _PLAIN_KEY.fullmatch(key) and _PLAIN.fullmatch(value)
        for key, value in metadata.items()
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What a label has no room for.

    Attributes:
        path: the object's, by which a sweep finds it.
        sha256: the content's digest.
        metadata: the uploader's own.
    """

    path: str
    sha256: str
    metadata: Mapping[str, str]

    def to_bytes(self) -> bytes:
        """The record as it is stored."""
        fields = {"path": self.path, "sha256": self.sha256, "metadata": dict(self.metadata)}
        return json.dumps(fields).encode()

    @classmethod
    def from_bytes(cls, raw: bytes) -> Record:
        """The record that was stored."""
        fields = json.loads(raw)
        return cls(path=fields["path"], sha256=fields["sha256"], metadata=fields["metadata"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """An object as S3 describes it.

    Attributes:
        size: bytes of the whole content.
        content_type: the media type.
        metadata: S3's user metadata with the label.
        label: the label in it; None for an object that something else wrote.
        s3_etag: S3's ETag with its quotes, for conditions.
        version: the version id, or empty in a bucket without versions.
        modified: when S3 says that it was stored.
    """

    size: int
    content_type: str
    metadata: Mapping[str, str]
    label: Label | None
    s3_etag: str
    version: str
    modified: datetime

    @property
    def etag(self) -> str:
        """The port's etag."""
        return self.label.id if self.label is not None else self.s3_etag.strip('"')

    def stored(self, path: str, record: Record | None) -> StoredObject:
        """The object of the port. One that something else wrote has no known digest, which is then empty."""
        own = {key: value for key, value in self.metadata.items() if key != _KEY}
        return StoredObject(
            path=path,
            size=self.size,
            content_type=self.content_type,
            sha256=record.sha256 if record else (self.label.sha256 if self.label else ""),
            etag=self.etag,
            metadata=record.metadata
            if record and self.label and self.label.metadata_aside
            else own,
            update_time=(
                datetime.fromtimestamp(self.label.time_us / 1e6, UTC)
                if self.label is not None
                else self.modified
            ),
        )


def present_of(answer: Mapping[str, Any]) -> Present:
    """What the answer to HeadObject or GetObject, of all of the content or a range, describes."""
    ranged = answer.get("ContentRange", "")
    version = answer.get("VersionId", "")
    metadata = answer.get("Metadata", {})
    return Present(
        size=int(ranged.rpartition("/")[2]) if ranged else answer["ContentLength"],
        content_type=answer.get("ContentType", ""),
        metadata=metadata,
        label=_label_of(metadata),
        s3_etag=answer["ETag"],
        version="" if version == "null" else version,
        modified=answer["LastModified"],
    )


def _label_of(metadata: Mapping[str, str]) -> Label | None:
    match = _LABEL.fullmatch(metadata.get(_KEY, ""))
    if match is None:
        return None
    id_, time_us, sha256, where = match.groups()
    return Label(
        id=id_,
        time_us=int(time_us),
        sha256="" if sha256 == "-" else sha256,
        metadata_aside=where == "m",
    )
