"""Where new tenants can be placed: the deployment's regions, and the table, bucket and search cluster in each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from boundary.context import Placement
from boundary.errors import InvalidArgument
from services.engines.settings import Region

MAX_REGIONS = 32
"""How many regions a tenant may name: they travel with every call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """What one region has; the first of each is where tenants are placed that ask for none."""

    tables: Sequence[str]
    buckets: Sequence[str]
    search_clusters: Sequence[str]


class Placements:
    """The places that a deployment has. Pooled tenants share the first ones; others are named."""

    def __init__(self, places: Mapping[str, Places], *, default_region: str) -> None:
        """Takes the places by region.

        Raises:
            ValueError: the default region has none.
        """
        if default_region not in places:
            raise ValueError(f"there are no places in the default region {default_region}")
        self._places = dict(places)
        self._default_region = default_region

    def place(
        self, *, region: str = "", table: str = "", bucket: str = "", search_cluster: str = ""
    ) -> Placement:
        """The placement with what is asked for, and the defaults for what is left empty.

        Raises:
            InvalidArgument: the deployment does not have what is asked for.
        """
        region = _one_of(region or self._default_region, list(self._places), "region")
        places = self._places[region]
        return Placement(
            region=region,
            table=_one_of(table or places.tables[0], places.tables, "table"),
            bucket=_one_of(bucket or places.buckets[0], places.buckets, "bucket"),
            search_cluster=_one_of(
                search_cluster or places.search_clusters[0],
                places.search_clusters,
                "search_cluster",
            ),
        )

    def regions(self, names: Sequence[str]) -> tuple[str, ...]:
        """Those of the deployment's regions, in order and once each, that a tenant allows.

        Raises:
            InvalidArgument: they are too many, or one is none of the deployment's.
        """
        if len(names) > MAX_REGIONS:
            raise InvalidArgument("tenant.allowed_regions", f"must be at most {MAX_REGIONS}")
        for name in names:
            if name not in self._places:
                raise InvalidArgument(
                    "tenant.allowed_regions", f"this deployment has {', '.join(self._places)}"
                )
        return tuple(sorted(set(names)))


def places_of(regions: Mapping[str, Region], *, embedded: Placement) -> dict[str, Places]:
    """The places of a deployment's regions; what is embedded has the names that the settings give it."""
    return {
        name: Places(
            tables=region.table.tables if region.table else (embedded.table,),
            buckets=region.objects.buckets if region.objects else (embedded.bucket,),
            search_clusters=tuple(region.search) or (embedded.search_cluster,),
        )
        for name, region in regions.items()
    }


def _one_of(value: str, allowed: Sequence[str], field: str) -> str:
    if value not in allowed:
        raise InvalidArgument(
            f"tenant.placement.{field}", f"this deployment has {', '.join(allowed)}"
        )
    return value
