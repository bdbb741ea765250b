from __future__ import annotations

import pytest

from boundary.errors import PermissionDenied
from boundary.permissions import Permissions


@pytest.mark.parametrize(
    ("grants", "permission", "allowed"),
    [
        (["campaigns.read"], "campaigns.read", True),
        (["campaigns.read"], "campaigns.write", False),
        (["campaigns.*"], "campaigns.write", True),
        (["campaigns.*"], "campaignsx.write", False),
        (["campaigns.*"], "campaigns", False),
        (["*"], "objects.write", True),
        (["*"], "platform.tenants.write", False),
        (["*"], "lifecycle.purge", False),
        (["*", "platform.*"], "lifecycle.purge", False),
        (["lifecycle.*"], "lifecycle.purge", True),
        (["lifecycle.read"], "lifecycle.purge", False),
        (["platform.*"], "platform.tenants.write", True),
        (["platform.tenants.*"], "platform.tenants.write", True),
        (["platform.tenants.*"], "platform.keys.write", False),
        ([], "campaigns.read", False),
    ],
)
def test_what_grants_cover(grants: list[str], permission: str, *, allowed: bool) -> None:
    assert Permissions(grants).allow(permission) is allowed


@pytest.mark.parametrize(
    "grant", ["", "**", "*.read", "a..b", "A.read", "a.*.b", "a b", ".", "ä.read"]
)
def test_grants_out_of_grammar(grant: str) -> None:
    with pytest.raises(ValueError, match="grammar"):
        Permissions([grant])


def test_the_missing_permission_is_named() -> None:
    with pytest.raises(PermissionDenied) as caught:
        Permissions(["users.read"]).require("campaigns.write")
    assert caught.value.metadata == {"permission": "campaigns.write"}


@pytest.mark.parametrize("grant", ["platform", "platform.*", "platform.tenants.read"])
def test_platform_grants_are_known_as_such(grant: str) -> None:
    assert Permissions([grant]).platform
    assert not Permissions(["platforms.read", "*"]).platform


def test_lifecycle_grants_are_known_as_such() -> None:
    assert Permissions(["lifecycle.read", "*"]).lifecycle
    assert not Permissions(["lifecycle.read", "*"]).lifecycle_alone
    assert Permissions(["lifecycle.read", "lifecycle.purge"]).lifecycle_alone
    assert not Permissions([]).lifecycle_alone
    assert not Permissions(["lifecycles.read", "*"]).lifecycle
