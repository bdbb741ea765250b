"""What the end of a tenant's key means to a caller."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from boundary.errors import DataLoss, FailedPrecondition, key_destroyed
from services.keys.ports import KeyDestroyed, KeyDisabled, KeyMissing, WrappedKeyInvalid


@contextmanager
def told() -> Iterator[None]:
    """Turns what the key port raises about a key into what a caller is told.

    Raises:
        FailedPrecondition: `KEY_DESTROYED`, `KEY_DISABLED` or `KEY_MISSING`.
        DataLoss: a wrapped data key is damaged, or another tenant's (`DATA_KEY_INVALID`).
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
        raise DataLoss("DATA_KEY_INVALID", "a data key of the tenant is damaged") from error
