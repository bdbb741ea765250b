"""Tenants' encryption and keys on the command line."""

from __future__ import annotations

from silo.resolver.v1 import signing_key_pb2, tenant_key_pb2


def test_encryption_is_an_option_of_tenants(silo, gateway) -> None:
    result = silo("tenants", "create", "acme", "--display-name", "Acme", "--encryption")
    assert result.exit_code == 0, result.stderr
    result = silo("tenants", "update", "acme", "--encryption")
    assert result.exit_code == 0, result.stderr
    created, updated = gateway.requests
    assert created.tenant.encryption.enabled
    assert updated.tenant.encryption.enabled
    assert list(updated.update_mask.paths) == ["encryption"]
    for option in ("--key-version", "--key-state", "--enabled"):
        assert silo("tenants", "create", "acme", option, "1").exit_code != 0


def test_rotate_is_for_a_tenants_key_or_the_signing_key(silo, gateway) -> None:
    silo("keys", "rotate")
    silo("keys", "rotate", "acme", "--etag", "7")
    assert gateway.requests == [
        signing_key_pb2.RotateSigningKeyRequest(),
        tenant_key_pb2.RotateTenantKeyRequest(name="tenants/acme", etag="7"),
    ]


def test_destroying_a_key_wants_to_be_said_twice(silo, gateway) -> None:
    result = silo("keys", "destroy", "acme")
    assert result.exit_code != 0
    assert "--confirm acme" in result.stderr
    assert gateway.requests == []
    silo("keys", "destroy", "acme", "--confirm", "acme")
    assert gateway.requests == [
        tenant_key_pb2.DestroyTenantKeyRequest(name="tenants/acme", confirmation="acme")
    ]


def test_a_reencryption_says_what_each_step_did(silo, gateway) -> None:
    told = tenant_key_pb2.ReencryptTenantResponse
    answers = [
        told(step="fields", seen_count=3),
        told(step="fields", seen_count=7, rewritten_count=5, done=True),
        told(step="drop", seen_count=2, done=True),
    ]
    gateway.answers["ReencryptTenant"] = iter(answers)
    result = silo("keys", "reencrypt", "acme")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines() == [
        "fields: 7, 5 encrypted anew",
        "drop: 2, 0 encrypted anew",
    ]
    assert gateway.requests == [tenant_key_pb2.ReencryptTenantRequest(name="tenants/acme")]
