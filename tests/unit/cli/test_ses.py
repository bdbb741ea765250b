"""SES records become events, and every line that cannot is reported."""

from __future__ import annotations

import io
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st

from cli.ses import MAX_LINE_BYTES, Problem, Taken, UnusableRecord, parse_file, parse_line
from services.search.documents import document_of
from silo.search.v1 import event_pb2
from tests.contexts import make_context

DATA = Path(__file__).parents[2] / "data"
TYPES = {
    "EVENT_TYPE_BOUNCE",
    "EVENT_TYPE_COMPLAINT",
    "EVENT_TYPE_DELIVERY",
    "EVENT_TYPE_SEND",
    "EVENT_TYPE_REJECT",
    "EVENT_TYPE_OPEN",
    "EVENT_TYPE_CLICK",
    "EVENT_TYPE_RENDERING_FAILURE",
    "EVENT_TYPE_DELIVERY_DELAY",
    "EVENT_TYPE_SUBSCRIPTION",
}


def parsed(*lines: bytes | str | dict[str, Any], **options: Any) -> list[Taken | Problem]:
    raw = (
        line
        if isinstance(line, bytes)
        else (line if isinstance(line, str) else json.dumps(line)).encode()
        for line in lines
    )
    return list(parse_file(io.BytesIO(b"\n".join(raw)), **options))


def only(line: dict[str, Any], **options: Any) -> event_pb2.Event:
    (event,) = parse_line(json.dumps(line).encode(), **options)
    return event


def reason(line: bytes | str | dict[str, Any], **options: Any) -> str:
    (result,) = parsed(line, **options)
    assert isinstance(result, Problem)
    assert result.line == 1
    return result.reason


def events_of(name: str, **options: Any) -> list[event_pb2.Event]:
    with (DATA / name).open("rb") as stream:
        return [
            event
            for result in parse_file(stream, **options)
            if isinstance(result, Taken)
            for event in result.events
        ]


def record(kind: str, detail: dict[str, Any] | None = None, **mail: Any) -> dict[str, Any]:
    member = {"Rendering Failure": "failure", "DeliveryDelay": "deliveryDelay"}.get(
        kind, kind.lower()
    )
    return {
        "eventType": kind,
        member: detail if detail is not None else {},
        "mail": {
            "timestamp": "2024-03-01T10:00:00.500Z",
            "messageId": "m-1",
            "destination": ["anna@example.com"],
            **mail,
        },
    }


class TestRealRecords:
    def test_every_type_becomes_an_event(self):
        events = events_of("ses-events.jsonl") + events_of("ses-other-types.jsonl")
        assert {event_pb2.EventType.Name(event.event_type) for event in events} == TYPES
        assert len(events) == 10

    def test_the_search_service_takes_every_event(self):
        tenant_id = make_context("A", audience="search").tenant_id
        for event in events_of("ses-events.jsonl") + events_of("ses-other-types.jsonl"):
            assert document_of(event, tenant_id).event_id == event.event_id

    def test_an_envelope_changes_nothing(self):
        bare = events_of("ses-events.jsonl") + events_of("ses-other-types.jsonl")
        assert events_of("ses-sns.jsonl") == bare

    def test_what_is_no_event_in_an_sns_file_is_reported(self):
        with (DATA / "ses-sns.jsonl").open("rb") as stream:
            problems = [result for result in parse_file(stream) if isinstance(result, Problem)]
        assert [problem.line for problem in problems] == [1, 2]
        assert "SubscriptionConfirmation" in problems[0].reason
        assert "Message is not JSON" in problems[1].reason

    def test_a_bounce_in_full(self):
        bounce = events_of("ses-events.jsonl")[0]
        told = MessageToDict(bounce, preserving_proto_field_name=True)
        assert told.pop("event_id").startswith("ses-")
        assert told == {
            "event_type": "EVENT_TYPE_BOUNCE",
            "timestamp": "2017-08-05T00:41:02.669Z",
            "recipient": "recipient@example.com",
            "message_id": "EXAMPLE7c191be45-e9aedb9a-02f9-4d12-a87d-dd0099a07f8a-000000",
            "subject": "Message sent from Amazon SES",
            "metadata": {
                "bounceType": "Permanent",
                "bounceSubType": "General",
                "feedbackId": "01000157c44f053b-61b59c11-9236-11e6-8f96-7be8aexample-000000",
                "reportingMTA": "dsn; mta.example.com",
                "action": "failed",
                "status": "5.1.1",
                "diagnosticCode": "smtp; 550 5.1.1 user unknown",
            },
        }

    def test_details_of_the_other_types(self):
        click, failure, delay, subscription = events_of("ses-other-types.jsonl")
        assert click.metadata["link"] == "https://shop.example.com/p/77"
        assert list(click.metadata["linkTags"]["placement"]) == ["hero"]
        assert failure.metadata["templateName"] == "MyTemplate"
        assert failure.timestamp.ToJsonString() == "2017-08-09T23:50:05.795Z"
        assert delay.metadata["delayType"] == "TransientCommunicationFailure"
        assert delay.metadata["status"] == "4.4.1"
        assert subscription.metadata["newTopicPreferences"]["unsubscribeAll"] is True
        assert {event.campaign_id for event in (click, failure, delay, subscription)} == {
            "spring-2017"
        }


