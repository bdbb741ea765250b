"""Which fields an update changes (AIP-134, AIP-161)."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from boundary.errors import InvalidArgument

ALL_FIELDS = "*"


def mask_fields(
    paths: Sequence[str],
    *,
    settable: Sequence[str],
    populated: Sequence[str],
    fixed: Collection[str],
    path: str = "update_mask",
) -> tuple[str, ...]:
    """The fields that a mask names.

    Args:
        paths: the mask's paths: every populated settable field where empty, every settable one for `*`.
        settable: the resource's fields that callers set.
        populated: those of them that are set in the new values.
        fixed: the resource's fields that callers do not set.
        path: the request field that holds the mask, for errors.

    Raises:
        InvalidArgument: a path names no field, or one that callers do not set.
    """
    if not paths:
        return tuple(populated)
    if list(paths) == [ALL_FIELDS]:
        return tuple(settable)
    for name in paths:
        if name in fixed:
            raise InvalidArgument(path, f"{name} cannot be changed", reason="FIELD_NOT_SETTABLE")
        if name not in settable:
            raise InvalidArgument(path, f"{name} is no field of it", reason="INVALID_MASK")
    return tuple(dict.fromkeys(paths))
