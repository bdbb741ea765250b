"""Calls to the gateway: one channel, the caller's credential, errors in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar, cast

import grpc
from google.rpc import error_details_pb2, status_pb2

from boundary.errors import error_info
from boundary.metadata import STATUS_KEY
from cli.failures import Failure
from cli.settings import CliSettings

Q = TypeVar("Q")
R = TypeVar("R")
S = TypeVar("S")

_AUTHORIZATION = "authorization"
_OPTIONS = (
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    ("grpc.max_send_message_length", 16 * 1024 * 1024),
    ("grpc.enable_retries", 0),
)
"""As between the processes of the suite, whose own list would import all that a server needs."""


def gateway_credentials(settings: CliSettings) -> grpc.ChannelCredentials | None:
    """What the gateway is called with, or None where that is in the clear.

    Raises:
        Failure: the CA cannot be read.
    """
    if settings.gateway_ca is None:
        return None
    try:
        return grpc.ssl_channel_credentials(settings.gateway_ca.read_bytes())
    except OSError as error:
        raise Failure(f"SILO_GATEWAY_CA cannot be read: {error}") from error


class Client:
    """Calls methods under one credential.

    Attributes:
        channel: the channel, for calls that need more than this class does.
    """

    def __init__(
        self,
        address: str,
        *,
        token: str = "",
        timeout: float = 30.0,
        metadata: Sequence[tuple[str, str]] = (),
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        """Opens nothing yet; gRPC connects at the first call.

        Args:
            token: the caller's JWT; none is sent where empty.
            timeout: seconds that a unary call may take.
            metadata: what is sent besides.
            credentials: for TLS; in the clear where None.
        """
        self._address = address
        self._timeout = timeout
        bearer = ((_AUTHORIZATION, f"Bearer {token}"),) if token else ()
        self._metadata = (*bearer, *metadata)
        self.channel = (
            grpc.insecure_channel(address, options=_OPTIONS)
            if credentials is None
            else grpc.secure_channel(address, credentials, options=_OPTIONS)
        )

    def stub(self, make: Callable[[grpc.Channel], S]) -> S:
        """A service's stub on this client's channel."""
        return make(self.channel)

    def call(self, method: grpc.UnaryUnaryMultiCallable[Q, R], request: Q) -> R:
        """The answer of a unary method.

        Raises:
            Failure: the call was refused or nobody answers.
        """
        try:
            return method(request, metadata=self._metadata, timeout=self._timeout)
        except grpc.RpcError as error:
            raise failure_of(error, self._address) from error

    def upload(self, method: grpc.StreamUnaryMultiCallable[Q, R], requests: Iterable[Q]) -> R:
        """The answer of a method that takes a stream.

        Raises:
            Failure: the call was refused or nobody answers.
        """
        try:
            return method(iter(requests), metadata=self._metadata)
        except grpc.RpcError as error:
            raise failure_of(error, self._address) from error

    def download(self, method: grpc.UnaryStreamMultiCallable[Q, R], request: Q) -> Iterator[R]:
        """The messages of a method that answers with a stream. Closing the iterator ends the call.

        Raises:
            Failure: the call was refused, ended early, or nobody answers.
        """
        call = method(request, metadata=self._metadata)
        try:
            yield from call
        except grpc.RpcError as error:
            raise failure_of(error, self._address) from error
        finally:
            call.cancel()

    def converse(
        self, method: grpc.StreamStreamMultiCallable[Q, R], requests: Iterator[Q]
    ) -> Iterator[R]:
        """The messages of a method that takes and answers with a stream.

        Raises:
            Failure: the call was refused, ended early, or nobody answers.
        """
        call = method(requests, metadata=self._metadata)
        try:
            yield from call
        except grpc.RpcError as error:
            raise failure_of(error, self._address) from error
        finally:
            call.cancel()

    def close(self) -> None:
        """Ends what is under way and closes the channel."""
        self.channel.close()


def failure_of(error: grpc.RpcError, address: str = "") -> Failure:
    """The failure that a gRPC error is: its code, its ErrorInfo reason and the field at fault."""
    # What a synchronous call raises is always its own grpc.Call (grpc/_channel.py, _InactiveRpcError).
    call = cast("grpc.Call", error)
    code, details = call.code(), call.details() or ""
    status = _rich_status(call)
    info = error_info(status)
    if info is None and code == grpc.StatusCode.UNAVAILABLE:
        return Failure(
            f"nothing answers at {address or 'the address'}; start the suite with `silo up`, "
            "or say where it is with --address or SILO_GATEWAY_ADDRESS",
            code=code.name,
            reason="NOT_REACHABLE",
        )
    if info is None:
        return Failure(details or "no further details", code=code.name)
    field = info.metadata.get("field", "") or _violated_field(status)
    return Failure(status.message or details, code=code.name, reason=info.reason, field=field)


def _rich_status(call: grpc.Call) -> status_pb2.Status:
    """The google.rpc.Status that came with an error; an empty one where none came."""
    for key, value in call.trailing_metadata() or ():
        if key == STATUS_KEY and isinstance(value, bytes):
            return status_pb2.Status.FromString(value)
    return status_pb2.Status()


def _violated_field(status: status_pb2.Status) -> str:
    violations = error_details_pb2.BadRequest()
    for detail in status.details:
        if detail.Unpack(violations) and violations.field_violations:
            return str(violations.field_violations[0].field)
    return ""
