"""What the development stack reads from its environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from devstack.addresses import Addresses

DEFAULT_HOME = Path(".silo")
DEFAULT_GATEWAY = "127.0.0.1:50050"


@dataclass(frozen=True, slots=True, kw_only=True)
class StackSettings:
    """The development stack's settings.

    Attributes:
        home: where state, keys, logs and the audit trail live; `SILO_HOME`.
        addresses: where each process listens; `SILO_{NAME}_LISTEN` and `SILO_{NAME}_HTTP_LISTEN`.
        drain_seconds: how long calls that are under way may take to end; `SILO_DRAIN_SECONDS`.
        environment: what the processes inherit.
    """

    home: Path
    addresses: Addresses
    drain_seconds: float
    environment: Mapping[str, str]

    @classmethod
    def load(cls) -> StackSettings:
        """The settings of this process.

        Raises:
            ValueError: a variable is malformed.
        """
        environment = dict(os.environ)
        return cls(
            home=Path(environment.get("SILO_HOME") or DEFAULT_HOME),
            addresses=Addresses.from_environment(environment),
            drain_seconds=float(environment.get("SILO_DRAIN_SECONDS", "5")),
            environment=environment,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteSettings:
    """How a suite is reached that somebody else has started, for example in containers.

    Attributes:
        home: where the development issuer is; `SILO_HOME`.
        gateway_address: where its gateway serves gRPC; `SILO_GATEWAY_ADDRESS`.
    """

    home: Path
    gateway_address: str

    @classmethod
    def load(cls) -> SuiteSettings:
        """The settings of this process."""
        return cls(
            home=Path(os.environ.get("SILO_HOME") or DEFAULT_HOME),
            gateway_address=os.environ.get("SILO_GATEWAY_ADDRESS") or DEFAULT_GATEWAY,
        )


def inherited_environment() -> dict[str, str]:
    """This process's environment without any setting of the suite: what a suite under test inherits."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SILO_")}
