"""Who may touch backups: below `backups/` a caller needs a permission of its own, besides the method's.

A backup holds everything that a tenant has, and is there for the day when some of that is lost. Were it an object
like any other, `objects.read` would read users without `users.read`, and a token that may write objects could take
along what the rest is to be restored from. So reading below `backups/` needs `backups.read`; storing, replacing,
removing and letting expire need `backups.write`.

Paths and prefixes are compared exactly, as engines compare keys, once `paths.py` has let them through: it refuses
every other spelling of the folder, and `BACKUPS/x` is an object of another one. Listing asks for nothing more: it
tells what a bucket knows of an object, digest and metadata included, and no content. Exports are objects like
others: the tenant's own people asked for them.

The platform's own work (backing up, thinning out, restoring, moving, purging) does not come this way, and its
contexts are no caller's. Whoever uses a signed URL acts in a context of this service's own, which holds both
permissions: the caller was asked when the URL was signed.
"""

from __future__ import annotations

from boundary.archives import BACKUPS
from boundary.context import TenantContext

READ, WRITE = "backups.read", "backups.write"
"""The two permissions."""

_FOLDER = f"{BACKUPS}/"


def require_read(tenant: TenantContext, path: str) -> None:
    """Returns where the caller may read what stands at a path.

    Raises:
        PermissionDenied: the path is below `backups/`, and the caller lacks `backups.read`.
    """
    if path.startswith(_FOLDER):
        tenant.require(READ)


def require_write(tenant: TenantContext, path: str) -> None:
    """Returns where the caller may store, replace and remove what stands at a path.

    Raises:
        PermissionDenied: the path is below `backups/`, and the caller lacks `backups.write`.
    """
    if path.startswith(_FOLDER):
        tenant.require(WRITE)


def require_write_under(tenant: TenantContext, prefix: str) -> None:
    """Returns where the caller may change everything whose path begins so, whether or not there is anything.

    Raises:
        PermissionDenied: a path below `backups/` may begin so, and the caller lacks `backups.write`.
    """
    if prefix.startswith(_FOLDER) or _FOLDER.startswith(prefix):
        tenant.require(WRITE)
