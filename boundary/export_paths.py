"""Where the parts of a bulk export stand in a tenant's `exports/`, for who writes them and who finds them.

S3 takes some thousand requests a second for each prefix (S3 user guide, Optimizing performance): an export of
many parts goes faster where they are spread over prefixes that a hash chooses. They stay inside the tenant's own.
"""

from __future__ import annotations

import hashlib

EXPORTS = "exports/"
"""The folder of exports (domain spec, folder structure)."""


def export_path(name: str, *, spread: bool) -> str:
    """The path, below the tenant's prefix, of a part of an export.

    `exports/{name}`, or, spread, `exports/{two hexadecimal digits}/{name}`: one of 256 prefixes, the same one for
    a name every time.

    Args:
        name: the part's path below `exports/`; its grammar is the storage service's.
        spread: whether the parts are spread (`spread_exports` in the engines file).

    Raises:
        ValueError: the name is empty or begins with a slash.
    """
    if not name or name.startswith("/"):
        raise ValueError("a part of an export has a name of its own")
    if not spread:
        return EXPORTS + name
    return f"{EXPORTS}{hashlib.sha256(name.encode()).hexdigest()[:2]}/{name}"
