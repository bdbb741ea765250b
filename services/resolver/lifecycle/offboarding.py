"""Offboarding: from a tenant that works to a proof that nothing of it is left (domain spec, tenant offboarding).

The tenant is suspended first, and everything can still be taken back while the grace period lasts. What was begun
before the suspension is then given the time that contexts live, so that a write that races the purge loses. From
the first removal on there is no way back; a legal hold that comes meanwhile keeps what is left by then. Every
store is read back before anything is certified. The record that is left says that id and slug were used, and
nothing else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from boundary.errors import FailedPrecondition
from boundary.ids import TenantId
from services.keys.refusals import told
from services.resolver.certificates import ERASURE, Certificates
from services.resolver.directory import OFFBOARDING, PURGED, Changed, Directory, Tenant, now_micros
from services.resolver.lifecycle import removal
from services.resolver.lifecycle.kinds import Kind, Step
from services.resolver.lifecycle.legal_hold import require_free, unless_held
from services.resolver.lifecycle.records import told_time
from services.resolver.lifecycle.work import Work, tenant_busy
from services.resolver.operations import Tenants, held
from services.resolver.ports import Value
from services.resolver.tenant_keys import Encryption

NAME = "offboarding"

_PASSES = 5
"""How often a store that is read back and not found empty is purged again."""


class Offboarding:
    """The kind's steps."""

    def __init__(
        self,
        *,
        directory: Directory,
        tenants: Tenants,
        encryption: Encryption,
        certificates: Certificates,
        settle_seconds: float,
    ) -> None:
        """Takes the parts.

        Args:
            settle_seconds: how long after the suspension nothing that was begun before it can still write.
        """
        self._directory = directory
        self._tenants = tenants
        self._encryption = encryption
        self._certificates = certificates
        self._settle_seconds = settle_seconds

    def kind(self) -> Kind:
        """The kind."""
        return Kind(
            name=NAME,
            kept=True,
            steps=(
                Step(name="suspension", do=self._suspend, undo=_reinstate),
                Step(name="grace", do=_grace),
                Step(name="settling", do=self._settle),
                Step(name="items", do=_purging("items")),
                Step(name="objects", do=_purging("objects")),
                Step(name="events", do=_purging("events")),
                Step(name="verification", do=_verify),
                Step(name="key", do=self._end_key),
                Step(name="tombstone", do=self._bury),
                Step(name="certificate", do=self._certify),
            ),
        )

    async def check(self, tenant_id: TenantId, *, grace_seconds: int) -> dict[str, Value]:
        """What the operation is told of a tenant that can be offboarded.

        Raises:
            NotFound: there is no such tenant.
            FailedPrecondition: it is held (`LEGAL_HOLD`) or gone already (`TENANT_PURGED`).
        """
        tenant = await self._tenants.get(tenant_id)
        if tenant.status == PURGED:
            raise FailedPrecondition("TENANT_PURGED", "the tenant is purged already")
        if tenant.legal_hold:
            raise held(tenant)
        return {"grace_seconds": grace_seconds}

    async def _suspend(self, work: Work) -> None:
        tenant = await work.tenant()
        if "former_status" not in work.memory:
            await work.remember(former_status=tenant.standing, asked_at=now_micros())
        await work.change_tenant(standing=OFFBOARDING)
        await work.mark("suspended_at")

    async def _settle(self, work: Work) -> None:
        detail = "what was begun before the suspension ends"
        work.wait(self._settle_seconds, since="suspended_at", detail=detail)
        await require_free(work)

    async def _end_key(self, work: Work) -> None:
        with told():
            ended = await self._encryption.end(await work.tenant())
        if ended is not None:
            await work.remember(key_id=ended.key_id, key_state=ended.state.value)

    async def _bury(self, work: Work) -> None:
        tenant = await work.tenant()
        if tenant.status == PURGED:
            self._tenants.tell(tenant)  # a crash may have come before the telling
            return
        tombstone = replace(
            tenant.changed(standing=PURGED),
            display_name="",
            max_object_bytes=0,
            counter_shards=0,
            create_request_id="",
            key_destroyed=bool(tenant.key_version) or tenant.key_destroyed,
            legal_hold="",
            monitored=False,
            allowed_regions=(),
            backup_hours=0,
            backups_kept=0,
        )
        try:
            await self._directory.bury(tombstone, etag=tenant.etag, checks=[work.fence()])
        except Changed as error:
            raise tenant_busy() from error
        self._tenants.tell(tombstone)

    async def _certify(self, work: Work) -> None:
        if "certificate" not in work.memory:
            sections = _sections(work, await work.tenant())
            await work.remember(certificate=self._certificates.issue(sections, kind=ERASURE))
        await work.set_result(certificate=f"certificates/{work.operation.operation_id}")


