"""The tenants' keys in AWS KMS: a KMS key for each tenant, found by its alias.

`alias/silo/tenant-{slug}` names the key that serves. A destroyed key loses that alias at once and is kept under
`alias/silo/destroyed/tenant-{slug}` until KMS erases it. Every call names the alias and carries tenant and purpose
as its encryption context, which is what tenants' session policies ask for (services/aws/policies/keys.json).
"""

from __future__ import annotations

import asyncio
import logging
import random
import struct
import zlib
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Protocol, TypeVar

import boto3
import botocore.session
from botocore.config import Config
from botocore.credentials import CredentialProvider, CredentialResolver, Credentials
from botocore.exceptions import BotoCoreError, ClientError

from boundary.errors import ResourceExhausted, Unavailable
from boundary.scope import TenantKey
from services.keys.ports import (
    MAX_WRAPPED_BYTES,
    DataKey,
    KeyDescription,
    KeyDestroyed,
    KeyDisabled,
    KeyMissing,
    KeyState,
    WrappedKeyInvalid,
    require_data_key,
    require_purpose,
)

if TYPE_CHECKING:
    from types_boto3_kms import KMSClient

T = TypeVar("T")

_log = logging.getLogger(__name__)

KMS_CONFIG = Config(
    connect_timeout=2,
    read_timeout=5,
    retries={
        "mode": "standard",
        "total_max_attempts": 1,
    },  # this module retries what may be repeated
    max_pool_connections=8,
)
"""What clients for this adapter are built with."""

KmsCredentials = Credentials
"""What clients for this adapter sign with."""

_ATTEMPTS = 3
_BACKOFF_SECONDS = 0.1
_FRAME = struct.Struct(">4sI")
_MAGIC = b"SMK1"
_BUDGET_SECONDS = 2.0
"""A call that took longer than this altogether is not made again."""

_CALL_SECONDS = 8.0
_THROTTLED = {"ThrottlingException", "Throttling", "LimitExceededException", "RequestLimitExceeded"}
_NOT_IMPLEMENTED = 501
_ABSENT = "NotFoundException"
_GONE_STATES = {"PendingDeletion", "PendingReplicaDeletion"}


class Calls(Protocol):
    """Runs blocking calls on threads of a bounded number, in the context of the caller."""

    async def run(self, work: Callable[[], T]) -> T:
        """What work returns; see services.aws.botocore_credentials.TenantCalls."""


