"""Who calls: a token that was given, or one that the development issuer signs."""

from __future__ import annotations

from dataclasses import dataclass

from cli.failures import Failure
from cli.settings import CliSettings

_TTL = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What the command line says about the caller.

    Attributes:
        token: a JWT, or empty.
        tenant: a tenant that the development issuer signs for, or empty.
        subject: the principal in that token.
        permissions: the permissions in that token, separated by spaces or commas.
    """

    token: str = ""
    tenant: str = ""
    subject: str = "alice"
    permissions: str = "*"

    def caller(self, settings: CliSettings) -> str:
        """The JWT of a tenant's caller: `--token`, else `--tenant`, else `SILO_TOKEN`.

        Raises:
            Failure: there is none of them, or the development issuer is not there.
        """
        if self.token:
            return self.token
        if self.tenant:
            return sign(
                settings, tenant=self.tenant, subject=self.subject, permissions=self.permissions
            )
        if settings.token:
            return settings.token
        raise Failure(
            "no credential: give --tenant (in development), --token, or set SILO_TOKEN",
            code="UNAUTHENTICATED",
            reason="TOKEN_MISSING",
        )

    def operator(self, settings: CliSettings) -> str:
        """The JWT of a platform operator: `--token`, `SILO_OPERATOR_TOKEN`, else the development issuer's.

        Raises:
            Failure: there is none of them.
        """
        if self.token or settings.operator_token:
            return self.token or settings.operator_token
        try:
            return sign_operator(settings)
        except Failure:
            if settings.token:
                return settings.token
            raise


def split_permissions(text: str) -> list[str]:
    """Permissions from a list that spaces or commas separate."""
    return text.replace(",", " ").split()


def sign(
    settings: CliSettings, *, tenant: str, subject: str, permissions: str, ttl: float = _TTL
) -> str:
    """A JWT for a tenant's caller from the development issuer.

    Raises:
        Failure: the issuer is not there.
    """
    from devstack.issuer import DevIssuer, IssuerMissing  # noqa: PLC0415 - not for calls with a token

    try:
        issuer = DevIssuer.load(settings.home)
    except IssuerMissing as error:
        raise _missing(error) from error
    return issuer.sign(
        subject=subject, permissions=split_permissions(permissions), tenant_id=tenant, ttl=ttl
    )


def sign_operator(
    settings: CliSettings, *, subject: str = "operator", permissions: str = "", ttl: float = _TTL
) -> str:
    """A JWT for a platform operator from the development issuer.

    Raises:
        Failure: the issuer is not there.
    """
    from devstack.issuer import OPERATOR_PERMISSIONS, DevIssuer, IssuerMissing  # noqa: PLC0415

    try:
        issuer = DevIssuer.load(settings.home)
    except IssuerMissing as error:
        raise _missing(error) from error
    held = split_permissions(permissions) or OPERATOR_PERMISSIONS
    return issuer.sign(subject=subject, permissions=held, ttl=ttl)


def _missing(error: Exception) -> Failure:
    return Failure(f"{error}; start the suite with `silo up`, or set SILO_HOME, or give a token")