class TestRecipients:
    def test_a_bounce_makes_an_event_for_each_recipient_with_what_is_said_of_that_one(self):
        line = record(
            "Bounce",
            {
                "timestamp": "2024-03-01T10:00:01Z",
                "bouncedRecipients": [
                    {"emailAddress": "a@x.example", "status": "5.1.1"},
                    {"emailAddress": "B <b@x.example>", "status": "5.2.2"},
                    {"emailAddress": "A@x.example"},
                ],
            },
            destination=["a@x.example", "b@x.example", "c@x.example"],
        )
        events = parse_line(json.dumps(line).encode())
        assert [event.recipient for event in events] == ["a@x.example", "b@x.example"]
        assert [event.metadata["status"] for event in events] == ["5.1.1", "5.2.2"]
        assert len({event.event_id for event in events}) == 2

    @pytest.mark.parametrize(
        ("kind", "detail", "expected"),
        [
            ("Delivery", {"recipients": ["a@x.example"]}, ["a@x.example"]),
            (
                "Complaint",
                {"complainedRecipients": [{"emailAddress": "a@x.example"}]},
                ["a@x.example"],
            ),
            (
                "DeliveryDelay",
                {"delayedRecipients": {"emailAddress": "a@x.example"}},
                ["a@x.example"],
            ),
            ("Complaint", {"complainedRecipients": []}, ["d@x.example", "e@x.example"]),
            ("Send", {}, ["d@x.example", "e@x.example"]),
            ("Reject", {"reason": "Bad content"}, ["d@x.example", "e@x.example"]),
        ],
    )
    def test_who_a_record_is_about(self, kind, detail, expected):
        line = record(kind, detail, destination=["d@x.example", "e@x.example"])
        events = parse_line(json.dumps(line).encode())
        assert [event.recipient for event in events] == expected

    def test_an_open_with_several_destinations_is_one_for_each_and_says_so(self):
        line = record("Open", {}, destination=["d@x.example", "e@x.example"])
        events = parse_line(json.dumps(line).encode())
        assert [event.metadata["possibleRecipients"] for event in events] == [2, 2]
        assert "possibleRecipients" not in only(record("Open")).metadata.fields


class TestEventIds:
    def test_the_same_record_has_the_same_id_however_it_is_written(self):
        line = record("Click", {"link": "https://a.example", "timestamp": "2024-03-01T10:00:01Z"})
        shuffled = dict(reversed(line.items()))
        sns = {"Type": "Notification", "Message": json.dumps(shuffled, indent=1)}
        assert only(line).event_id == only(shuffled).event_id == only(sns).event_id

    def test_two_clicks_are_two_events(self):
        at = "2024-03-01T10:00:01Z"
        lines = [
            record("Click", {"link": "https://a.example", "timestamp": at}),
            record("Click", {"link": "https://b.example", "timestamp": at}),
            record("Click", {"link": "https://a.example", "timestamp": "2024-03-01T10:00:02Z"}),
            record("Click", {"link": "https://a.example", "timestamp": at}, messageId="m-2"),
            record("Open", {"timestamp": at}),
        ]
        assert len({only(line).event_id for line in lines}) == len(lines)


