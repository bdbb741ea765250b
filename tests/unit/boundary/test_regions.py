"""Where a tenant's data may be: minted for nowhere else, and refused by whoever verifies."""

from __future__ import annotations

from typing import Any

import jwt
import pytest

from boundary.context import ContextVerifier, Placement
from boundary.errors import PermissionDenied
from services.resolver.local_keys import LocalKeys
from tests.contexts import PLACEMENT, make_context, mint_lifecycle_token, mint_token, signing_keys

ELSEWHERE = Placement(region="elsewhere", table="T", bucket="b", search_cluster="c")


def signed_again(token: str, **claims: Any) -> str:
    """A context with other claims, as a resolver with a defect would sign it."""
    changed = jwt.decode(token, options={"verify_signature": False}) | claims
    key = signing_keys().current()
    return jwt.encode(changed, key.private, algorithm="EdDSA", headers={"kid": key.key_id})


@pytest.fixture
def verifier() -> ContextVerifier:
    return ContextVerifier(audience="data", keys=LocalKeys(signing_keys()))


def test_contexts_carry_the_regions() -> None:
    assert make_context("A").allowed_regions == ()
    allowed = make_context("A", allowed_regions=("local", "elsewhere"))
    assert allowed.allowed_regions == ("local", "elsewhere")


def test_none_is_minted_for_a_region_that_is_not_allowed() -> None:
    with pytest.raises(PermissionDenied) as refused:
        mint_token("A", placement=ELSEWHERE, allowed_regions=("local", "elsewher"))
    assert refused.value.reason == "REGION_NOT_ALLOWED"
    assert refused.value.metadata["region"] == "elsewhere"


@pytest.mark.parametrize("lifecycle", [False, True])
async def test_a_service_refuses_one_by_itself(
    verifier: ContextVerifier, *, lifecycle: bool
) -> None:
    token = mint_lifecycle_token("A") if lifecycle else mint_token("A")
    assert (await verifier.verify(signed_again(token, regions=["local"]))).tenant_id == "A"
    for _ in range(2):  # what was refused is not remembered as verified
        with pytest.raises(PermissionDenied) as refused:
            await verifier.verify(signed_again(token, regions=["loca", "localx"]))
        assert refused.value.reason == "REGION_NOT_ALLOWED"


async def test_what_may_not_be_there_may_be_removed_and_nothing_else(
    verifier: ContextVerifier,
) -> None:
    removal = mint_lifecycle_token("A", permissions=("lifecycle.purge",))
    context = await verifier.verify(signed_again(removal, regions=["elsewhere"]))
    assert context.permissions.removal_alone
    for permissions in (("lifecycle.purge", "lifecycle.read"), ("lifecycle.*",)):
        token = mint_lifecycle_token("A", permissions=permissions)
        with pytest.raises(PermissionDenied):
            await verifier.verify(signed_again(token, regions=["elsewhere"]))


def test_the_placement_of_the_tests_is_the_local_one() -> None:
    assert PLACEMENT.region == "local"
