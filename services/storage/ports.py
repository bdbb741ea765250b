"""The objects port, shaped by what S3 does: whole objects, conditions on etags, pages by key, no renames."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Protocol, Self

from boundary.errors import OutOfRange
from boundary.scope import ObjectPrefix

MAX_LISTED = 1000
"""The most entries in a page, and the most paths that one call deletes (S3 API reference, ListObjectsV2 and
DeleteObjects)."""

MAX_OBJECT_BYTES = 5 * 1024**4
"""The largest object (S3 user guide: 5 TB)."""

CHUNK_BYTES = 1024 * 1024
"""The size of the pieces in which content is read: the fastest message size through the gateway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """An object without its content.

    Attributes:
        path: the path below the tenant's prefix.
        size: bytes of content.
        content_type: the media type.
        sha256: the content's SHA-256 in lower-case hexadecimal.
        etag: differs after every write; printable ASCII without quotes.
        metadata: the uploader's own.
        update_time: when this content was stored, in UTC.
        key_version: the version of the tenant's data key that it is encrypted under; 0 in the clear.
    """

    path: str
    size: int
    content_type: str
    sha256: str
    etag: str
    metadata: Mapping[str, str]
    update_time: datetime
    key_version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """What to store beside the content, and under which conditions.

    Attributes:
        content_type: the media type.
        metadata: the uploader's own.
        sha256: the SHA-256 that the content must have, in lower-case hexadecimal; any where empty.
        create_only: only where no object has the path.
        if_match: only over the object with this etag; over any or none where empty.
    """

    content_type: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    sha256: str = ""
    create_only: bool = False
    if_match: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A range of an object's content.

    Attributes:
        offset: the first byte; a negative one counts from the end.
        length: how many bytes at the most; to the end where 0.
    """

    offset: int = 0
    length: int = 0

    def within(self, size: int) -> tuple[int, int]:
        """The first byte and the count of bytes of this range in content of size bytes.

        A range that begins inside ends at the content's end at the latest, and a suffix longer than the
        content is all of it (RFC 9110, section 14.1.2).

        Raises:
            OutOfRange: the range begins at or beyond the end of the content.
        """
        start = self.offset if self.offset >= 0 else max(0, size + self.offset)
        if (start >= size and start > 0) or (size == 0 and self.offset < 0):
            raise OutOfRange(
                "RANGE_BEYOND_END",
                f"the range begins beyond the object's {size} bytes",
                field="offset",
                metadata={"size": str(size)},
            )
        left = size - start
        return start, min(self.length, left) if self.length else left


WHOLE = Span()
"""All of an object's content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A page of a list.

    Attributes:
        objects: by path, as UTF-8 bytes.
        folders: the paths up to and with the delimiter under which deeper paths were folded, in order.
        position: asks for the next page; None on the last.
    """

    objects: Sequence[StoredObject]
    folders: Sequence[str]
    position: bytes | None


class Content(Protocol):
    """An object's content, consistent even where the object is replaced or deleted meanwhile.

    Use it in `async with`, which lets go of what the engine holds for it.

    Attributes:
        object: what the content belongs to.
        start: the first byte of the range that was asked for.
        length: how many bytes the range has.
    """

    object: StoredObject
    start: int
    length: int

    def chunks(self) -> AsyncIterator[bytes]:
        """The content, in pieces of CHUNK_BYTES at the most. Can be iterated once.

        Raises:
            Unavailable: the engine cannot go on.
        """

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class Objects(Protocol):
    """The bucket. Paths are in the grammar of services.storage.paths and stay below the given prefix.

    Every call may raise boundary.errors.Unavailable where the engine does not answer, and those that store
    something ResourceExhausted (`STORAGE_FULL`) where it has no space left; nothing was changed then.
    """

    async def put(
        self, prefix: ObjectPrefix, path: str, content: AsyncIterator[bytes], upload: Upload
    ) -> StoredObject:
        """Stores content whose size need not be known in advance; the object appears whole or not at all.

        What the iterator raises ends the upload and is raised here. When this returns, the object is
        durable. Memory does not grow with the content.

        Raises:
            AlreadyExists: create_only, and the path is taken.
            Aborted: if_match, and the object's etag is another or there is no object.
            InvalidArgument: the content's SHA-256 is not the expected one (`CHECKSUM_MISMATCH`).
        """

    async def get(
        self, prefix: ObjectPrefix, path: str, *, span: Span = WHOLE, if_match: str = ""
    ) -> Content:
        """The content of an object or of a range of it.

        Raises:
            NotFound: there is no object.
            Aborted: if_match, and the object's etag is another.
            OutOfRange: the range begins beyond the content.
        """

    async def head(self, prefix: ObjectPrefix, path: str) -> StoredObject | None:
        """The object without its content, or None."""

    async def list(
        self,
        prefix: ObjectPrefix,
        *,
        under: str,
        folded: bool,
        limit: int,
        position: bytes | None = None,
    ) -> Listing:
        """A page of at most limit objects and folders together, in the order of their UTF-8 bytes.

        Args:
            under: what the paths begin with; need not end at a folder.
            folded: whether paths with a `/` beyond `under` are folded into folders.
            limit: 1 to MAX_LISTED.
            position: the position of the page before, of the same list.
        """

    async def copy(
        self,
        prefix: ObjectPrefix,
        source: str,
        destination: str,
        *,
        source_if_match: str = "",
        create_only: bool = False,
    ) -> StoredObject:
        """Copies an object with its content type and metadata, without passing its content through here.

        Raises:
            NotFound: there is no source.
            Aborted: source_if_match, and the source's etag is another.
            AlreadyExists: create_only, and the destination is taken.
        """

    async def delete(self, prefix: ObjectPrefix, path: str, *, if_match: str = "") -> None:
        """Deletes an object.

        Raises:
            NotFound: there is no object.
            Aborted: if_match, and the object's etag is another.
        """

    async def delete_many(self, prefix: ObjectPrefix, paths: Sequence[str]) -> int:
        """Deletes up to MAX_LISTED objects, and says how many there were.

        Raises:
            Unavailable, ResourceExhausted, Internal: one could not be deleted; others may have been.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What there is, or was, under a prefix.

    Attributes:
        objects: objects; in a bucket with versions, those that are not deleted.
        noncurrent: older versions of objects, and versions of deleted ones.
        markers: delete markers.
        uploads: uploads in parts that have not ended.
        records: what the adapter itself keeps beside objects.
        complete: whether everything has been counted, or taken away.
    """

    objects: int = 0
    noncurrent: int = 0
    markers: int = 0
    uploads: int = 0
    records: int = 0
    complete: bool = False

    @property
    def count(self) -> int:
        """All together."""
        return self.objects + self.noncurrent + self.markers + self.uploads + self.records

    def plus(self, other: Contents) -> Contents:
        """Both together, as yet incomplete."""
        return Contents(
            objects=self.objects + other.objects,
            noncurrent=self.noncurrent + other.noncurrent,
            markers=self.markers + other.markers,
            uploads=self.uploads + other.uploads,
            records=self.records + other.records,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """An object or a version of one, as far as a survey looks at it: its path and the uploader's metadata."""

    path: str
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewritten:
    """How far a rewriting of metadata has come.

    Attributes:
        examined: objects and versions looked at.
        objects: objects that got other metadata.
        versions: older versions that were deleted, because their metadata cannot be changed.
        complete: whether it has ended.
    """

    examined: int = 0
    objects: int = 0
    versions: int = 0
    complete: bool = False


