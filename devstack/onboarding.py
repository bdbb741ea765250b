"""Onboards the tenants that a fresh suite begins with, through the gateway, as an operator would."""

from __future__ import annotations

import time
from collections.abc import Sequence

import grpc

from devstack.errors import OnboardingError
from silo.resolver.v1 import tenant_pb2, tenant_pb2_grpc

_SECONDS = 10.0
_PAGE = 200


def onboard(address: str, *, token: str, tenants: Sequence[str]) -> tuple[str, ...]:
    """Creates the tenants that the directory does not have yet, and returns them.

    Args:
        address: where the gateway serves gRPC.
        token: a platform operator's JWT.

    Raises:
        OnboardingError: the gateway refuses or does not answer in time.
    """
    with grpc.insecure_channel(address) as channel:
        stub = tenant_pb2_grpc.TenantServiceStub(channel)
        metadata = (("authorization", f"Bearer {token}"),)
        deadline = time.monotonic() + _SECONDS
        while True:
            try:
                missing = _missing(stub, metadata, tenants)
                for tenant_id in missing:
                    request = tenant_pb2.CreateTenantRequest(
                        tenant_id=tenant_id,
                        tenant=tenant_pb2.Tenant(display_name=f"Tenant {tenant_id}"),
                        request_id=f"devstack-{tenant_id}",
                    )
                    stub.CreateTenant(request, metadata=metadata, timeout=_SECONDS)
                return missing
            except grpc.RpcError as error:
                again = error.code() == grpc.StatusCode.UNAVAILABLE
                if not again or time.monotonic() >= deadline:
                    raise OnboardingError(
                        f"the tenants cannot be onboarded: {error.code().name}: {error.details()}"
                    ) from error
                time.sleep(0.05)


def _missing(
    stub: tenant_pb2_grpc.TenantServiceStub,
    metadata: tuple[tuple[str, str], ...],
    tenants: Sequence[str],
) -> tuple[str, ...]:
    known: set[str] = set()
    page_token = ""
    while True:
        page = stub.ListTenants(
            tenant_pb2.ListTenantsRequest(page_size=_PAGE, page_token=page_token),
            metadata=metadata,
            timeout=_SECONDS,
        )
        known.update(tenant.tenant_id for tenant in page.tenants)
        page_token = page.next_page_token
        if not page_token or known.issuperset(tenants):
            return tuple(tenant_id for tenant_id in tenants if tenant_id not in known)