class TestCampaignTag:
    def test_the_tag_is_named_by_the_caller(self):
        line = record("Send", tags={"campaign": ["spring"], "wave": ["autumn", "other"]})
        assert only(line).campaign_id == "spring"
        assert only(line, campaign_tag="wave").campaign_id == "autumn"
        assert only(line, campaign_tag="none").campaign_id == ""

    def test_the_header_stands_in_where_there_are_no_tags(self):
        header = {"name": "x-ses-message-tags", "value": "wave=2, campaign=spring"}
        assert only(record("Send", headers=[header])).campaign_id == "spring"

    @pytest.mark.parametrize("value", [["a b"], ["_x"], [""], [7], "a/b", {"a": 1}])
    def test_a_value_that_is_no_campaign_id_is_reported(self, value):
        assert "campaign" in reason(record("Send", tags={"campaign": value}))


class TestProblems:
    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("{", "not JSON"),
            ("[]", "not a JSON object"),
            ('"x"', "not a JSON object"),
            ('{"a":NaN}', "not JSON"),
            (b'{"a":"\xff"}', "not UTF-8"),
            ('{"a":"\\ud800"}', "not JSON"),
            ("[" * 100_000, "not JSON"),
            ('{"a":' + "[" * 500 + "]" * 500 + "}", "nested too deeply"),
            ({}, "no eventType"),
            ({"eventType": "Opened"}, 'unknown eventType "Opened"'),
            ({"eventType": ["Open"]}, "unknown eventType"),
            ({"eventType": "Open"}, "mail is missing"),
            ({"eventType": "Open", "mail": []}, "mail is not an object"),
            ({"eventType": "Open", "mail": {}}, "open is missing"),
            (record("Open") | {"open": "x"}, "open is not an object"),
            (record("Open", messageId=None), "mail.messageId is missing"),
            (record("Open", messageId=7), "mail.messageId is not a text"),
            (record("Open", destination=[]), "mail.destination is not a list"),
            (record("Open", destination="a@x"), "mail.destination is not a list"),
            (record("Open", destination=[7]), "emailAddress is not a text"),
            (record("Open", timestamp=None), "mail.timestamp is missing"),
            (record("Open", timestamp="yesterday"), "mail.timestamp is no ISO 8601"),
            (record("Open", timestamp="2024-03-01T10:00:00"), "no time zone"),
            (record("Open", {"timestamp": 5}), "open.timestamp is not a text"),
            (record("Open", tags=[]), "mail.tags is not an object"),
            (record("Bounce", {"bouncedRecipients": "a@x"}), "bouncedRecipients is not a list"),
            (record("Bounce", {"bouncedRecipients": [{}]}), "emailAddress is missing"),
            (
                record("Click", {"linkTags": {str(n): "x" * 2000 for n in range(9)}}),
                "bytes of details",
            ),
            ({"Type": "SubscriptionConfirmation"}, "SNS"),
            ({"Type": "UnsubscribeConfirmation"}, "SNS"),
            ({"Type": "Notification"}, "without a Message"),
            ({"Type": "Notification", "Message": {}}, "without a Message"),
            ({"Type": "Notification", "Message": "hello"}, "Message is not JSON"),
            ({"Type": "Notification", "Message": "{}"}, "no eventType"),
        ],
    )
    def test_what_is_wrong_is_said(self, line, expected):
        assert expected in reason(line)

    def test_a_bad_line_never_stops_the_file_and_blank_lines_are_skipped(self):
        results = parsed("\ufeff", record("Open"), "", "  ", "{", record("Send"))
        assert [(type(result), result.line) for result in results] == [
            (Taken, 2),
            (Problem, 5),
            (Taken, 6),
        ]

    def test_a_line_that_is_too_long_is_passed_over(self):
        long = b'{"eventType":"' + b"x" * (3 * MAX_LINE_BYTES) + b'"}'
        results = parsed(long, record("Open"), long)
        assert [(type(result), result.line) for result in results] == [
            (Problem, 1),
            (Taken, 2),
            (Problem, 3),
        ]
        longest = json.dumps(record("Open")).encode().ljust(MAX_LINE_BYTES)
        assert isinstance(parsed(longest, longest)[1], Taken)

    @given(st.binary(max_size=200))
    def test_no_bytes_break_it(self, raw):
        for result in parse_file(io.BytesIO(raw)):
            assert isinstance(result, Problem)

    @given(
        st.recursive(
            st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(
                        ["mail", "open", "timestamp", "destination", "tags", "headers"]
                    ),
                    inner,
                    max_size=6,
                )
            ),
        )
    )
    def test_no_record_breaks_it(self, value):
        line = record("Open") | (value if isinstance(value, dict) else {"mail": value})
        with suppress(UnusableRecord):
            assert parse_line(json.dumps(line).encode())
