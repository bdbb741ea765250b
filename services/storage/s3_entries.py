"""Single calls on single keys: what is there, and the records beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from boundary.errors import InvalidArgument, Unavailable
from boundary.scope import ObjectPrefix
from services.storage.ports import StoredObject
from services.storage.s3_client import Calls
from services.storage.s3_description import OWN, Label, Present, Record, present_of
from services.storage.s3_errors import Kind, Refused

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

Named = dict[str, str]
"""A key, as `Key`, and a version's id, as `VersionId`, where it is one."""

KeyOf = Callable[[ObjectPrefix], str | None]
"""The KMS key with which a tenant's objects are encrypted, or None for the bucket's own default."""

_GONE = frozenset({"NoSuchKey", "NoSuchVersion"})
_ATTEMPTS = 10
"""How often a read starts again because the object was replaced between its label and its record."""


class Entries:
    """The keys of one region's buckets, one at a time. Raises what Calls.call does, besides what it names."""

    def __init__(self, client: S3Client, calls: Calls, key_of: KeyOf) -> None:
        self.client = client
        self.calls = calls
        self._key_of = key_of

    @staticmethod
    def at(prefix: ObjectPrefix, path: str) -> dict[str, Any]:
        """The arguments that name an object."""
        return {"Bucket": prefix.bucket, "Key": prefix.key(path)}

    def encryption(self, prefix: ObjectPrefix) -> dict[str, Any]:
        """The arguments that encrypt a tenant's object with the tenant's key.

        A bucket key spares a call of KMS for each object (S3 user guide, Bucket Keys).
        """
        key = self._key_of(prefix)
        if key is None:
            return {}
        return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key, "BucketKeyEnabled": True}

    async def find(self, prefix: ObjectPrefix, path: str) -> Present | None:
        """What is at a path."""
        if is_own(path):
            return None
        try:
            answer = await self.calls.call(
                partial(self.client.head_object, **self.at(prefix, path)), provides={Kind.MISSING}
            )
        except Refused:
            return None
        return present_of(answer)

    async def describe(self, prefix: ObjectPrefix, path: str) -> StoredObject | None:
        """The object at a path with all that is known of it.

        Raises:
            Unavailable: it is being replaced over and over, or its record has been lost.
        """
        for _ in range(_ATTEMPTS):
            present = await self.find(prefix, path)
            if present is None:
                return None
            described = await self.described(prefix, path, present)
            if described is not None:
                return described
        raise Unavailable("ENGINE_BUSY", "the object is being replaced over and over")

    async def described(
        self, prefix: ObjectPrefix, path: str, present: Present
    ) -> StoredObject | None:
        """The object that is or was present, or None where it has gone, with its record, since it was read."""
        if present.label is None or not present.label.recorded:
            return present.stored(path, None)
        record = await self.record(prefix, present.label)
        return None if record is None else present.stored(path, record)

    async def record(self, prefix: ObjectPrefix, label: Label) -> Record | None:
        """The record of an object, or None where it has gone."""

        def read() -> bytes:
            answer = self.client.get_object(**self.at(prefix, label.record_path))
            return answer["Body"].read()

        try:
            return Record.from_bytes(await self.calls.call(read, provides={Kind.MISSING}))
        except Refused:
            return None

    async def write_record(self, prefix: ObjectPrefix, label: Label, record: Record) -> None:
        """Writes a record, before the object that it belongs to is there."""
        await self.calls.call(
            partial(
                self.client.put_object,
                **self.at(prefix, label.record_path),
                **self.encryption(prefix),
                Body=record.to_bytes(),
                ChecksumAlgorithm="SHA256",
                ContentType="application/json",
            )
        )

    async def remove_record(self, prefix: ObjectPrefix, label: Label | None) -> None:
        """Removes the record of an object that has gone, or of none that came; a failure is left to a sweep."""
        if label is None or not label.recorded:
            return
        work = partial(self.client.delete_object, **self.at(prefix, label.record_path))
        try:
            await self.calls.call(work, provides=set(Kind))
        except Refused:
            return

    async def delete_all(self, bucket: str, named: Sequence[Named]) -> None:
        """Deletes keys, or versions of them, in one request; those that have gone are no failure.

        An answer that succeeds may name keys that were not deleted (S3 API reference, DeleteObjects): those alone
        are asked for again.

        Raises:
            Unavailable, ResourceExhausted, Internal: as Calls.call, of one that was not deleted; others may be.
        """
        left = list(named)

        def delete() -> None:
            answer: Any = self.client.delete_objects(
                Bucket=bucket,
                Delete={"Objects": left, "Quiet": True},  # type: ignore[typeddict-item]
            )
            errors = [each for each in answer.get("Errors", ()) if each.get("Code") not in _GONE]
            if not errors:
                return
            failed = {(each.get("Key"), each.get("VersionId")) for each in errors}
            left[:] = [
                each for each in left if (each["Key"], each.get("VersionId")) in failed
            ] or left
            error: Any = {"Error": {"Code": errors[0].get("Code", "")}}
            raise ClientError(error, "DeleteObjects")

        await self.calls.call(delete)

    async def is_ours(self, prefix: ObjectPrefix, path: str, label: Label) -> bool:
        """Whether the object at a path is that of one write, whose answer was lost."""
        present = await self.find(prefix, path)
        return present is not None and present.label is not None and present.label.id == label.id


def is_own(path: str) -> bool:
    """Whether a path is in the adapter's own room."""
    return path.startswith(OWN) or path == OWN.rstrip("/")


def refuse_own(path: str) -> None:
    """Returns where a caller may store something at a path.

    Raises:
        InvalidArgument: the path is in the adapter's own room.
    """
    if is_own(path):
        raise InvalidArgument("path", f"{OWN} is reserved", reason="INVALID_PATH")
