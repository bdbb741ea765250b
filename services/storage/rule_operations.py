"""What a tenant may have happen to its objects by itself."""

from __future__ import annotations

from collections.abc import Sequence

from boundary.context import TenantContext
from boundary.errors import FailedPrecondition, InvalidArgument, etag_mismatch
from boundary.guard import require_prefix
from boundary.regions import ByRegion, engine_by_region
from services.storage.backups import require_write_under
from services.storage.rules import RULES_NOT_ALLOWED, ObjectRules, Rule, etag_of

NAME = "objectLifecycle"
TEMPLATES = "templates/"
"""Where templates' content stands: a record in the table points at it, so it does not go by itself."""

_PATH = "object_lifecycle"


class ObjectLifecycles:
    """The lifecycle rules of tenants."""

    def __init__(self, rules: ObjectRules | ByRegion[ObjectRules]) -> None:
        self._rules = engine_by_region(rules)

    async def get(self, tenant: TenantContext) -> Sequence[Rule]:
        """The rules, by name."""
        require_prefix(tenant.objects)
        return await self._rules(tenant.objects.region).read(tenant.objects)

    async def update(
        self, tenant: TenantContext, *, name: str, rules: Sequence[Rule] | None, etag: str
    ) -> Sequence[Rule]:
        """The rules as changed.

        Args:
            name: the resource's, or empty.
            rules: the new rules; None to leave them as they are.
            etag: where set, it must be the current one.

        Raises:
            InvalidArgument: the name or a rule is out of order.
            PermissionDenied: a rule for backups comes, goes or changes, and the caller lacks `backups.write`.
            FailedPrecondition: a rule archives, and the engine of the tenant's region has no archive.
            Aborted: the etag is stale.
            ResourceExhausted: the engine takes no more rules.
        """
        require_prefix(tenant.objects)
        if name not in ("", NAME):
            raise InvalidArgument(f"{_PATH}.name", f"must be {NAME}", reason="INVALID_NAME")
        engine = self._rules(tenant.objects.region)
        _check_folders(rules or ())

        def change(present: Sequence[Rule]) -> Sequence[Rule]:
            if etag and etag != etag_of(present):
                raise etag_mismatch(NAME, field=f"{_PATH}.etag")
            if rules is None:
                return present
            if not tenant.lifecycle:  # a move takes the rules along as they are
                for rule in {*present} ^ {*rules}:
                    require_write_under(tenant, rule.under)
            return rules

        return await engine.change(tenant.objects, change)

    async def clear(self, tenant: TenantContext) -> None:
        """Takes every rule away. Repeatable; nothing is written where there is none."""
        require_prefix(tenant.objects)
        engine = self._rules(tenant.objects.region)
        try:
            present = await engine.read(tenant.objects)
        except FailedPrecondition as error:
            if error.reason != RULES_NOT_ALLOWED:
                raise
            return  # who may not see them has never written any
        if present:
            await engine.change(tenant.objects, lambda _: ())

    async def apply(self, tenant: TenantContext) -> int:
        """Does what the engine does not do by itself; how much was removed."""
        require_prefix(tenant.objects)
        return await self._rules(tenant.objects.region).apply(tenant.objects)


def _check_folders(rules: Sequence[Rule]) -> None:
    """Returns where each rule is for a folder of its own.

    A rule for everything there is would take the engine's own records with it, and templates' content.
    """
    folders = [rule.under for rule in rules]
    for index, (rule, folder) in enumerate(zip(rules, folders, strict=True)):
        path = f"{_PATH}.rules[{index}].folder"
        if not folder.endswith("/"):
            raise InvalidArgument(path, "must be a folder, with its / at the end")
        if folder.startswith("."):
            raise InvalidArgument(path, "must not begin with a dot")
        if folder in folders[:index]:
            raise InvalidArgument(path, "is the folder of an earlier rule")
        if rule.expire_days and folder.startswith(TEMPLATES):
            raise InvalidArgument(
                path, "holds templates' content, which does not expire", reason="FOLDER_IN_USE"
            )
