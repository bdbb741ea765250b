from __future__ import annotations

import dataclasses

import pytest

from boundary import scope
from boundary.context import serving
from boundary.guard import GuardViolation
from services.keys.guard import GuardedDataKeys
from services.keys.local import LocalKeys
from tests.contexts import make_context

A, B = make_context("A"), make_context("B")


async def test_a_call_is_for_the_current_tenants_key_alone(tmp_path):
    inner = LocalKeys(tmp_path)
    keys = GuardedDataKeys(inner)
    for context in (A, B):
        await inner.create(context.key)
    with serving(A):
        made = await keys.generate(A.key, purpose="objects")
        wrapped = await keys.wrap(A.key, made.plaintext, purpose="objects")
        assert await keys.unwrap(A.key, wrapped, purpose="objects") == made.plaintext
        for call in (
            keys.generate(B.key, purpose="objects"),
            keys.wrap(B.key, made.plaintext, purpose="objects"),
            keys.unwrap(B.key, wrapped, purpose="objects"),
        ):
            with pytest.raises(GuardViolation):
                await call
    with pytest.raises(GuardViolation):
        await keys.generate(A.key, purpose="objects")
    inner.close()


def test_a_key_handle_comes_from_a_context_alone():
    with pytest.raises(TypeError, match="verified"):
        scope.TenantKey(seal=None, tenant_id=A.tenant_id, region="local", name="tenant-a")
    with pytest.raises(TypeError):
        dataclasses.replace(A.key, seal=None, name="tenant-b")
    assert (A.key.tenant_id, A.key.region, A.key.name) == ("A", "local", "tenant-a")
    assert make_context("A-1").key.name == "tenant-a-1"