async def _reinstate(work: Work) -> None:
    former = work.memory.get("former_status")
    if former is not None:  # remembered before the status changes: without it, nothing has
        await work.change_tenant(standing=former)


async def _grace(work: Work) -> None:
    seconds = work.parameters["grace_seconds"]
    if not isinstance(seconds, int):
        raise TypeError("the grace period is no number")
    detail = "the grace period, in which this can be taken back"
    work.wait(seconds, since="suspended_at", detail=detail)


def _purging(store: str) -> Callable[[Work], Awaitable[None]]:
    remove = removal.STORES[store].remove

    async def purge(work: Work) -> None:
        untouched = not _began(work)
        await require_free(work, untouched=untouched)
        if untouched:
            await work.leave_no_way_back(purge_began_at=now_micros())
            await require_free(work, untouched=True)  # a hold may have come in between
        await _go_on_counting(work, store)
        await unless_held(work, remove(work, None))
        await work.remember(**{f"removed_{store}": _removed(work, store)})

    return purge


def _began(work: Work) -> bool:
    """Whether any store may have been asked to remove something: it is recorded before it is asked."""
    return any(f"tries_{store}" in work.memory for store in removal.STORES)


async def _go_on_counting(work: Work, store: str) -> None:
    """Keeps what earlier tries of the step have removed, in the write that sets the step's own count back.

    A try that was cut off may have removed more than it came to record: the certificate says so.
    """
    tries, before = work.number(f"tries_{store}"), _removed(work, store)
    work.progress(0)
    await work.remember(**{f"before_{store}": before, f"tries_{store}": tries + 1})


def _removed(work: Work, store: str) -> int:
    """What was removed by the earlier tries of a step, and by the present one so far."""
    done = next((step.done for step in work.operation.steps if step.name == store), 0)
    return work.number(f"before_{store}") + done


async def _verify(work: Work) -> None:
    """Reads every store back; purges again what is not empty.

    Raises:
        FailedPrecondition: something is left however often it is purged (`PURGE_INCOMPLETE`).
    """
    for store, of_store in removal.STORES.items():
        for _ in range(_PASSES):
            found = await of_store.left(work, None)
            if not found:
                break
            work.progress(0, detail=f"{store} were found and are purged again")
            await unless_held(work, of_store.remove(work, None))
        else:
            raise FailedPrecondition("PURGE_INCOMPLETE", f"{store} are left: {found}")
    await work.remember(verified_at=now_micros())


def _sections(work: Work, tenant: Tenant) -> dict[str, dict[str, Any]]:
    memory = work.memory
    stores = {
        store: {
            "removed": memory.get(f"removed_{store}", 0),
            "removed_is": "exact" if memory.get(f"tries_{store}") == 1 else "at least",
            "left": 0,
            "read_back": True,
        }
        for store in removal.STORES
    }
    return {
        "tenant": {
            "tenant_id": tenant.tenant_id,
            "slug": tenant.slug,
            "region": tenant.placement.region,
            "table": tenant.placement.table,
            "bucket": tenant.placement.bucket,
            "search_cluster": tenant.placement.search_cluster,
            "id_and_slug_blocked": True,
        },
        "operation": {
            "name": work.operation.name,
            "asked_for_by": work.operation.principal,
            "asked_at": told_time(memory["asked_at"]),
            "suspended_at": told_time(memory["suspended_at"]),
            "purge_began_at": told_time(memory["purge_began_at"]),
            "verified_at": told_time(memory["verified_at"]),
            "certified_at": told_time(now_micros()),
        },
        **stores,
        "key": _key_section(memory),
        "kept": {
            "audit_trail": "the records of who did what, for as long as the tier's retention says",
            "tombstone": "id, slug, placement and times, so that id and slug are never used again",
        },
    }


def _key_section(memory: Mapping[str, Value]) -> dict[str, Any]:
    if "key_id" not in memory:
        return {"key_id": "", "state": "the tenant had no key"}
    return {"key_id": memory["key_id"], "state": memory["key_state"]}
