"""What `silo` reads from its environment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from devstack.settings import DEFAULT_GATEWAY, DEFAULT_HOME


@dataclass(frozen=True, slots=True, kw_only=True)
class CliSettings:
    """The settings of `silo`.

    Attributes:
        home: where the development issuer's key is; `SILO_HOME`.
        gateway_address: where the gateway serves gRPC; `SILO_GATEWAY_ADDRESS`.
        gateway_ca: the CA, in PEM, of a gateway that is called over TLS; none where unset; `SILO_GATEWAY_CA`.
        token: the caller's JWT; `SILO_TOKEN`.
        operator_token: a platform operator's JWT; `SILO_OPERATOR_TOKEN`.
        tls_folder: certificate, key and CA to call the services behind the gateway with; `SILO_TLS_FOLDER`.
    """

    home: Path
    gateway_address: str
    gateway_ca: Path | None
    token: str
    operator_token: str
    tls_folder: Path | None

    @classmethod
    def load(cls) -> CliSettings:
        """The settings of this process."""
        return cls(
            home=Path(os.environ.get("SILO_HOME") or DEFAULT_HOME),
            gateway_address=os.environ.get("SILO_GATEWAY_ADDRESS") or DEFAULT_GATEWAY,
            gateway_ca=_path("SILO_GATEWAY_CA"),
            token=os.environ.get("SILO_TOKEN", ""),
            operator_token=os.environ.get("SILO_OPERATOR_TOKEN", ""),
            tls_folder=_path("SILO_TLS_FOLDER"),
        )


def _path(variable: str) -> Path | None:
    value = os.environ.get(variable)
    return Path(value) if value else None


def service_address(name: str) -> str:
    """Where a service behind the gateway serves gRPC, for `silo demo`; for example `SILO_DATA_ADDRESS`."""
    from devstack.addresses import Addresses  # noqa: PLC0415 - the demo alone needs it

    override = os.environ.get(f"SILO_{name.upper()}_ADDRESS")
    return override or Addresses.from_environment(os.environ).dial(name)
