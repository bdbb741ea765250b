from __future__ import annotations

import json
import stat
import time
from pathlib import Path

import jwt
import pytest

from boundary import issuers
from boundary.issuer_keys import JwksKeys
from boundary.tokens import Issuer, TokenVerifier
from devstack import issuer
from devstack.issuer import DevIssuer, IssuerMissing, ensure_dev_issuer


def test_makes_its_key_once(tmp_path: Path) -> None:
    first = ensure_dev_issuer(tmp_path)
    assert ensure_dev_issuer(tmp_path).private_key == first.private_key
    mode = stat.S_IMODE((tmp_path / "dev-issuer" / "private.pem").stat().st_mode)
    assert mode == 0o600
    (key,) = json.loads((tmp_path / "dev-issuer" / "jwks.json").read_text())["keys"]
    assert (key["kid"], key["kty"], key["crv"], key["alg"]) == ("dev-1", "EC", "P-256", "ES256")
    assert "d" not in key


def test_says_where_a_missing_key_would_be(tmp_path: Path) -> None:
    with pytest.raises(IssuerMissing, match=r"private\.pem"):
        DevIssuer.load(tmp_path)


def test_is_the_issuer_that_the_services_accept() -> None:
    theirs = (
        issuers.DEV_ISSUER,
        issuers.DEV_AUDIENCE,
        issuers.DEV_KEY_ID,
        issuers.DEV_ALGORITHM,
    )
    assert theirs == (issuer.ISSUER, issuer.AUDIENCE, issuer.KEY_ID, issuer.ALGORITHM)


async def test_services_take_its_tokens(tmp_path: Path) -> None:
    dev = ensure_dev_issuer(tmp_path)
    verifier = TokenVerifier(
        [
            Issuer(
                issuer="https://dev.silo.local",
                audiences=("silo",),
                algorithms=("ES256",),
                keys=JwksKeys(str(tmp_path / "dev-issuer" / "jwks.json")),
            )
        ]
    )
    token = dev.sign(subject="alice", permissions=["campaigns.*"], tenant_id="A", ttl=60)
    caller = await verifier.verify(f"Bearer {token}")
    assert (caller.principal, caller.tenant_id) == ("alice", "A")
    assert caller.permissions.grants == ("campaigns.*",)
    assert caller.expires_at <= time.time() + 60

    operator = await verifier.verify(f"Bearer {dev.sign_operator()}")
    assert operator.tenant_id == ""
    assert operator.permissions.allow("platform.tenants.write")


def test_claims_are_those_of_the_domain_spec(tmp_path: Path) -> None:
    token = ensure_dev_issuer(tmp_path).sign(subject="bob", permissions=["*"], tenant_id="B")
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["custom:tenantId"] == "B"
    assert claims["custom:permissions"] == ["*"]
    assert jwt.get_unverified_header(token)["kid"] == "dev-1"
