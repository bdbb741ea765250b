"""The objects port guard of the platform's own work on a tenant's objects."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from boundary.guard import require_lifecycle, require_prefix
from boundary.regions import ByRegion, engine_by_region
from boundary.scope import ObjectPrefix
from services.storage.guard import GuardedObjects
from services.storage.ports import Contents, Described, PurgeableObjects, Rewrite, Rewritten


class GuardedPurgeableObjects(GuardedObjects):
    """Guarded objects that can be taken away.

    What goes beyond the objects port raises boundary.guard.GuardViolation outside of the platform's own work on
    the tenant.
    """

    def __init__(self, inner: PurgeableObjects | ByRegion[PurgeableObjects]) -> None:
        super().__init__(inner)
        self._purgeable = engine_by_region(inner)

    def purge(self, prefix: ObjectPrefix) -> AsyncIterator[Contents]:
        """See PurgeableObjects.purge."""
        return self._of(prefix).purge(prefix)

    def survey(self, prefix: ObjectPrefix) -> AsyncIterator[Contents]:
        """See PurgeableObjects.survey."""
        return self._of(prefix).survey(prefix)

    def described(self, prefix: ObjectPrefix) -> AsyncIterator[Sequence[Described]]:
        """See PurgeableObjects.described."""
        return self._of(prefix).described(prefix)

    def rewrite(self, prefix: ObjectPrefix, rewrite: Rewrite) -> AsyncIterator[Rewritten]:
        """See PurgeableObjects.rewrite."""
        return self._of(prefix).rewrite(prefix, rewrite)

    def _of(self, prefix: ObjectPrefix) -> PurgeableObjects:
        require_lifecycle()
        require_prefix(prefix)
        return self._purgeable(prefix.region)
