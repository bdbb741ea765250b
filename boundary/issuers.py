"""Reads who may issue callers' JWTs. The gateway and the resolver read the same list.

The list is a JSON file, named by `SILO_ISSUERS`. Each of its entries is either an issuer in full, or an Amazon
Cognito user pool, whose issuer and key set follow from its id (Cognito developer guide, "Verifying a JSON web
token"):

    [
      {"issuer": "https://login.example.com", "audiences": ["silo"], "algorithms": ["ES256"],
       "jwks": "https://login.example.com/.well-known/jwks.json"},
      {"cognito_user_pool": "eu-central-1_AbCdEf123", "region": "eu-central-1", "client_ids": ["4rm8…"]}
    ]

`jwks` is an http(s) URL or a file's path, relative to the list's folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from boundary.issuer_keys import JwksKeys
from boundary.settings import ProcessSettings
from boundary.tokens import Issuer

DEV_ISSUER = "https://dev.silo.local"
"""The `iss` of the development issuer."""

DEV_AUDIENCE = "silo"
"""The `aud` of the development issuer's tokens."""

DEV_KEY_ID = "dev-1"
"""The `kid` of the development issuer's key."""

DEV_ALGORITHM = "ES256"
"""What the development issuer signs with."""


class IssuersError(ValueError):
    """The issuers cannot be read or must not be trusted; the process must not start."""


class _Entry(BaseModel):
    """An issuer in full."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    issuer: Annotated[str, Field(min_length=1)]
    audiences: Annotated[tuple[str, ...], Field(min_length=1)]
    algorithms: Annotated[tuple[str, ...], Field(min_length=1)]
    jwks: Annotated[str, Field(min_length=1)]


class _Cognito(BaseModel):
    """An Amazon Cognito user pool."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cognito_user_pool: Annotated[str, Field(pattern=r"^[a-z0-9-]+_[0-9A-Za-z]+$")]
    region: Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)+-[0-9]+$")]
    client_ids: Annotated[tuple[str, ...], Field(min_length=1)]

    def entry(self) -> _Entry:
        """The issuer in full; Cognito signs with RS256 alone."""
        issuer = f"https://cognito-idp.{self.region}.amazonaws.com/{self.cognito_user_pool}"
        return _Entry(
            issuer=issuer,
            audiences=self.client_ids,
            algorithms=("RS256",),
            jwks=f"{issuer}/.well-known/jwks.json",
        )


_LIST: TypeAdapter[list[_Entry | _Cognito]] = TypeAdapter(list[_Entry | _Cognito])


def load_issuers(settings: ProcessSettings) -> list[Issuer]:
    """The issuers that this process accepts: the listed ones, and in development the development issuer.

    Raises:
        IssuersError: the list cannot be read, names an issuer twice or none at all; or, in production, names
            the development issuer or a key set that is fetched in the clear.
    """
    entries = _listed(settings.issuers) if settings.issuers is not None else []
    if settings.environment == "production":
        _check_production(entries)
    else:
        entries.append(_development(settings))
    names = [entry.issuer for entry in entries]
    if len(set(names)) != len(names):
        raise IssuersError("an issuer is listed twice")
    return [_issuer(entry) for entry in entries]


def _listed(path: Path) -> list[_Entry]:
    try:
        parsed = _LIST.validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise IssuersError(f"the issuers in {path} cannot be read: {error}") from error
    full = (item.entry() if isinstance(item, _Cognito) else item for item in parsed)
    return [_resolved(entry, path.parent) for entry in full]


def _resolved(entry: _Entry, folder: Path) -> _Entry:
    """The entry with the path of its key set, where it is one, made absolute."""
    if _is_url(entry.jwks):
        return entry
    return entry.model_copy(update={"jwks": str((folder / entry.jwks).absolute())})


def _check_production(entries: list[_Entry]) -> None:
    if not entries:
        raise IssuersError("production needs SILO_ISSUERS with at least one issuer")
    for entry in entries:
        if entry.issuer == DEV_ISSUER:
            raise IssuersError("the development issuer is not accepted in production")
        if entry.jwks.startswith("http://"):
            raise IssuersError(f"the key set of {entry.issuer} must be fetched over https")


def _development(settings: ProcessSettings) -> _Entry:
    return _Entry(
        issuer=DEV_ISSUER,
        audiences=(DEV_AUDIENCE,),
        algorithms=(DEV_ALGORITHM,),
        jwks=str((settings.dev_issuer_folder / "jwks.json").absolute()),
    )


def _issuer(entry: _Entry) -> Issuer:
    try:
        return Issuer(
            issuer=entry.issuer,
            audiences=entry.audiences,
            algorithms=entry.algorithms,
            keys=JwksKeys(entry.jwks),
        )
    except ValueError as error:
        raise IssuersError(str(error)) from error


def _is_url(source: str) -> bool:
    return source.startswith(("http://", "https://"))
