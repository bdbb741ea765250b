"""One run of a command: where it calls, as whom, and how it prints."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from cli.credentials import Credentials
from cli.settings import CliSettings

if TYPE_CHECKING:
    from cli.client import Client


class Session:
    """One run of a command. Closed by the block that it is entered in.

    Attributes:
        settings: what the environment says.
        address: where the gateway is.
        json: whether the output is one JSON document.
    """

    def __init__(
        self,
        *,
        settings: CliSettings,
        credentials: Credentials,
        operator: bool,
        address: str,
        timeout: float,
        json: bool,
    ) -> None:
        self.settings = settings
        self.address = address or settings.gateway_address
        self.json = json
        self._credentials = credentials
        self._operator = operator
        self._timeout = timeout
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        """The client under the caller's credential, opened at first use.

        Raises:
            Failure: there is no credential, or the gateway's CA cannot be read.
        """
        if self._client is None:
            from cli.client import Client, gateway_credentials  # noqa: PLC0415 - a command may end before it calls

            source = self._credentials
            token = (
                source.operator(self.settings) if self._operator else source.caller(self.settings)
            )
            credentials = gateway_credentials(self.settings)
            self._client = Client(
                self.address, token=token, timeout=self._timeout, credentials=credentials
            )
        return self._client

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._client is not None:
            self._client.close()
