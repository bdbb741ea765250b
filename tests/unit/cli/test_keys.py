"""Tenants' encryption and keys on the command line."""

from __future__ import annotations

from silo.resolver.v1 import operation_pb2, signing_key_pb2, tenant_key_pb2


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


def operation(state: str, *steps: operation_pb2.OperationStep) -> operation_pb2.Operation:
    return operation_pb2.Operation(
        name="operations/1", state=f"OPERATION_STATE_{state}", steps=steps
    )


def step(name: str, state: str, **fields: object) -> operation_pb2.OperationStep:
    return operation_pb2.OperationStep(name=name, state=f"STEP_STATE_{state}", **fields)


def test_a_reencryption_says_what_each_step_did(silo, gateway) -> None:
    fields = step("fields", "DONE", done=7, unit="items", detail="5 encrypted anew")
    drop = step("drop", "DONE", done=2, unit="data keys")
    gateway.answers["StartReencryption"] = tenant_key_pb2.StartReencryptionResponse(
        operation=operation("RUNNING", step("fields", "PENDING"))
    )
    gateway.answers["WatchOperation"] = iter(
        operation_pb2.WatchOperationResponse(operation=each)
        for each in (
            operation("RUNNING", step("fields", "RUNNING", done=3)),
            operation("RUNNING", fields, step("drop", "RUNNING")),
            operation("SUCCEEDED", fields, drop),
        )
    )
    result = silo("keys", "reencrypt", "acme", "--request-id", "again-1")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines() == [
        "fields: 7 items 5 encrypted anew",
        "drop: 2 data keys",
    ]
    assert gateway.requests == [
        tenant_key_pb2.StartReencryptionRequest(name="tenants/acme", request_id="again-1"),
        operation_pb2.WatchOperationRequest(name="operations/1"),
    ]


def test_a_reencryption_that_failed_says_why(silo, gateway) -> None:
    error = operation_pb2.OperationError(
        code="DATA_LOSS", reason="FIELD_DAMAGED", message="at USER#1"
    )
    failed = operation_pb2.Operation(
        name="operations/1", state=operation_pb2.OPERATION_STATE_FAILED, error=error
    )
    gateway.answers["WatchOperation"] = iter(
        [operation_pb2.WatchOperationResponse(operation=failed)]
    )
    result = silo("keys", "reencrypt", "acme")
    assert result.exit_code != 0
    assert "DATA_LOSS (FIELD_DAMAGED): at USER#1" in result.stderr
