"""Who appears in `silo demo`: three tenants, an operator, and somebody who forges credentials."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Sequence
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from boundary.tls import load_tls
from cli.client import Client, gateway_credentials
from cli.settings import CliSettings, service_address
from devstack.issuer import KEY_ID, DevIssuer, claims_of
from silo.resolver.v1 import context_pb2, context_pb2_grpc

CONTEXT_KEY = "x-silo-context"


class Actors:
    """Makes the clients that the demo calls with, and closes them all at its end."""

    def __init__(self, *, gateway: str, issuer: DevIssuer) -> None:
        self.gateway = gateway
        self.issuer = issuer
        self._clients: list[Client] = []
        settings = CliSettings.load()
        self._edge = gateway_credentials(settings)
        tls = load_tls(settings.tls_folder)
        self._inside = None if tls is None else tls.channel_credentials()

    def tenant(self, tenant_id: str, *, permissions: Sequence[str] = ("*",)) -> Client:
        """Somebody of a tenant, at the gateway."""
        return self.with_token(self.token(tenant_id, permissions=permissions))

    def operator(self) -> Client:
        """The platform operator, at the gateway."""
        return self.with_token(self.issuer.sign_operator())

    def with_token(self, token: str, *, metadata: Sequence[tuple[str, str]] = ()) -> Client:
        """Somebody with this token, or with none where it is empty, at the gateway."""
        return self._kept(
            Client(self.gateway, token=token, metadata=metadata, credentials=self._edge)
        )

    def at_data(self, *contexts: str) -> Client:
        """Somebody who calls the data service itself, with these tenant contexts."""
        metadata = [(CONTEXT_KEY, context) for context in contexts]
        return self._kept(
            Client(service_address("data"), metadata=metadata, credentials=self._inside)
        )

    def token(self, tenant_id: str, *, permissions: Sequence[str] = ("*",), **claims: Any) -> str:
        """A genuine JWT."""
        return self.issuer.sign(
            subject="demo", permissions=permissions, tenant_id=tenant_id, ttl=600, **claims
        )

    def context(self, tenant_id: str, *, audience: str) -> str:
        """A genuine tenant context, from the resolver itself, as a platform service gets it.

        Raises:
            Failure: the resolver refuses or cannot be reached.
        """
        token = self.token(tenant_id)
        client = self._kept(
            Client(service_address("resolver"), token=token, credentials=self._inside)
        )
        stub = client.stub(context_pb2_grpc.ContextServiceStub)
        request = context_pb2.ResolveTenantRequest(audience=audience)
        return client.call(stub.ResolveTenant, request).context

    def close(self) -> None:
        """Closes every client."""
        for client in self._clients:
            client.close()

    def _kept(self, client: Client) -> Client:
        self._clients.append(client)
        return client


def forged_token(tenant_id: str) -> str:
    """A JWT that says all the right things, signed with a key of the forger's own."""
    key = ec.generate_private_key(ec.SECP256R1())
    return jwt.encode(_claims(tenant_id), key, algorithm="ES256", headers={"kid": KEY_ID})


def hmac_token(issuer: DevIssuer, tenant_id: str) -> str:
    """A JWT that takes the issuer's public key, which everyone knows, for an HMAC secret (RFC 8725, 2.1)."""
    public_key = issuer.public_key()
    return _token(
        {"alg": "HS256", "kid": KEY_ID, "typ": "JWT"},
        _claims(tenant_id),
        lambda text: hmac.new(public_key, text, hashlib.sha256).digest(),
    )


def unsigned_token(tenant_id: str) -> str:
    """A JWT with the algorithm `none` and no signature."""
    return _token({"alg": "none", "kid": KEY_ID, "typ": "JWT"}, _claims(tenant_id), lambda _: b"")


def forged_context(genuine: str) -> str:
    """A tenant context like a genuine one of its tenant, signed with a key of the forger's own."""
    header = jwt.get_unverified_header(genuine)
    claims = jwt.decode(genuine, options={"verify_signature": False})
    key = ed25519.Ed25519PrivateKey.generate()
    return jwt.encode(claims, key, algorithm="EdDSA", headers={"kid": header["kid"]})


def _claims(tenant_id: str) -> dict[str, Any]:
    return claims_of(subject="demo", permissions=["*"], tenant_id=tenant_id, ttl=600)


def _token(header: Any, claims: Any, sign: Callable[[bytes], bytes]) -> str:
    signed = b".".join(_encoded(json.dumps(part).encode()) for part in (header, claims))
    return (signed + b"." + _encoded(sign(signed))).decode()


def _encoded(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")
