from __future__ import annotations

import pytest

from boundary import catalog
from boundary.catalog import PolicyError, all_methods
from boundary.interceptors.chain import ORDER, Chain
from boundary.interceptors.stages import Authorise, Identify
from silo.policy.v1 import policy_pb2


def test_every_method_of_the_suite_declares_a_sound_policy() -> None:
    methods = all_methods()
    assert len(methods) == len({method.name for method in methods}) > 50
    for method in methods:
        if method.credential == policy_pb2.CREDENTIAL_CONTEXT:
            assert method.edge != method.permission.startswith("lifecycle.")
            assert method.permission
            assert not method.permission.startswith("platform.")


def test_no_request_of_a_tenants_method_can_name_a_tenant() -> None:
    for method in all_methods():
        if method.credential != policy_pb2.CREDENTIAL_CONTEXT:
            continue
        fields = {field.name for field in method.descriptor.input_type.fields}
        assert not fields & {"tenant", "tenant_id", "partition", "index", "bucket", "pk"}, (
            method.name
        )


@pytest.mark.parametrize(
    ("policy", "complaint"),
    [
        ({}, "unspecified"),
        ({"exposure": 1, "credential": 1}, "neither"),
        ({"exposure": 1, "credential": 1, "any_permission": True, "permission": "a.b"}, "both"),
        ({"exposure": 1, "credential": 1, "permission": "read"}, "grammar"),
        ({"exposure": 1, "credential": 1, "any_permission": True}, "asks for no permission"),
        ({"exposure": 1, "credential": 3, "any_permission": True}, "without a caller"),
    ],
)
def test_a_policy_that_contradicts_itself_stops_the_service(
    policy: dict[str, object], complaint: str
) -> None:
    descriptor = all_methods()[0].descriptor
    with pytest.raises(PolicyError, match=complaint):
        catalog._check(descriptor, policy_pb2.MethodPolicy(**policy))  # type: ignore[arg-type]


def test_the_chains_order() -> None:
    assert ORDER == (
        "identify",
        "measure",
        "audit",
        "authenticate",
        "reside",
        "track",
        "authorise",
    )
    assert Chain([Identify(), Authorise()]).names == ("identify", "authorise")
    with pytest.raises(ValueError, match="out of order"):
        Chain([Authorise(), Identify()])
    with pytest.raises(ValueError, match="out of order"):
        Chain([Identify(), Identify()])
