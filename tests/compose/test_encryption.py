"""Tenants' keys in containers, where the resolver, data and storage share a volume of them and nothing else."""

from __future__ import annotations

from tests.compose.suite import ComposeSuite
from tests.e2e.test_encryption import (
    Client,
    client,
    test_encryption_is_switched_on_and_keys_rotate_while_the_tenant_works,
)

__all__ = ["client", "test_encryption_is_switched_on_and_keys_rotate_while_the_tenant_works"]


def test_a_destroyed_key_is_gone_for_every_container(stack: ComposeSuite, client: Client) -> None:
    client.create_tenant(encrypted=True)
    client.write("one")
    client.write_template("one")
    client.assert_readable("one")
    client.destroy_key()
    client.assert_shredded("one")
