from __future__ import annotations

import subprocess
import sys

import jwt
import pytest


def claims_of(token: str) -> dict:
    return jwt.decode(token, options={"verify_signature": False})


def test_prints_a_token_and_nothing_else(silo) -> None:
    result = silo("token", "--tenant", "A", "--subject", "bob", "--permissions", "campaigns.*")
    assert result.exit_code == 0
    assert result.stderr == ""
    token = result.stdout.removesuffix("\n")
    assert "\n" not in token
    claims = claims_of(token)
    assert claims["custom:tenantId"] == "A"
    assert claims["custom:permissions"] == ["campaigns.*"]
    assert (claims["sub"], claims["iss"], claims["aud"]) == (
        "bob",
        "https://dev.silo.local",
        "silo",
    )


def test_permissions_are_separated_by_spaces_or_commas(silo) -> None:
    result = silo("token", "--tenant", "A", "--permissions", "campaigns.read, users.read")
    assert claims_of(result.stdout.strip())["custom:permissions"] == [
        "campaigns.read",
        "users.read",
    ]


def test_an_operator_has_the_platform_and_no_tenant(silo) -> None:
    claims = claims_of(silo("token", "--operator", "--ttl", "60").stdout.strip())
    assert claims["custom:permissions"] == ["platform.*"]
    assert "custom:tenantId" not in claims
    assert claims["exp"] - claims["iat"] == 60


@pytest.mark.parametrize("arguments", [(), ("--tenant", "A", "--operator")])
def test_asks_for_either_a_tenant_or_the_operator(silo, arguments) -> None:
    result = silo("token", *arguments)
    assert result.exit_code == 1
    assert result.stderr == "silo: give either --tenant or --operator\n"


def test_says_how_to_get_an_issuer(silo, monkeypatch) -> None:
    monkeypatch.setenv("SILO_HOME", str(silo.home / "elsewhere"))
    result = silo("token", "--tenant", "A")
    assert result.exit_code == 1
    assert "private.pem" in result.stderr
    assert "silo up" in result.stderr
    assert result.stderr.count("\n") == 1


def test_does_not_wait_for_grpc() -> None:
    code = "import sys, cli.main, cli.token; sys.exit('grpc' in sys.modules or 'aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
