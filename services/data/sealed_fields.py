"""Fields encrypted within their item, and keyed hashes of those that must be found by equality.

Each value is encrypted by itself with AES-256-GCM, bound to the tenant, the item's sort key, the field and the
version of the data key: moved to another place, it does not open.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Collection

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from boundary.errors import DataLoss
from boundary.ids import TenantId
from services.keys.refusals import damaged
from services.table.ports import Item, Value

SEALED = "sealed"
"""The attribute that holds what is encrypted: the version of the data key, and the values by field."""

_NONCE_BYTES = 12


class FieldCipher:
    """Encrypts the fields of one item."""

    def __init__(
        self, data_key: bytes, *, tenant_id: TenantId, sort_key: str, version: int
    ) -> None:
        """Takes the data key, and where the item stands."""
        self._cipher = AESGCM(data_key)
        self._place = f"{tenant_id}\0{sort_key}\0{version}\0"
        self._version = version
        self._sort_key = sort_key

    def seal(self, item: Item, names: Collection[str]) -> Item:
        """The item with the fields of these names encrypted; the item itself where it has none of them."""
        values: dict[str, Value] = {
            name: self._seal(name, item[name]) for name in names if name in item
        }
        if not values:
            return item
        kept = {name: value for name, value in item.items() if name not in values}
        return {**kept, SEALED: {"version": self._version, "values": values}}

    def open(self, item: Item) -> Item:
        """What `seal` made of an item, as it was.

        Raises:
            DataLoss: a value is not what was stored there.
        """
        sealed = item[SEALED]
        values = sealed["values"] if isinstance(sealed, dict) else None
        if not isinstance(values, dict):
            raise field_damaged(self._sort_key)
        opened = {name: self._open(name, value) for name, value in values.items()}
        return {name: value for name, value in item.items() if name != SEALED} | opened

    def _seal(self, name: str, value: Value) -> str:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
        sealed = self._cipher.encrypt(nonce, text.encode(), (self._place + name).encode())
        return base64.b64encode(nonce + sealed).decode()

    def _open(self, name: str, text: Value) -> Value:
        try:
            raw = base64.b64decode(str(text), validate=True)
            opened = self._cipher.decrypt(
                raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], (self._place + name).encode()
            )
        except (InvalidTag, ValueError) as error:
            raise field_damaged(f"{self._sort_key} {name}") from error
        value: Value = json.loads(opened)
        return value


def version_of(item: Item, *, place: str) -> int:
    """The version of the data key that an item's fields are encrypted under; 0 where none is.

    Raises:
        DataLoss: the item says something else.
    """
    sealed = item.get(SEALED)
    if sealed is None:
        return 0
    version = sealed.get("version") if isinstance(sealed, dict) else None
    if not isinstance(version, int) or version < 1:
        raise field_damaged(place)
    return version


def keyed_hash(key: bytes, *parts: str) -> str:
    """What stands for a value in an index: equal for equal values, and for nobody without the key to guess."""
    return hmac.new(key, "\0".join(parts).encode(), hashlib.sha256).hexdigest()


def field_damaged(place: str) -> DataLoss:
    """The error for an encrypted field that is not as it was stored."""
    return damaged("FIELD_DAMAGED", "an encrypted field is not what was stored", place)
