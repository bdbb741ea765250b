"""The key port: a key for each tenant that never leaves its keeper, and data keys wrapped under it.

A data key encrypts what is stored; the tenant's key encrypts the data key. What was wrapped for one tenant and one
purpose unwraps for no other, and once the tenant's key is destroyed it unwraps for nobody.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Protocol

from boundary.scope import TenantKey

DATA_KEY_BYTES = 32
"""The length of a data key: AES-256."""

MAX_WRAPPED_BYTES = 6144
"""The longest wrapped key (AWS KMS API reference, Decrypt, CiphertextBlob)."""

_PURPOSE = re.compile(r"[a-z][a-z0-9-]{0,62}")


class KeyMissing(Exception):
    """The tenant has no key yet."""


class KeyDestroyed(Exception):
    """The tenant's key is destroyed, and with it everything that was wrapped under it. It does not come back."""


class KeyDisabled(Exception):
    """The tenant's key is switched off; it may be switched on again."""


class WrappedKeyInvalid(Exception):
    """The wrapped key is damaged, or was wrapped for another tenant or another purpose: all read alike."""


class KeyStoreTampered(Exception):
    """What the keeper has stored of the tenant's key is not what it made.

    Attributes:
        place: where, within the key store.
    """

    def __init__(self, place: str) -> None:
        super().__init__(f"the key store was tampered with at {place}")
        self.place = place


class KeyState(Enum):
    """What has become of a tenant's key."""

    ENABLED = "ENABLED"
    DISABLED = "DISABLED"
    DESTROYED = "DESTROYED"


@dataclass(frozen=True, slots=True, kw_only=True)
class DataKey:
    """A new data key.

    Attributes:
        plaintext: DATA_KEY_BYTES random bytes; not to be stored.
        wrapped: the same key under the tenant's; to be stored beside what it encrypts.
    """

    plaintext: bytes = field(repr=False)
    wrapped: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyDescription:
    """A tenant's key as its keeper describes it.

    Attributes:
        key_id: names the key for good; a key that is made anew has another.
        state: what has become of it.
        created_at: when it was made.
        gone_at: for a destroyed key, when its keeper erases or has erased it; else None.
    """

    key_id: str
    state: KeyState
    created_at: datetime
    gone_at: datetime | None = None


class DataKeys(Protocol):
    """What the services do with their tenants' keys.

    Every call may raise boundary.errors.Unavailable or ResourceExhausted where the keeper cannot serve it, and
    ValueError where a purpose is none; see `require_purpose`.
    """

    async def generate(self, key: TenantKey, *, purpose: str) -> DataKey:
        """A new data key.

        Raises:
            KeyMissing, KeyDestroyed, KeyDisabled: the tenant's key does not serve.
        """

    async def wrap(self, key: TenantKey, plaintext: bytes, *, purpose: str) -> bytes:
        """A data key under the newest version of the tenant's.

        Raises:
            KeyMissing, KeyDestroyed, KeyDisabled: the tenant's key does not serve.
            ValueError: the plaintext is not DATA_KEY_BYTES long.
        """

    async def unwrap(self, key: TenantKey, wrapped: bytes, *, purpose: str) -> bytes:
        """The data key that was wrapped under any version of the tenant's, for the same purpose.

        Raises:
            KeyDestroyed, KeyDisabled, KeyMissing: the tenant's key does not serve.
            WrappedKeyInvalid: the bytes are not such a key.
            KeyStoreTampered: the tenant's key is not the one that they were wrapped under.
        """


class TenantKeys(DataKeys, Protocol):
    """The life of the tenants' keys. Each step may be repeated: it holds what it says afterwards."""

    async def create(self, key: TenantKey) -> KeyDescription:
        """Makes the tenant's key where there is none; the key as it is then.

        Raises:
            KeyDestroyed: the tenant had one.
        """

    async def describe(self, key: TenantKey) -> KeyDescription | None:
        """The tenant's key, or None where there is none (or no trace of it any more)."""

    async def rotate(self, key: TenantKey) -> None:
        """Gives the key a new version, under which data keys are wrapped from now on. Older ones unwrap as before.

        Raises:
            KeyMissing, KeyDestroyed, KeyDisabled: the tenant's key does not serve.
        """

    async def destroy(self, key: TenantKey) -> KeyDescription:
        """Ends the tenant's key: nothing unwraps from now on.

        Raises:
            KeyMissing: there is none.
        """


def require_purpose(purpose: str) -> str:
    """The purpose, where it is one: 1 to 63 of `a-z 0-9 -`, beginning with a letter.

    Raises:
        ValueError: otherwise.
    """
    if _PURPOSE.fullmatch(purpose) is None:
        raise ValueError(f"{purpose!r} is not a purpose")
    return purpose


def require_data_key(plaintext: bytes) -> bytes:
    """The plaintext, where it is as long as a data key.

    Raises:
        ValueError: otherwise.
    """
    if len(plaintext) != DATA_KEY_BYTES:
        raise ValueError(f"a data key has {DATA_KEY_BYTES} bytes")
    return plaintext
