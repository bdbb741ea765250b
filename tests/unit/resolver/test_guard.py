from __future__ import annotations

from typing import Any

import pytest

from boundary.directory_scope import config_partition, directory_partition, slug_partition
from boundary.guard import GuardViolation
from boundary.ids import TenantId, TenantSlug
from services.resolver.guard import GuardedDirectoryTable
from services.resolver.ports import Put, Range, Update

CONFIG = config_partition(TenantId("A"), table="t")
SLUG = slug_partition(TenantSlug("a"), table="t")
INDEX = directory_partition(table="t")


class Engine:
    """Must never be reached."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} reached the engine")


TABLE = GuardedDirectoryTable(Engine())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: TABLE.get(CONFIG, "CAMPAIGN#1"),
        lambda: TABLE.get(SLUG, "CONFIG"),
        lambda: TABLE.batch_get(CONFIG, ["CONFIG", "USER#1"]),
        lambda: TABLE.query(CONFIG, keys=Range(), limit=1),
        lambda: TABLE.query(CONFIG, keys=Range(), limit=1, index="GSI1", index_key=CONFIG.key),
        lambda: TABLE.query(INDEX, keys=Range(), limit=1, index="GSI1", index_key="TENANT#A"),
        lambda: TABLE.query(INDEX, keys=Range(), limit=1, index="GSI3", index_key=INDEX.key),
        lambda: TABLE.write(CONFIG, Put(sort_key="TEMPLATE#1", item={})),
        lambda: TABLE.write(CONFIG, Update(sort_key="CONFIG", set={"GSI3PK": "TENANT#B"})),
        lambda: TABLE.transact([(CONFIG, Put(sort_key="CONFIG", item={"GSI1PK": "TENANT#A"}))]),
        lambda: TABLE.transact([(SLUG, Put(sort_key="USER#1", item={}))]),
    ],
)
async def test_the_directory_reaches_nothing_but_itself(attempt: Any) -> None:
    with pytest.raises(GuardViolation):
        await attempt()
