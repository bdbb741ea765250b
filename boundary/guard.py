"""The port guard: the last check before an engine, and independent of all that came before.

A handle was made from some verified context. The guard asks whether that is the context of the call that is
being served now, and whether every key, path and index in the engine call lies inside it. It can only fail
through a defect of ours, which is why it answers INTERNAL and logs what it stopped.
"""

from __future__ import annotations

import logging

from boundary.context import TenantContext, current_context
from boundary.errors import Internal
from boundary.scope import ObjectPrefix, Partition, SearchIndex

_log = logging.getLogger(__name__)


class GuardViolation(Internal):
    """An engine call would have left the tenant; it was not made."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.reason = "BOUNDARY_VIOLATION"
        self.what = what
        _log.critical("the port guard stopped an engine call: %s", what)


def require_context() -> TenantContext:
    """The context of the call that is being served.

    Raises:
        GuardViolation: no call is being served.
    """
    context = current_context()
    if context is None:
        raise _outside()
    return context


def require_lifecycle() -> None:
    """Returns where the call that is being served is the platform's own work on a tenant.

    Raises:
        GuardViolation: it is not.
    """
    if not require_context().lifecycle:
        raise GuardViolation("the platform's own work in a caller's call")


def _outside() -> GuardViolation:
    return GuardViolation("an engine call outside of any tenant's call")


def require_partition(partition: Partition, *partition_keys: str) -> None:
    """Returns where partition is the current tenant's and owns all the keys.

    Raises:
        GuardViolation: otherwise.
    """
    context = current_context()
    if context is None:
        raise _outside()
    own = context.partition
    if partition is not own and partition != own:
        raise GuardViolation("a partition of another context")
    for key in partition_keys:
        if not partition.owns(key):
            raise GuardViolation("a key outside of the partition")


def require_prefix(prefix: ObjectPrefix, *keys: str) -> None:
    """Returns where prefix is the current tenant's and owns all the object keys.

    Raises:
        GuardViolation: otherwise.
    """
    if prefix != require_context().objects:
        raise GuardViolation("an object prefix of another context")
    for key in keys:
        if not prefix.owns(key):
            raise GuardViolation("an object key outside of the prefix")


def require_index(index: SearchIndex) -> None:
    """Returns where index is the current tenant's.

    Raises:
        GuardViolation: otherwise.
    """
    if index != require_context().index:
        raise GuardViolation("a search index of another context")
