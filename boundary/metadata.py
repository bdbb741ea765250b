"""Reading metadata without surprises: a key that must be single is single."""

from __future__ import annotations

from collections.abc import Iterable

from boundary.errors import Unauthenticated

Metadata = tuple[tuple[str, str | bytes], ...]

REQUEST_ID_KEY = "x-request-id"
"""Names a call through gateway and services, in audit, logs and errors."""

PEER_KEY = "x-silo-peer"
"""A platform service's own token."""

ADMITTED_KEY = "x-silo-admitted"
"""In the initial metadata of a call with a stream from the client: the service has let the call through."""

ADMITTED = ((ADMITTED_KEY, "1"),)

STATUS_KEY = "grpc-status-details-bin"
"""The google.rpc.Status of an error (gRPC's richer error model)."""


def single(metadata: Iterable[tuple[str, str | bytes]], key: str) -> str | None:
    """The one value of a key, or None where there is none.

    Raises:
        Unauthenticated: there are two or more, one of which may be forged.
    """
    found: str | None = None
    for name, value in metadata:
        if name == key:
            if found is not None or not isinstance(value, str):
                raise Unauthenticated("CREDENTIAL_DOUBLED", f"{key} must be sent once")
            found = value
    return found
