"""Events as OpenSearch keeps them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boundary.guard import GuardViolation
from boundary.ids import parse_tenant_id
from services.search.opensearch_aggregates import plan
from services.search.opensearch_documents import document_of, source_of, words_of
from services.search.opensearch_queries import page_body, query_of
from services.search.opensearch_template import (
    MAPPING,
    Sizing,
    creation,
    require_names,
    template,
)
from services.search.ports import (
    CalendarInterval,
    Document,
    EventType,
    Filter,
    Histogram,
    Position,
    Rates,
    Terms,
    TermsField,
    UniqueRecipients,
)
from tests.contexts import make_context

TENANT = parse_tenant_id("A")
CLAUSES = {"bool", "filter", "term", "terms", "range", "match_phrase"}
FIELDS = {"tenantId", "eventType", "campaignId", "recipientKey", "timestamp", "words"}


def document(**fields: Any) -> Document:
    values: dict[str, Any] = {
        "tenant_id": TENANT,
        "event_id": "1",
        "event_type": EventType.OPEN,
        "campaign_id": "spring",
        "timestamp_ms": 1_700_000_000_000,
        "recipient": "Anna@Example.com",
        "message_id": "m-1",
        "subject": "Sale",
        "metadata": "",
        **fields,
    }
    return Document(**values)


@pytest.mark.parametrize("metadata", ["", "{}", '{"a":[1.5,null],"b":{"c":"\\n"}}'])
def test_a_document_survives_its_source(metadata):
    sent = document(metadata=metadata)
    assert document_of(orjson.loads(orjson.dumps(source_of(sent)))) == sent


def test_every_field_of_a_source_is_in_the_mapping():
    assert set(source_of(document(metadata="{}"))) == set(MAPPING["properties"])


@pytest.mark.parametrize("metadata", ['{}\n{"delete":{}}', "[]", "3", "{"])
def test_metadata_that_is_no_object_is_refused(metadata):
    with pytest.raises(ValueError, match=r"JSON|object|content|data"):
        source_of(document(metadata=metadata))


def test_metadata_with_line_breaks_stays_on_its_line():
    assert b"\n" not in orjson.dumps(source_of(document(metadata='{\n"a":\r\n1.0}')))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("anna@example.com", "anna example com"),
        ("Frühling", "fruhling"),
        ("Fru\u0308hling", "fruhling"),
        ("日本語 テスト", "日本語 テスト"),
        ("мо\u0301ре", "море"),  # noqa: RUF001 - Cyrillic on purpose
        ("snake_case 50%", "snake case 50"),
        ("한국어", "한국어"),
        ("- !", ""),
    ],
)
def test_words_are_runs_of_letters_and_digits(text, words):
    assert words_of(text) == words


def test_messages_with_names_that_run_together_differ():
    def key(**fields: Any) -> int:
        return int(source_of(document(**fields))["messageKey"])

    assert key(recipient="a", message_id="bc") != key(recipient="ab", message_id="c")
    assert key(message_id="spring", campaign_id="") != key(message_id="", campaign_id="spring")
    assert key(campaign_id="spring") == key(campaign_id="autumn")
    assert key(recipient="ANNA@example.com") == key()


filters = st.builds(
    Filter,
    event_types=st.frozensets(st.sampled_from(EventType)),
    campaign_ids=st.frozensets(st.text(max_size=20), max_size=4),
    recipient_key=st.none() | st.text(max_size=20),
    start_ms=st.none() | st.integers(),
    end_ms=st.none() | st.integers(),
    phrases=st.lists(st.text(max_size=20), max_size=3).map(tuple),
)


@given(filters)
def test_callers_values_are_values_and_never_clauses(filter_):
    def check(part: Any) -> None:
        assert isinstance(part, dict)
        for name, value in part.items():
            assert name in CLAUSES | FIELDS
            if name == "filter":
                for clause in value:
                    check(clause)
            elif name in {"bool", "term", "terms", "range", "match_phrase"}:
                check(value)
            elif name == "timestamp":
                assert set(value) <= {"gte", "lt"}
                assert all(isinstance(bound, int) for bound in value.values())
            elif isinstance(value, list):
                assert all(isinstance(each, str) for each in value)
            else:
                assert isinstance(value, str)

    query = query_of(filter_, TENANT)
    check(query)
    assert query["bool"]["filter"][0] == {"term": {"tenantId": "A"}}


def test_pages_have_one_total_order():
    body = page_body(
        Filter(),
        TENANT,
        size=51,
        ascending=False,
        position=Position(snapshot="x", timestamp_ms=7, event_id="e"),
        snapshot=("pit", "5m"),
    )
    assert body["sort"] == [{"timestamp": {"order": "desc"}}, {"eventId": {"order": "desc"}}]
    assert body["search_after"] == [7, "e"]
    assert body["pit"] == {"id": "pit", "keep_alive": "5m"}


def test_the_template_is_the_specs_and_the_index_says_whose_it_is():
    found = template()
    assert found["index_patterns"] == ["email-analytics-tenant-*"]
    assert found["template"]["settings"] == {"number_of_shards": 1, "number_of_replicas": 1}
    kinds = {
        name: field["type"] for name, field in found["template"]["mappings"]["properties"].items()
    }
    assert (
        kinds.items()
        >= {
            "tenantId": "keyword",
            "campaignId": "keyword",
            "eventType": "keyword",
            "timestamp": "date",
            "recipient": "keyword",
            "metadata": "object",
        }.items()
    )
    made = creation(make_context("Acme", audience="search").index, Sizing(shards=3, replicas=2))
    assert made["settings"] == {"number_of_shards": 3, "number_of_replicas": 2}
    assert made["aliases"] == {"email-tenant-acme": {}}
    assert made["mappings"]["_meta"] == {"tenantId": "Acme"}


@pytest.mark.parametrize(
    ("name", "alias"),
    [
        ("email-analytics-tenant-*", "email-tenant-*"),
        ("email-analytics-tenant-a,email-analytics-tenant-b", "email-tenant-a"),
        ("other:email-analytics-tenant-a", "email-tenant-a"),
        ("email-analytics-tenant-a/_search", "email-tenant-a"),
        ("email-analytics-tenant-a", "email-tenant-b"),
        ("_all", "_all"),
        ("", ""),
    ],
)
def test_names_that_could_be_more_than_one_index_stop_the_call(name, alias):
    index = replace(make_context("A", audience="search").index, name=name, alias=alias)
    with pytest.raises(GuardViolation):
        require_names(index)


def test_a_crowded_histogram_counts_types_without_further_buckets():
    hours = Histogram(interval=CalendarInterval.HOUR, time_zone="UTC", by_event_type=True)
    for days, kind in ((10, "terms"), (400, "filter")):
        body = plan([hours], (0, days * 86_400_000), 10_000).body(Filter(), TENANT)
        (sub, *_) = body["aggs"]["a0"]["aggs"].values()
        assert kind in sub


def test_all_of_a_calls_aggregations_are_one_request():
    body = plan(
        [
            Terms(field=TermsField.CAMPAIGN_ID, size=5),
            UniqueRecipients(by_event_type=True),
            Rates(),
        ],
        None,
        10,
    ).body(Filter(), TENANT)
    assert body["size"] == 0
    assert set(body["aggs"]) == {"first", "last", "a0", "a1", "a2"}
    assert "script" not in str(body)