Rewrite = Callable[[Mapping[str, str]], Mapping[str, str]]
"""What metadata is to be; equal to what it is given where that may stay."""


class PurgeableObjects(Objects, Protocol):
    """A bucket from which a tenant's prefix can be taken away, with what its lists no longer show.

    Everything here is repeatable after any failure. A prefix is meant with its slash: a neighbour whose name goes
    on where the tenant's ends is untouched.
    """

    def purge(self, prefix: ObjectPrefix) -> AsyncIterator[Contents]:
        """Deletes everything under the prefix; says what it has deleted so far, after every step.

        Returns when nothing is found any more. Nothing of it stands in a file of an engine of our own then.
        """

    def survey(self, prefix: ObjectPrefix) -> AsyncIterator[Contents]:
        """Counts everything under the prefix; says what it has counted so far, after every page."""

    def described(self, prefix: ObjectPrefix) -> AsyncIterator[Sequence[Described]]:
        """All objects and older versions under the prefix, a page at a time."""

    def rewrite(self, prefix: ObjectPrefix, rewrite: Rewrite) -> AsyncIterator[Rewritten]:
        """Gives every object the metadata that rewrite makes of its own; the content stays.

        An object that changes gets a new etag. Nothing of the metadata before stands in the bucket then, in older
        versions neither: those that have it are deleted.
        """
