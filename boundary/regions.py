"""Engines by region: a call goes to the engine of the region that its tenant is placed in."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Generic, TypeVar

from boundary.errors import FailedPrecondition, PermissionDenied

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class ByRegion(Generic[T_co]):
    """One engine for each region that this process serves."""

    def __init__(self, engines: Mapping[str, T_co]) -> None:
        """Takes the engines by region."""
        self._engines = dict(engines)

    def of(self, region: str) -> T_co:
        """The engine of a region.

        Raises:
            FailedPrecondition: the region is not served here.
        """
        engine = self._engines.get(region)
        if engine is None:
            raise region_not_served()
        return engine


def engine_by_region(engines: T | ByRegion[T]) -> Callable[[str], T]:
    """Finds the engine of a region; where there is one engine alone, it is every region's.

    A process with one engine serves one region, and its chain refuses the tenants of others.
    """
    if isinstance(engines, ByRegion):
        return engines.of
    return lambda _: engines


def region_not_served() -> FailedPrecondition:
    """The error for a tenant whose region this process does not serve."""
    return FailedPrecondition("REGION_NOT_SERVED", "the tenant's data does not live in this region")


def require_allowed(region: str, allowed: Collection[str]) -> None:
    """Returns where a tenant's data may be in a region.

    Args:
        allowed: the regions that the tenant allows; any where empty.

    Raises:
        PermissionDenied: it may not (`REGION_NOT_ALLOWED`).
    """
    if allowed and region not in allowed:
        raise PermissionDenied(
            "REGION_NOT_ALLOWED",
            f"the tenant's data may not be in {region}",
            metadata={"region": region},
        )