class KmsKeys:
    """Keys in KMS (services.keys.ports.TenantKeys).

    A service gives it clients that sign for the current tenant and uses DataKeys alone; keys are made and
    destroyed under an identity that administers keys.
    """

    def __init__(
        self,
        clients: Mapping[str, KMSClient],
        *,
        calls: Calls,
        erase_after_days: int = 30,
    ) -> None:
        """Takes what was built elsewhere.

        Args:
            clients: one shared client, built with KMS_CONFIG, for each region of the placement.
            calls: the threads that the clients are called on.
            erase_after_days: how long KMS keeps a destroyed key, 7 to 30; until then its administrator could
                bring it back.

        Raises:
            ValueError: KMS keeps no key for that long.
        """
        if not 7 <= erase_after_days <= 30:
            raise ValueError("KMS erases a key after 7 to 30 days")
        self._clients = dict(clients)
        self._calls = calls
        self._erase_after_days = erase_after_days

    async def generate(self, key: TenantKey, *, purpose: str) -> DataKey:
        """See DataKeys.generate."""
        client = self._client(key)
        answer = await self._serve(
            key,
            lambda: client.generate_data_key(
                KeyId=_alias(key), KeySpec="AES_256", EncryptionContext=_context(key, purpose)
            ),
        )
        return DataKey(plaintext=answer["Plaintext"], wrapped=_framed(answer["CiphertextBlob"]))

    async def wrap(self, key: TenantKey, plaintext: bytes, *, purpose: str) -> bytes:
        """See DataKeys.wrap."""
        require_data_key(plaintext)
        client = self._client(key)
        answer = await self._serve(
            key,
            lambda: client.encrypt(
                KeyId=_alias(key), Plaintext=plaintext, EncryptionContext=_context(key, purpose)
            ),
        )
        return _framed(answer["CiphertextBlob"])

    async def unwrap(self, key: TenantKey, wrapped: bytes, *, purpose: str) -> bytes:
        """See DataKeys.unwrap."""
        context = _context(key, purpose)
        client = self._client(key)
        ciphertext = _unframed(wrapped)
        answer = await self._serve(
            key,
            lambda: client.decrypt(
                KeyId=_alias(key), CiphertextBlob=ciphertext, EncryptionContext=context
            ),
        )
        return answer["Plaintext"]

    async def create(self, key: TenantKey) -> KeyDescription:
        """See TenantKeys.create."""
        found = await self.describe(key)
        if found is not None:
            if found.state is KeyState.DESTROYED:
                raise KeyDestroyed
            return found
        client = self._client(key)
        made = await self._call(
            lambda: client.create_key(
                Description=f"Silo, {key.name}",
                KeySpec="SYMMETRIC_DEFAULT",
                KeyUsage="ENCRYPT_DECRYPT",
                Tags=[{"TagKey": "SiloTenant", "TagValue": key.tenant_id}],
            )
        )
        key_id = made["KeyMetadata"]["KeyId"]
        await self._repeated(lambda: client.enable_key_rotation(KeyId=key_id))
        try:
            await self._repeated(
                lambda: client.create_alias(AliasName=_alias(key), TargetKeyId=key_id)
            )
        except ClientError as error:
            if _code(error) != "AlreadyExistsException":
                raise _unserved(error) from error
            await self._drop_spare(key, key_id)
        found = await self.describe(key)
        if found is None or found.state is KeyState.DESTROYED:
            raise KeyDestroyed
        return found

    async def describe(self, key: TenantKey) -> KeyDescription | None:
        """See TenantKeys.describe."""
        try:
            return await self._described(key, _alias(key)) or await self._described(
                key, _destroyed_alias(key)
            )
        except ClientError as error:
            raise _unserved(error) from error

    async def rotate(self, key: TenantKey) -> None:
        """See TenantKeys.rotate. KMS also rotates each key once a year by itself.

        A server that does not know the call leaves the key as it is: the data keys that are made from now on are
        new ones all the same.
        """
        key_id = await self._serving(key)
        client = self._client(key)
        try:
            await self._call(lambda: client.rotate_key_on_demand(KeyId=key_id))
        except ClientError as error:
            if _status(error) == _NOT_IMPLEMENTED:
                _log.warning("the KMS of %s does not rotate keys on demand", key.region)
            elif _code(error) != "ConflictException":  # a rotation is under way: it is ours as well
                raise await self._reason(key, error) from error

    async def destroy(self, key: TenantKey) -> KeyDescription:
        """See TenantKeys.destroy. The order lets a call that was cut off be made again."""
        found = await self.describe(key)
        if found is None:
            raise KeyMissing
        client, key_id = self._client(key), found.key_id
        await self._settle(lambda: client.disable_key(KeyId=key_id))
        await self._settle(
            lambda: client.create_alias(AliasName=_destroyed_alias(key), TargetKeyId=key_id)
        )
        await self._settle(lambda: client.delete_alias(AliasName=_alias(key)))
        await self._settle(
            lambda: client.schedule_key_deletion(
                KeyId=key_id, PendingWindowInDays=self._erase_after_days
            )
        )
        destroyed = await self.describe(key)
        if destroyed is None:
            raise KeyMissing
        return destroyed

    async def _drop_spare(self, key: TenantKey, key_id: str) -> None:
        """Gives up a key that was made while another process made the tenant's."""
        client = self._client(key)
        _log.info("a spare key of %s is given up", key.name)
        await self._settle(
            lambda: client.schedule_key_deletion(KeyId=key_id, PendingWindowInDays=7)
        )

    async def _described(self, key: TenantKey, alias: str) -> KeyDescription | None:
        client = self._client(key)
        try:
            answer = await self._repeated(lambda: client.describe_key(KeyId=alias))
        except ClientError as error:
            if _code(error) == _ABSENT:
                return None
            raise
        metadata = answer["KeyMetadata"]
        gone_at: datetime | None = metadata.get("DeletionDate")
        if alias == _destroyed_alias(key) or metadata["KeyState"] in _GONE_STATES:
            state = KeyState.DESTROYED
        else:
            enabled = metadata["KeyState"] == "Enabled"
            state = KeyState.ENABLED if enabled else KeyState.DISABLED
        return KeyDescription(
            key_id=metadata["KeyId"],
            state=state,
            created_at=metadata["CreationDate"],
            gone_at=gone_at,
        )

    async def _serving(self, key: TenantKey) -> str:
        found = await self.describe(key)
        if found is None:
            raise KeyMissing
        if found.state is KeyState.DESTROYED:
            raise KeyDestroyed
        if found.state is KeyState.DISABLED:
            raise KeyDisabled
        return found.key_id

    async def _serve(self, key: TenantKey, work: Callable[[], T]) -> T:
        """A call that uses the tenant's key. It may be repeated: a data key that nobody received is none."""
        try:
            return await self._repeated(work)
        except ClientError as error:
            raise await self._reason(key, error) from error

    async def _reason(self, key: TenantKey, error: ClientError) -> Exception:
        """What a refused use of the tenant's key means."""
        code = _code(error)
        if code in {"InvalidCiphertextException", "IncorrectKeyException"}:
            return WrappedKeyInvalid()
        if code == "DisabledException":
            return KeyDisabled()
        if code not in {_ABSENT, "KMSInvalidStateException"}:
            return _unserved(error)
        found = await self.describe(key)
        if found is None:
            return KeyMissing()
        return KeyDestroyed() if found.state is KeyState.DESTROYED else _unserved(error)

    async def _settle(self, work: Callable[[], object]) -> None:
        """A step of destroy, which may have been made before."""
        try:
            await self._repeated(work)
        except ClientError as error:
            made = {"AlreadyExistsException", "KMSInvalidStateException", _ABSENT}
            if _code(error) not in made:
                raise _unserved(error) from error

    async def _repeated(self, work: Callable[[], T]) -> T:
        """A call that does no harm when it is made twice."""
        now = asyncio.get_running_loop().time
        ends = now() + _BUDGET_SECONDS
        for attempt in range(1, _ATTEMPTS):
            try:
                return await self._call(work)
            except (Unavailable, ResourceExhausted):
                if now() >= ends:
                    raise
                pause = _BACKOFF_SECONDS * 2**attempt
                await asyncio.sleep(random.uniform(0, pause))  # noqa: S311 - spreads load
        return await self._call(work)

    async def _call(self, work: Callable[[], T]) -> T:
        """A call, once.

        Raises:
            ClientError: KMS refused it, for a reason of its own.
            Unavailable, ResourceExhausted: it could not be served.
        """
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                return await self._calls.run(work)
        except ClientError as error:
            status = _status(error)
            if _code(error) in _THROTTLED or (status >= 500 and status != _NOT_IMPLEMENTED):
                raise _unserved(error) from error
            raise
        except (BotoCoreError, TimeoutError) as error:
            raise _unavailable() from error

    def _client(self, key: TenantKey) -> KMSClient:
        client = self._clients.get(key.region)
        if client is None:
            _log.error("no KMS client is set for the region %s", key.region)
            raise _unavailable()
        return client


