"""Callers' JWTs: what is accepted, and with which reason everything else is refused."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from boundary.errors import Unauthenticated
from boundary.permissions import Permissions
from boundary.tokens import Issuer, TokenVerifier

EC = ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
FOREIGN = ec.generate_private_key(ec.SECP256R1())
DEV, POOL = (
    "https://dev.silo.local",
    "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_A",
)


class Keys:
    """Fixed keys by id."""

    def __init__(self, **keys: Any) -> None:
        self._keys = keys
        self.asked: list[str] = []

    async def find(self, key_id: str) -> jwt.PyJWK | None:
        self.asked.append(key_id)
        return self._keys.get(key_id.replace("-", "_"))


def jwk(key: Any) -> jwt.PyJWK:
    algorithm = (
        jwt.algorithms.ECAlgorithm
        if isinstance(key, ec.EllipticCurvePrivateKey)
        else jwt.algorithms.RSAAlgorithm
    )
    return jwt.PyJWK(algorithm.to_jwk(key.public_key(), as_dict=True))


@pytest.fixture
def keys() -> Keys:
    return Keys(dev_1=jwk(EC), rsa_1=jwk(RSA))


@pytest.fixture
def verifier(keys: Keys) -> TokenVerifier:
    return TokenVerifier(
        [
            Issuer(
                issuer=DEV, audiences=("silo", "other"), algorithms=("ES256", "RS256"), keys=keys
            ),
            Issuer(
                issuer=POOL, audiences=("client-1",), algorithms=("RS256",), keys=Keys(c=jwk(RSA))
            ),
        ]
    )


def claims(**changes: Any) -> dict[str, Any]:
    body = {
        "iss": DEV,
        "aud": "silo",
        "sub": "alice",
        "exp": int(time.time()) + 600,
        "custom:tenantId": "A",
        "custom:permissions": ["campaigns.*"],
    }
    return {key: value for key, value in (body | changes).items() if value is not ...}


def signed(
    body: dict[str, Any],
    *,
    key: Any = EC,
    algorithm: str = "ES256",
    kid: Any = "dev-1",
    **header: Any,
) -> str:
    headers = {**({"kid": kid} if kid is not None else {}), **header}
    return "Bearer " + jwt.encode(body, key, algorithm=algorithm, headers=headers)


def encoded(part: object) -> str:
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


async def refused(verifier: TokenVerifier, authorization: str | None) -> str:
    with pytest.raises(Unauthenticated) as raised:
        await verifier.verify(authorization)
    return raised.value.reason


async def test_a_valid_token(verifier: TokenVerifier) -> None:
    caller = await verifier.verify(signed(claims()))
    assert (caller.principal, caller.issuer, caller.tenant_id) == ("alice", DEV, "A")
    assert caller.permissions == Permissions(["campaigns.*"])
    assert "eyJ" not in repr(caller), "a token must not get into logs"


@pytest.mark.parametrize(
    ("permissions", "grants"),
    [
        (["campaigns.read", "users.*"], ("campaigns.read", "users.*")),
        ("campaigns.read users.*", ("campaigns.read", "users.*")),
        ("*", ("*",)),
        ([], ()),
        ("", ()),
        (..., ()),
    ],
)
async def test_permissions_as_list_or_string(
    verifier: TokenVerifier, permissions: Any, grants: Any
) -> None:
    caller = await verifier.verify(signed(claims(**{"custom:permissions": permissions})))
    assert caller.permissions.grants == grants


async def test_an_operator_has_no_tenant(verifier: TokenVerifier) -> None:
    body = claims(**{"custom:tenantId": ..., "custom:permissions": ["platform.*"]})
    caller = await verifier.verify(signed(body))
    assert caller.tenant_id == ""
    assert caller.permissions.platform


@pytest.mark.parametrize("authorization", [None, ""])
async def test_missing(verifier: TokenVerifier, authorization: str | None) -> None:
    assert await refused(verifier, authorization) == "TOKEN_MISSING"


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer",
        "Bearer ",
        "Basic YTpi",
        "eyJhbGciOiJub25lIn0.e30.",
        "Bearer not-a-token",
        "Bearer a.b",
        "Bearer a.b.c.d",
        "Bearer ..",
        "Bearer " + encoded([1]) + "." + encoded({}) + ".x",
        "Bearer " + encoded({}) + "." + encoded([1]) + ".x",
        "Bearer " + encoded(b"\xff\xfe") + "." + encoded(b"\xff") + ".x",
        "Bearer " + "a" * 8193,
        "Bearer " + encoded(b"[" * 4000) + "." + encoded({}) + ".x",
        "Bearer " + encoded({}) + "." + encoded(b'{"a":' * 1000) + ".x",
    ],
)
async def test_malformed(verifier: TokenVerifier, authorization: str) -> None:
    assert await refused(verifier, authorization) == "TOKEN_MALFORMED"


@pytest.mark.parametrize("depth", [10, 900, 960, 980, 1000, 1010, 1020, 1030, 2500])
async def test_nesting_of_any_depth_is_no_defect_of_ours(
    verifier: TokenVerifier, depth: int
) -> None:
    nested = b"[" * depth + b"]" * depth
    header = b'{"alg":"ES256","kid":"dev-1","x":' + nested + b"}"
    payload = b'{"iss":"' + DEV.encode() + b'","x":' + nested + b"}"
    for first, second in (
        (header, json.dumps(claims()).encode()),
        (b'{"alg":"ES256","kid":"dev-1"}', payload),
    ):
        token = f"Bearer {encoded(first)}.{encoded(second)}.{encoded(b'x' * 64)}"
        assert await refused(verifier, token) in {"TOKEN_MALFORMED", "TOKEN_SIGNATURE"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exp": int(time.time()) - 1}, "TOKEN_EXPIRED"),
        ({"exp": 1e400}, "TOKEN_MALFORMED"),
        ({"exp": ...}, "TOKEN_SIGNATURE"),
        ({"exp": "soon"}, "TOKEN_SIGNATURE"),
        ({"nbf": int(time.time()) + 86_400}, "TOKEN_NOT_YET_VALID"),
        ({"nbf": "now"}, "TOKEN_NOT_YET_VALID"),
        ({"iat": int(time.time()) + 86_400}, "TOKEN_NOT_YET_VALID"),
        ({"aud": "someone-else"}, "TOKEN_AUDIENCE"),
        ({"aud": ["someone", "else"]}, "TOKEN_AUDIENCE"),
        ({"aud": ...}, "TOKEN_AUDIENCE"),
        ({"aud": [{"a": 1}]}, "TOKEN_AUDIENCE"),
        ({"aud": ..., "client_id": "silo"}, "TOKEN_AUDIENCE"),
        ({"iss": "https://elsewhere.example"}, "TOKEN_ISSUER"),
        ({"iss": DEV + "/"}, "TOKEN_ISSUER"),
        ({"iss": ...}, "TOKEN_ISSUER"),
        ({"sub": ...}, "TOKEN_SIGNATURE"),
        ({"sub": ""}, "TOKEN_CLAIMS"),
        ({"sub": "two words"}, "TOKEN_CLAIMS"),
        ({"sub": "x" * 257}, "TOKEN_CLAIMS"),
        ({"sub": "service:gateway"}, "TOKEN_CLAIMS"),
        ({"sub": "signed-url:0011"}, "TOKEN_CLAIMS"),
        ({"custom:tenantId": 7}, "TOKEN_CLAIMS"),
        ({"custom:tenantId": ["A"]}, "TOKEN_CLAIMS"),
        ({"custom:permissions": {"a": 1}}, "TOKEN_CLAIMS"),
        ({"custom:permissions": [1]}, "TOKEN_CLAIMS"),
        ({"custom:permissions": [["*"]]}, "TOKEN_CLAIMS"),
        ({"custom:permissions": ["Campaigns.READ"]}, "TOKEN_CLAIMS"),
        ({"custom:permissions": ["platform.*"]}, "TOKEN_CLAIMS"),
        ({"custom:permissions": ["campaigns.read", "lifecycle.purge"]}, "TOKEN_CLAIMS"),
        ({"custom:tenantId": "", "custom:permissions": ["lifecycle.*"]}, "TOKEN_CLAIMS"),
        ({"custom:permissions": "campaigns.read platform.tenants.write"}, "TOKEN_CLAIMS"),
    ],
)
async def test_claims(verifier: TokenVerifier, changes: Any, reason: str) -> None:
    assert await refused(verifier, signed(claims(**changes))) == reason


async def test_clocks_may_differ_a_little_at_the_start(verifier: TokenVerifier) -> None:
    ahead = int(time.time()) + 2
    await verifier.verify(signed(claims(nbf=ahead, iat=ahead)))


async def test_foreign_signed(verifier: TokenVerifier) -> None:
    assert await refused(verifier, signed(claims(), key=FOREIGN)) == "TOKEN_SIGNATURE"
    for kid in ("unknown", "../../dev-1", ""):
        assert await refused(verifier, signed(claims(), kid=kid)) == "TOKEN_SIGNATURE"
    assert await refused(verifier, signed(claims(), kid=None)) == "TOKEN_SIGNATURE"


async def test_altered(verifier: TokenVerifier) -> None:
    header, _, signature = signed(claims()).removeprefix("Bearer ").split(".")
    altered = f"Bearer {header}.{encoded(claims(**{'custom:tenantId': 'B'}))}.{signature}"
    assert await refused(verifier, altered) == "TOKEN_SIGNATURE"
    valid = signed(claims())
    assert await refused(verifier, valid.rpartition(".")[0] + ".") == "TOKEN_SIGNATURE"


async def test_an_issuers_key_is_worth_nothing_at_another(verifier: TokenVerifier) -> None:
    body = claims(iss=POOL, aud="client-1")
    assert await refused(verifier, signed(body)) == "TOKEN_ALGORITHM"
    assert (
        await refused(verifier, signed(body, key=RSA, algorithm="RS256", kid="rsa-1"))
        == "TOKEN_SIGNATURE"
    )


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", None, ["ES256"], 1])
async def test_unsigned(verifier: TokenVerifier, algorithm: Any) -> None:
    for signature in ("", encoded(b"x" * 64)):
        token = f"{encoded({'alg': algorithm, 'kid': 'dev-1'})}.{encoded(claims())}.{signature}"
        assert await refused(verifier, f"Bearer {token}") in {"TOKEN_ALGORITHM", "TOKEN_MALFORMED"}


@pytest.mark.parametrize(("algorithm", "digest"), [("HS256", "sha256"), ("HS512", "sha512")])
@pytest.mark.parametrize("kid", ["dev-1", "rsa-1"])
async def test_a_public_key_is_no_shared_secret(
    verifier: TokenVerifier, algorithm: str, digest: str, kid: str
) -> None:
    public = (EC if kid == "dev-1" else RSA).public_key()
    pem = public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    for secret in (pem, pem.strip(), b"", b"secret"):
        signing = f"{encoded({'alg': algorithm, 'kid': kid})}.{encoded(claims())}"
        mac = hmac.new(secret, signing.encode(), getattr(hashlib, digest)).digest()
        token = f"Bearer {signing}.{encoded(mac)}"
        assert await refused(verifier, token) == "TOKEN_ALGORITHM"


async def test_the_algorithm_must_fit_the_key(verifier: TokenVerifier) -> None:
    for key, algorithm, kid in ((EC, "ES256", "rsa-1"), (RSA, "RS256", "dev-1")):
        token = signed(claims(), key=key, algorithm=algorithm, kid=kid)
        assert await refused(verifier, token) == "TOKEN_SIGNATURE"
    assert await refused(verifier, signed(claims(), key=RSA, algorithm="PS256", kid="rsa-1")) == (
        "TOKEN_ALGORITHM"
    )


async def test_keys_that_a_token_brings_along_are_not_looked_at(
    verifier: TokenVerifier, keys: Keys
) -> None:
    brought = jwt.algorithms.ECAlgorithm.to_jwk(FOREIGN.public_key(), as_dict=True)
    token = signed(claims(), key=FOREIGN, jwk=brought, jku="https://evil.example/jwks.json")
    assert await refused(verifier, token) == "TOKEN_SIGNATURE"
    assert keys.asked == ["dev-1"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"aud": "client-1", "token_use": "id"}, None),
        ({"aud": ..., "client_id": "client-1", "token_use": "access"}, None),
        ({"aud": "client-2", "token_use": "id"}, "TOKEN_AUDIENCE"),
        ({"aud": ..., "client_id": "client-2", "token_use": "access"}, "TOKEN_AUDIENCE"),
        ({"aud": ..., "client_id": "client-1", "token_use": "id"}, "TOKEN_AUDIENCE"),
        ({"aud": "client-2", "client_id": "client-1", "token_use": "access"}, "TOKEN_AUDIENCE"),
        ({"aud": ..., "token_use": "access"}, "TOKEN_AUDIENCE"),
    ],
)
async def test_cognitos_tokens(verifier: TokenVerifier, body: Any, reason: str | None) -> None:
    token = signed(claims(iss=POOL, **body), key=RSA, algorithm="RS256", kid="c")
    if reason is None:
        assert (await verifier.verify(token)).tenant_id == "A"
    else:
        assert await refused(verifier, token) == reason


async def test_a_remembered_token_ends_when_it_ends(verifier: TokenVerifier, keys: Keys) -> None:
    token = signed(claims(exp=int(time.time()) + 2))
    first = await verifier.verify(token)
    assert await verifier.verify(token) is first
    assert keys.asked == ["dev-1"]
    await asyncio.sleep(2.05)
    assert await refused(verifier, token) == "TOKEN_EXPIRED"


async def test_a_remembered_token_is_verified_again_when_keys_may_have_changed(
    verifier: TokenVerifier, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = signed(claims())
    await verifier.verify(token)
    later = time.time() + 301
    monkeypatch.setattr(time, "time", lambda: later)
    await verifier.verify(token)
    assert keys.asked == ["dev-1", "dev-1"]


@pytest.mark.parametrize("algorithms", [("HS256",), ("none",), ("ES256", "HS256"), ()])
def test_an_issuer_cannot_allow_shared_secrets(algorithms: Any) -> None:
    with pytest.raises(ValueError, match="issuer"):
        Issuer(issuer=DEV, audiences=("silo",), algorithms=algorithms, keys=Keys())


@given(st.text(alphabet=st.characters(max_codepoint=127), max_size=200))
async def test_no_text_is_a_defect_of_ours(text: str) -> None:
    verifier = TokenVerifier(
        [Issuer(issuer=DEV, audiences=("silo",), algorithms=("ES256",), keys=Keys())]
    )
    for authorization in (text, f"Bearer {text}", f"Bearer {encoded(text.encode())}.{text}.x"):
        with pytest.raises(Unauthenticated):
            await verifier.verify(authorization)
