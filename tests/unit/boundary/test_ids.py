from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boundary import scope
from boundary.errors import InvalidArgument
from boundary.ids import is_tenant_id, parse_entity_id, parse_tenant_id, slug_of
from tests.contexts import make_context


@pytest.mark.parametrize("raw", ["A", "a", "0", "acme", "acme-corp", "A-1", "x" * 40, "a--b"])
def test_tenant_ids_of_the_grammar(raw: str) -> None:
    assert parse_tenant_id(raw) == raw


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "-",
        "a-",
        "-a",
        "x" * 41,
        "a b",
        "a#b",
        "a/b",
        "a.b",
        "a_b",
        "a\n",
        "\na",
        "ä",
        "\u0430",
        "\u0663",
        "a\0",
    ],
)
def test_tenant_ids_out_of_grammar(raw: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_tenant_id(raw, field="tenant_id")
    assert caught.value.field == "tenant_id"


@given(st.text(max_size=50))
def test_only_the_grammar_passes(raw: str) -> None:
    grammar = re.compile(r"\A[A-Za-z0-9](?:[A-Za-z0-9-]{0,38}[A-Za-z0-9])?\Z")
    assert is_tenant_id(raw) == bool(grammar.match(raw) and not raw.endswith("\n"))


@pytest.mark.parametrize("raw", ["", ".a", "a#b", "a/b", "a b", "x" * 65, "..", "é", "a\n"])
def test_entity_ids_out_of_grammar(raw: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_entity_id(raw, field="campaign_id")


ids = st.from_regex(r"\A[A-Za-z0-9]([A-Za-z0-9-]{0,5}[A-Za-z0-9])?\Z").map(parse_tenant_id)


@given(ids, ids)
def test_no_tenants_names_lie_inside_anothers(one: str, other: str) -> None:
    if slug_of(parse_tenant_id(one)) == slug_of(parse_tenant_id(other)):
        return
    mine, theirs = make_scopes(one), make_scopes(other)
    assert not mine[0].owns(theirs[0].key)
    assert not mine[0].owns(theirs[0].index_key("CAMPAIGN", "STATUS"))
    assert not mine[1].owns(theirs[1].key("templates/html/1.html"))
    assert not mine[1].owns(theirs[1].prefix)
    assert mine[2].name != theirs[2].name


def make_scopes(tenant_id: str) -> tuple[scope.Partition, scope.ObjectPrefix, scope.SearchIndex]:
    tenant, slug = parse_tenant_id(tenant_id), slug_of(parse_tenant_id(tenant_id))
    seal = scope._SEAL
    return (
        scope.Partition(
            seal=seal, tenant_id=tenant, region="r", table="t", key=scope.partition_key(tenant)
        ),
        scope.ObjectPrefix(
            seal=seal, tenant_id=tenant, region="r", bucket="b", prefix=scope.object_prefix(slug)
        ),
        scope.SearchIndex(
            seal=seal,
            tenant_id=tenant,
            region="r",
            cluster="c",
            name=scope.index_name(slug),
            alias=scope.index_alias(slug),
        ),
    )


def test_the_names_of_the_domain_spec() -> None:
    context = make_context("A")
    assert context.partition.key == "TENANT#A"
    assert context.objects.key("templates/html/456.html") == "tenant-a/templates/html/456.html"
    assert context.index.name == "email-analytics-tenant-a"
    assert context.index.alias == "email-tenant-a"
    index_key = context.partition.index_key("CAMPAIGN", "STATUS", "DRAFT")
    assert index_key == "TENANT#A#CAMPAIGN#STATUS#DRAFT"
    with pytest.raises(ValueError, match="no separator"):
        context.partition.index_key("CAMPAIGN#STATUS")
    with pytest.raises(ValueError, match="prefix"):
        context.objects.path("tenant-ab/x")