def kms_client(
    aws_region: str, *, endpoint: str | None = None, credentials: Credentials | None = None
) -> KMSClient:
    """A client for this adapter; making one takes some 100 ms and blocks.

    Args:
        aws_region: what requests are signed for.
        endpoint: another endpoint than AWS's own, as a URL.
        credentials: asked at each signature; the process's own where None.
    """
    session = botocore.session.Session()
    if credentials is not None:
        session.register_component(
            "credential_provider", CredentialResolver([_Provider(credentials)])
        )
    client: KMSClient = boto3.Session(botocore_session=session).client(
        "kms", region_name=aws_region, endpoint_url=endpoint, config=KMS_CONFIG
    )
    return client


class _Provider(CredentialProvider):
    METHOD = "silo"

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def load(self) -> Credentials:
        return self._credentials


def _alias(key: TenantKey) -> str:
    return f"alias/silo/{key.name}"


def _destroyed_alias(key: TenantKey) -> str:
    return f"alias/silo/destroyed/{key.name}"


def _context(key: TenantKey, purpose: str) -> dict[str, str]:
    """The encryption context; CloudTrail shows it, so it holds nothing secret."""
    return {"tenant": key.tenant_id, "purpose": require_purpose(purpose)}


def _framed(ciphertext: bytes) -> bytes:
    """A wrapped key: what it is, a checksum, and the ciphertext that KMS made.

    The checksum tells damage from a refusal: KMS answers a ciphertext whose key it cannot make out like a missing
    permission. That nobody has changed it on purpose is for KMS to say.
    """
    return _FRAME.pack(_MAGIC, zlib.crc32(ciphertext)) + ciphertext


def _unframed(wrapped: bytes) -> bytes:
    if not _FRAME.size < len(wrapped) <= MAX_WRAPPED_BYTES:
        raise WrappedKeyInvalid
    magic, checksum = _FRAME.unpack_from(wrapped)
    ciphertext = wrapped[_FRAME.size :]
    if magic != _MAGIC or zlib.crc32(ciphertext) != checksum:
        raise WrappedKeyInvalid
    return ciphertext


def _status(error: ClientError) -> int:
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


def _code(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "")


def _unserved(error: ClientError) -> ResourceExhausted | Unavailable:
    code = _code(error)
    if code in _THROTTLED:
        return ResourceExhausted(
            "KEYS_THROTTLED", "the keys are used too much at present", retry_after=1.0
        )
    _log.error("KMS refused a call: %s", code)
    return _unavailable()


def _unavailable() -> Unavailable:
    return Unavailable("KEYS_UNAVAILABLE", "the keys cannot be used at present")
