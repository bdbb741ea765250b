from __future__ import annotations

import jwt

from boundary.errors import InvalidArgument, PermissionDenied, Unavailable


def test_a_refusal_is_one_line(silo, gateway) -> None:
    gateway.error = PermissionDenied("PERMISSION_MISSING", "the caller lacks the permission x")
    result = silo("campaigns", "get", "spring", "--tenant", "A")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert (
        result.stderr
        == "PERMISSION_DENIED (PERMISSION_MISSING): the caller lacks the permission x\n"
    )


def test_an_invalid_argument_names_its_field(silo, gateway) -> None:
    gateway.error = InvalidArgument("campaign.subject", "must be shorter")
    result = silo("campaigns", "create", "spring", "--tenant", "A", "--subject", "x")
    assert result.stderr == "INVALID_ARGUMENT (INVALID_FIELD): campaign.subject: must be shorter\n"


def test_a_service_that_is_down_is_not_the_suite_being_down(silo, gateway) -> None:
    gateway.error = Unavailable("SERVICE_UNAVAILABLE", "the data service does not answer")
    result = silo("campaigns", "get", "spring", "--tenant", "A")
    assert result.stderr == "UNAVAILABLE (SERVICE_UNAVAILABLE): the data service does not answer\n"


def test_says_how_to_start_the_suite_where_nothing_answers(silo) -> None:
    result = silo("campaigns", "get", "spring", "--tenant", "A")
    assert result.exit_code == 1
    assert "nothing answers at 127.0.0.1:1" in result.stderr
    assert "silo up" in result.stderr
    assert result.stderr.count("\n") == 1


def test_says_that_a_credential_is_needed(silo) -> None:
    result = silo("campaigns", "list")
    assert result.exit_code == 1
    assert result.stderr.startswith("UNAUTHENTICATED (TOKEN_MISSING): no credential: give --tenant")


def test_the_credential_is_the_nearest(silo, gateway, monkeypatch) -> None:
    monkeypatch.setenv("SILO_TOKEN", "from-environment")
    silo("campaigns", "list", "--token", "given")
    silo("campaigns", "list", "--tenant", "B", "--as", "bob", "--permissions", "campaigns.read")
    silo("campaigns", "list")
    given, signed, environment = (sent["authorization"] for sent in gateway.metadata)
    assert given == "Bearer given"
    assert environment == "Bearer from-environment"
    claims = jwt.decode(signed.removeprefix("Bearer "), options={"verify_signature": False})
    assert claims["custom:tenantId"] == "B"
    assert claims["custom:permissions"] == ["campaigns.read"]
    assert claims["sub"] == "bob"


def test_operators_sign_with_the_development_issuer(silo, gateway, monkeypatch) -> None:
    monkeypatch.setenv("SILO_TOKEN", "a-tenant's")
    result = silo("tenants", "list")
    assert result.exit_code == 0
    assert "active" in result.stdout
    silo("tenants", "suspend", "A", "--token", "given")
    monkeypatch.setenv("SILO_OPERATOR_TOKEN", "operator's")
    silo("tenants", "suspend", "A")
    first, second, third = (
        sent["authorization"].removeprefix("Bearer ") for sent in gateway.metadata
    )
    claims = jwt.decode(first, options={"verify_signature": False})
    assert claims["custom:permissions"] == ["platform.*"]
    assert (second, third) == ("given", "operator's")
    assert gateway.requests[1].name == "tenants/A"
