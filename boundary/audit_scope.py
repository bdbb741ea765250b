"""The audit archive's area of the bucket, for the storage service alone.

It belongs to no tenant: tenants' prefixes begin with `tenant-`, this one does not. An import contract keeps every
other room away from this module.
"""

from __future__ import annotations

from boundary.ids import TenantId
from boundary.scope import _SEAL, ObjectPrefix

AREA = "audit/"


def audit_area(*, region: str, bucket: str) -> ObjectPrefix:
    """The archive's area of a bucket."""
    return ObjectPrefix(
        seal=_SEAL, tenant_id=TenantId(""), region=region, bucket=bucket, prefix=AREA
    )
