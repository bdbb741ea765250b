"""What the end of a tenant's key, or damage to it, means to a caller."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from boundary.errors import DataLoss, FailedPrecondition, key_destroyed
from services.keys.ports import (
    KeyDestroyed,
    KeyDisabled,
    KeyMissing,
    KeyStoreTampered,
    WrappedKeyInvalid,
)

_log = logging.getLogger(__name__)


@contextmanager
def told(place: str = "") -> Iterator[None]:
    """Turns what the key port raises about a key into what a caller is told.

    Args:
        place: which data key it is about.

    Raises:
        FailedPrecondition: `KEY_DESTROYED`, `KEY_DISABLED` or `KEY_MISSING`.
        DataLoss: a wrapped data key is damaged, or another tenant's (`DATA_KEY_INVALID`); or the tenant's key is
            (`KEY_STORE_TAMPERED`). The metadata names the place.
    """
    try:
        yield
    except KeyDestroyed as error:
        raise key_destroyed() from error
    except KeyDisabled as error:
        raise FailedPrecondition("KEY_DISABLED", "the tenant's key is switched off") from error
    except KeyMissing as error:
        raise FailedPrecondition("KEY_MISSING", "the tenant has no key") from error
    except WrappedKeyInvalid as error:
        raise damaged("DATA_KEY_INVALID", "a data key of the tenant is damaged", place) from error
    except KeyStoreTampered as error:
        raise damaged(
            "KEY_STORE_TAMPERED", "the tenant's key was tampered with", error.place
        ) from error


def damaged(reason: str, message: str, place: str) -> DataLoss:
    """The error for something encrypted that is not what was stored, with the place in message and metadata."""
    _log.error("%s: %s", message, place)
    return DataLoss(reason, f"{message}: {place}", metadata={"place": place})
