"""The settings that a tenant has for itself.

They are the attributes `settings` and `settings_etag` of the tenant's CONFIG item. The rest of that item
is the resolver's, and so are its creation and its end.
"""

from __future__ import annotations

from collections.abc import Sequence

from boundary.context import TenantContext
from boundary.errors import InvalidArgument, NotFound, etag_mismatch
from services.data import changes, rules
from services.data.changes import Clock
from services.data.codec import Codec
from services.data.operations import ATTEMPTS, contended
from services.table.ports import Condition, ConditionFailed, Item, ItemTooLarge, Table, Update
from silo.data.v1.tenant_config_pb2 import TenantConfig

NAME = "config"
SORT_KEY = "CONFIG"
INITIAL_ETAG = "0"
"""The etag of settings that were never changed."""

_PATH = "tenant_config"
_CODEC: Codec[TenantConfig] = Codec(TenantConfig)
_RULES: dict[str, rules.Rule] = {
    "default_from_name": rules.line(at_most=200),
    "default_from_address": rules.email,
    "reply_to_address": rules.email,
    "time_zone": rules.time_zone,
    "postal_address": rules.text(at_most=1000),
    "labels": rules.labels,
}


class Configs:
    """The settings of tenants."""

    def __init__(self, *, table: Table, clock: Clock = changes.now) -> None:
        self._table = table
        self._clock = clock

    async def get(self, tenant: TenantContext) -> TenantConfig:
        """The settings.

        Raises:
            NotFound: the tenant has no record.
        """
        return config_of(await self._item(tenant))

    async def update(
        self, tenant: TenantContext, *, message: TenantConfig, paths: Sequence[str]
    ) -> TenantConfig:
        """The settings as changed.

        Args:
            tenant: whose settings.
            message: the new values and, where it must be the current one, the etag.
            paths: the mask's paths.

        Raises:
            InvalidArgument: the name, the mask or a field is out of order.
            NotFound: the tenant has no record.
            Aborted: the etag is stale, or others keep changing the settings.
        """
        if message.name not in ("", NAME):
            raise InvalidArgument(f"{_PATH}.name", "must be config", reason="INVALID_NAME")
        mask = changes.mask_fields(_CODEC, message, paths)
        for name in mask:
            if name in _RULES:
                _RULES[name](getattr(message, name), f"{_PATH}.{name}")
        changed = _CODEC.encode(message, path=_PATH, fields=mask)
        for _ in range(ATTEMPTS):
            existing = await self._item(tenant)
            if message.etag and message.etag != _etag_of(existing):
                raise etag_mismatch(NAME, field=f"{_PATH}.etag")
            kept = {k: v for k, v in _settings_of(existing).items() if k not in mask}
            settings = {**kept, **changed, "update_time": self._clock()}
            written = await self._write(tenant, existing, settings)
            if written is not None:
                return config_of(written)
        raise contended(NAME)

    async def _write(self, tenant: TenantContext, existing: Item, settings: Item) -> Item | None:
        """The item as written, or None where somebody else changed the settings first."""
        unchanged = {"settings_etag": existing.get("settings_etag")}
        update = Update(
            sort_key=SORT_KEY,
            set={"settings": settings, "settings_etag": changes.new_etag()},
            condition=Condition(exists=True, equals=unchanged),
        )
        try:
            return await self._table.write(tenant.partition, update)
        except ConditionFailed:
            return None
        except ItemTooLarge as error:
            raise changes.too_large(_PATH) from error

    async def _item(self, tenant: TenantContext) -> Item:
        item = await self._table.get(tenant.partition, SORT_KEY)
        if item is None:
            raise NotFound(NAME)
        return item


def _settings_of(item: Item) -> Item:
    settings = item.get("settings")
    return settings if isinstance(settings, dict) else {}


def _etag_of(item: Item) -> str:
    etag = item.get("settings_etag")
    return etag if isinstance(etag, str) else INITIAL_ETAG


def settings_item(message: TenantConfig, *, path: str) -> Item:
    """All settings of a message, as they stand in the record.

    Raises:
        InvalidArgument: a field breaks its rule.
    """
    for name, rule in _RULES.items():
        rule(getattr(message, name), f"{path}.{name}")
    return _CODEC.encode(message, path=path)


def config_of(item: Item) -> TenantConfig:
    """The settings in a tenant's record."""
    shown: Item = {**_settings_of(item), "etag": _etag_of(item)}
    if "display_name" in item:
        shown["display_name"] = item["display_name"]
    return _CODEC.decode(NAME, shown)
