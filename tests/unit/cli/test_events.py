from __future__ import annotations

import io
import json
import threading

from cli.ingest import BATCH_BYTES, IN_FLIGHT, Ingest
from silo.search.v1 import event_pb2


def record(number: int, *, recipient: str = "a@example.com", campaign: str = "spring") -> str:
    return json.dumps(
        {
            "eventType": "Send",
            "send": {},
            "mail": {
                "timestamp": "2024-03-09T00:40:02.012Z",
                "messageId": f"m{number}",
                "destination": [recipient],
                "tags": {"campaign": [campaign]},
            },
        }
    )


def test_takes_every_line(silo, gateway, tmp_path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text("".join(record(number) + "\n" for number in range(2500)))
    result = silo("events", "ingest", str(file), "--tenant", "A")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == "2500 events: 2500 accepted, 0 duplicates, 0 not taken\n"
    assert [len(request.events) for request in gateway.requests] == [1000, 1000, 500]
    assert gateway.requests[0].events[0].campaign_id == "spring"

    again = silo("events", "ingest", str(file), "--tenant", "A", "--json")
    assert json.loads(again.stdout) == {
        "event_count": 2500,
        "accepted_count": 0,
        "duplicate_count": 2500,
        "rejected_lines": [],
    }


def test_names_every_line_that_was_not_taken(silo, gateway) -> None:
    gateway.rejects["bad@example.com"] = "is not wanted"
    lines = [record(1), "garbage", record(2, recipient="bad@example.com"), "", record(3), '{"a":1}']
    result = silo("events", "ingest", "-", "--tenant", "A", "--json", stdin="\n".join(lines))
    assert result.exit_code == 1
    account = json.loads(result.stdout)
    assert (account["event_count"], account["accepted_count"]) == (3, 2)
    assert [line["line"] for line in account["rejected_lines"]] == [2, 3, 6]
    assert account["rejected_lines"][1]["reason"] == "recipient: is not wanted"
    assert result.stderr == "silo: 3 lines or events could not be taken\n"

    shown = silo("events", "ingest", "-", "--tenant", "A", stdin="\n".join(lines))
    assert shown.stdout.startswith("3 events: 0 accepted, 2 duplicates, 1 not taken\n")
    assert "is not wanted" in shown.stdout


def test_tells_what_was_taken_before_the_stream_ended(silo, gateway, tmp_path) -> None:
    gateway.fail_after_batches = 1
    file = tmp_path / "events.jsonl"
    file.write_text("".join(record(number) + "\n" for number in range(9000)))
    result = silo("events", "ingest", str(file), "--tenant", "A", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["accepted_count"] == 1000
    assert result.stderr == "INVALID_ARGUMENT (INVALID_FIELD): events: are not wanted\n"


def test_the_campaign_comes_from_the_tag_that_is_named(silo, gateway) -> None:
    line = record(1).replace('"campaign"', '"cid"')
    silo("events", "ingest", "-", "--tenant", "A", "--campaign-tag", "cid", stdin=line)
    assert gateway.requests[0].events[0].campaign_id == "spring"


def test_few_batches_are_in_flight() -> None:
    lines = "".join(record(number) + "\n" for number in range(20_000)).encode()
    ingest = Ingest(io.BytesIO(lines), campaign_tag="campaign")
    made: list[event_pb2.IngestEventsRequest] = []
    waiting = threading.Event()

    def make() -> None:
        for batch in ingest.requests():
            made.append(batch)
            if len(made) == IN_FLIGHT:
                waiting.set()

    thread = threading.Thread(target=make)
    thread.start()
    assert waiting.wait(20)
    thread.join(0.3)
    assert len(made) == IN_FLIGHT
    ingest.take(event_pb2.IngestEventsResponse(batch_index=0, accepted_count=1000))
    thread.join(0.3)
    assert len(made) == IN_FLIGHT + 1
    ingest.end()
    thread.join(5)
    assert not thread.is_alive()


def test_batches_are_smaller_than_a_message_may_be() -> None:
    lines = []
    for number in range(400):
        line = json.loads(record(number))
        line["eventType"] = "Click"
        line["click"] = {
            "timestamp": "2024-03-09T00:40:02.012Z",
            "link": "https://example.com/",
            "linkTags": {f"k{tag}": ["v" * 1500] for tag in range(8)},
        }
        lines.append(json.dumps(line))
    ingest = Ingest(io.BytesIO("\n".join(lines).encode()), campaign_tag="campaign")
    sizes = []
    for index, batch in enumerate(ingest.requests()):
        sizes.append(batch.ByteSize())
        ingest.take(event_pb2.IngestEventsResponse(batch_index=index))
    assert len(sizes) > 1
    assert max(sizes) < BATCH_BYTES * 1.1
    assert ingest.account.events == 400


def test_filters_say_what_is_meant(silo, gateway) -> None:
    result = silo(
        *("events", "count", "--tenant", "A", "--type", "open", "--type", "rendering-failure"),
        *("--campaign", "spring", "--recipient", "a@example.com", "--text", "hello"),
        *("--start", "2024-03-01", "--end", "2024-03-02T01:00:00+01:00"),
    )
    assert result.stdout == "0\n"
    chosen = gateway.requests[0].filter
    assert list(chosen.event_types) == [
        event_pb2.EVENT_TYPE_OPEN,
        event_pb2.EVENT_TYPE_RENDERING_FAILURE,
    ]
    assert list(chosen.campaign_ids) == ["spring"]
    assert (chosen.recipient, chosen.text) == ("a@example.com", "hello")
    assert chosen.start_time.ToJsonString() == "2024-03-01T00:00:00Z"
    assert chosen.end_time.ToJsonString() == "2024-03-02T00:00:00Z"


def test_a_time_that_is_none(silo, gateway) -> None:
    result = silo("events", "count", "--tenant", "A", "--start", "soon")
    assert result.exit_code == 1
    assert "--start takes a time" in result.stderr


def test_finds_events(silo, gateway) -> None:
    silo("events", "ingest", "-", "--tenant", "A", stdin=record(1))
    shown = silo("events", "search", "--tenant", "A").stdout
    assert "2024-03-09 00:40:02Z" in shown
    assert "a@example.com" in shown
    (event,) = json.loads(silo("events", "search", "--tenant", "A", "--json").stdout)["events"]
    assert event["event_type"] == "EVENT_TYPE_SEND"


def test_reports_in_tables_and_a_plot(silo, gateway) -> None:
    result = silo("events", "report", "--tenant", "A", "--time-zone", "America/New_York")
    assert result.exit_code == 0, result.stderr
    assert "open    1,234          900" in result.stdout
    assert "spring" in result.stdout
    assert "12.5%" in result.stdout
    assert "Events by day (America/New_York)" in result.stdout
    assert "03-10" in result.stdout
    assert "█" in result.stdout
    overall, of_spring = gateway.requests
    assert overall.aggregations[2].histogram.time_zone == "America/New_York"
    assert list(of_spring.filter.campaign_ids) == ["spring"]


def test_reports_for_programs(silo, gateway) -> None:
    report = json.loads(silo("events", "report", "--tenant", "A", "--json").stdout)
    assert report["by_campaign"]["spring"]["rates"]["open_rate"] == 0.125
    assert [bucket["count"] for bucket in report["histogram"]["buckets"]] == ["617", "617"]
    unknown = silo("events", "report", "--tenant", "A", "--interval", "year")
    assert unknown.stderr == "silo: --interval takes hour, day, week, month, not 'year'\n"
