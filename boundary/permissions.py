"""Permissions: `campaigns.read`, `campaigns.*`, `*`, the operator's `platform.*`, our own `lifecycle.*`."""

from __future__ import annotations

import re
from collections.abc import Iterable

from boundary.errors import PermissionDenied

_GRANT = re.compile(r"\*|[a-z][a-z0-9_-]*(?:\.[a-z][a-z0-9_-]*)*(?:\.\*)?")
PLATFORM = "platform"
LIFECYCLE = "lifecycle"
REMOVAL = LIFECYCLE + ".purge"
_RESERVED = (PLATFORM + ".", LIFECYCLE + ".")


class Permissions:
    """What a principal may do. Immutable.

    A grant is a dotted name, or a dotted prefix that ends in `.*`, or `*`. `*` covers every tenant permission,
    and no `platform.` or `lifecycle.` one: those must be granted by name or as `platform.*`.
    """

    __slots__ = ("_allowed", "_grants")

    def __init__(self, grants: Iterable[str]) -> None:
        """Takes the grants.

        Raises:
            ValueError: a grant does not match the grammar.
        """
        kept = frozenset(grants)
        for grant in kept:
            if not isinstance(grant, str) or _GRANT.fullmatch(grant) is None:
                raise ValueError("a permission is not in the grammar")
        self._grants = kept
        self._allowed: set[str] = set()  # what was found allowed; no more than the code asks for

    def allow(self, permission: str) -> bool:
        """Whether the grants cover permission."""
        if permission in self._grants:
            return True
        if "*" in self._grants and not permission.startswith(_RESERVED):
            return True
        end = permission.rfind(".")
        while end > 0:
            if permission[:end] + ".*" in self._grants:
                return True
            end = permission.rfind(".", 0, end)
        return False

    def require(self, permission: str) -> None:
        """Returns where the grants cover permission.

        Raises:
            PermissionDenied: they do not; the error names the permission.
        """
        if permission in self._allowed:
            return
        if not self.allow(permission):
            raise PermissionDenied(
                "PERMISSION_MISSING",
                f"the caller lacks the permission {permission}",
                metadata={"permission": permission},
            )
        self._allowed.add(permission)

    @property
    def grants(self) -> tuple[str, ...]:
        """The grants, sorted."""
        return tuple(sorted(self._grants))

    @property
    def platform(self) -> bool:
        """Whether any grant is a platform operator's."""
        return any(_within(grant, PLATFORM) for grant in self._grants)

    @property
    def lifecycle(self) -> bool:
        """Whether any grant is for the platform's own work on a tenant."""
        return any(_within(grant, LIFECYCLE) for grant in self._grants)

    @property
    def lifecycle_alone(self) -> bool:
        """Whether there is a grant, and every one is for the platform's own work on a tenant."""
        return bool(self._grants) and all(_within(grant, LIFECYCLE) for grant in self._grants)

    @property
    def removal_alone(self) -> bool:
        """Whether the one grant is to remove what a tenant has in some place."""
        return self._grants == {REMOVAL}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Permissions) and self._grants == other._grants

    def __hash__(self) -> int:
        return hash(self._grants)

    def __repr__(self) -> str:
        return f"Permissions({list(self.grants)!r})"


def _within(grant: str, namespace: str) -> bool:
    return grant == namespace or grant.startswith(namespace + ".")
