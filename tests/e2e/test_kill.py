"""What was acknowledged is there after `kill -9` of every process, and nothing stands half."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest

from devstack.stack import Stack
from silo.data.v1 import (
    analytics_pb2,
    analytics_pb2_grpc,
    campaign_pb2,
    campaign_pb2_grpc,
    template_pb2,
    template_pb2_grpc,
)
from silo.search.v1 import event_pb2, event_pb2_grpc
from silo.storage.v1 import object_pb2, object_pb2_grpc

SECONDS_OF_WRITING = 1.5
DEADLINE = 10.0


class Client:
    """The suite as one tenant sees it."""

    def __init__(self, stack: Stack, tenant_id: str) -> None:
        self.channel = grpc.insecure_channel(stack.gateway)
        self.common: dict[str, Any] = {
            "metadata": (("authorization", f"Bearer {stack.token(tenant_id)}"),),
            "timeout": DEADLINE,
        }
        self.campaigns = campaign_pb2_grpc.CampaignServiceStub(self.channel)
        self.templates = template_pb2_grpc.TemplateServiceStub(self.channel)
        self.counters = analytics_pb2_grpc.AnalyticsServiceStub(self.channel)
        self.objects = object_pb2_grpc.ObjectServiceStub(self.channel)
        self.events = event_pb2_grpc.EventServiceStub(self.channel)

    def create_campaign(self, number: int) -> None:
        self.campaigns.CreateCampaign(
            campaign_pb2.CreateCampaignRequest(
                campaign_id=f"c{number}", campaign=campaign_pb2.Campaign(display_name=str(number))
            ),
            **self.common,
        )

    def count(self, number: int) -> None:
        increment = analytics_pb2.CounterIncrement(date="2024-01-15", metric="OPENS", delta=1)
        self.counters.IncrementCounters(
            analytics_pb2.IncrementCountersRequest(request_id=f"r{number}", increments=[increment]),
            **self.common,
        )

    def store_template(self, number: int) -> None:
        self.templates.CreateTemplate(
            template_pb2.CreateTemplateRequest(
                template_id=f"t{number}",
                template=template_pb2.Template(display_name=str(number)),
                content=content_of(number),
            ),
            **self.common,
        )

    def upload(self, number: int) -> None:
        def parts() -> Iterator[object_pb2.UploadObjectRequest]:
            spec = object_pb2.UploadSpec(path=f"exports/{number}")
            yield object_pb2.UploadObjectRequest(spec=spec)
            yield object_pb2.UploadObjectRequest(chunk=content_of(number))

        self.objects.UploadObject(parts(), **self.common)

    def upload_without_end(self, stop: threading.Event) -> None:
        def parts() -> Iterator[object_pb2.UploadObjectRequest]:
            spec = object_pb2.UploadSpec(path="exports/never")
            yield object_pb2.UploadObjectRequest(spec=spec)
            while not stop.is_set():
                yield object_pb2.UploadObjectRequest(chunk=b"n" * 65536)
                time.sleep(0.01)

        self.objects.UploadObject(parts(), metadata=self.common["metadata"])

    def ingest(self, number: int) -> None:
        event = event_pb2.Event(
            event_id=f"e{number}", event_type=event_pb2.EVENT_TYPE_OPEN, recipient="r@example.com"
        )
        event.timestamp.FromSeconds(1_700_000_000 + number)
        list(
            self.events.IngestEvents(
                iter([event_pb2.IngestEventsRequest(events=[event])]), **self.common
            )
        )

    def close(self) -> None:
        self.channel.close()


def content_of(number: int) -> bytes:
    """Content that tells whose it is."""
    return f"<p>{number}</p>".encode() * 50


@pytest.mark.timeout(120)
def test_acknowledged_writes_survive_kill_9_of_every_process(tmp_path: Path) -> None:
    stack = Stack(home=tmp_path / "home", drain_seconds=1.0)
    stack.start()
    try:
        acknowledged = write_until_killed(stack)
        for kind, numbers in acknowledged.items():
            assert len(numbers) > 5, f"too few {kind} were written for the test to mean anything"
        stack.start()
        client = Client(stack, "A")
        try:
            await_recovery(client)
            verify(client, acknowledged)
            verify_templates_are_whole(client)
            verify_nothing_is_left_of_the_cut_upload(client, tmp_path / "home")
        finally:
            client.close()
    finally:
        stack.stop()


def write_until_killed(stack: Stack) -> dict[str, list[int]]:
    """Writes of every kind from threads of their own while every process is killed at once."""
    client = Client(stack, "A")
    writes: dict[str, Callable[[int], None]] = {
        "campaigns": client.create_campaign,
        "counters": client.count,
        "templates": client.store_template,
        "objects": client.upload,
        "events": client.ingest,
    }
    acknowledged: dict[str, list[int]] = {kind: [] for kind in writes}
    ended: dict[str, str] = {}
    stop = threading.Event()

    def keep_writing(kind: str, write: Callable[[int], None]) -> None:
        number = 0
        while not stop.is_set():
            try:
                write(number)
            except grpc.RpcError as error:
                ended[kind] = f"{error.code()} {error.details()}"
                return
            acknowledged[kind].append(number)
            number += 1

    def keep_uploading() -> None:
        try:
            client.upload_without_end(stop)
        except grpc.RpcError:
            return

    threads = [
        threading.Thread(target=keep_writing, args=(kind, write)) for kind, write in writes.items()
    ]
    threads.append(threading.Thread(target=keep_uploading))
    for thread in threads:
        thread.start()
    time.sleep(SECONDS_OF_WRITING)
    assert not ended, ended
    stack.kill()
    stop.set()
    for thread in threads:
        thread.join(DEADLINE + 5)
        assert not thread.is_alive()
    client.close()
    return acknowledged


def await_recovery(client: Client) -> None:
    """Waits until the data service has resolved what the crash left pending, within bounds."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        listed = {template.name for template in templates(client)}
        stored = {
            "templates/" + item.path.rpartition("/")[2].removesuffix(".html")
            for item in objects(client, "templates/html/")
        }
        if listed == stored:
            return
        time.sleep(0.25)
    raise AssertionError(f"records without content or content without records: {listed ^ stored}")


def verify(client: Client, acknowledged: dict[str, list[int]]) -> None:
    """Every acknowledged write is there."""
    for number in acknowledged["campaigns"]:
        client.campaigns.GetCampaign(
            campaign_pb2.GetCampaignRequest(name=f"campaigns/c{number}"), **client.common
        )
    report = client.counters.GetAnalyticsReport(
        analytics_pb2.GetAnalyticsReportRequest(start_date="2024-01-15", end_date="2024-01-15"),
        **client.common,
    )
    counted = report.totals[0].value
    # The one increment that was under way may have been counted without its answer.
    assert len(acknowledged["counters"]) <= counted <= len(acknowledged["counters"]) + 1
    for number in acknowledged["objects"]:
        read = b"".join(
            part.chunk
            for part in client.objects.DownloadObject(
                object_pb2.DownloadObjectRequest(path=f"exports/{number}"), **client.common
            )
        )
        assert read == content_of(number)
    events = client.events.CountEvents(event_pb2.CountEventsRequest(), **client.common).count
    assert len(acknowledged["events"]) <= events <= len(acknowledged["events"]) + 1
    for number in acknowledged["templates"]:
        response = client.templates.GetTemplateContent(
            template_pb2.GetTemplateContentRequest(name=f"templates/t{number}"), **client.common
        )
        assert response.content == content_of(number)


def verify_templates_are_whole(client: Client) -> None:
    """Every record has the content whose digest it carries."""
    stored = {item.path: item for item in objects(client, "templates/html/")}
    for template in templates(client):
        number = int(template.name.removeprefix("templates/t"))
        digest = hashlib.sha256(content_of(number)).hexdigest()
        assert template.content_sha256 == stored[template.content_path].sha256 == digest


def verify_nothing_is_left_of_the_cut_upload(client: Client, home: Path) -> None:
    """The upload that never ended is no object, and no file on the disk."""
    paths = [item.path for item in objects(client, "exports/")]
    assert "exports/never" not in paths
    for _ in range(50):  # the audit trail goes on being archived, and replaces what it wrote
        if not unknown_content(home):
            return
        time.sleep(0.1)
    raise AssertionError(f"content that no object has: {unknown_content(home)}")


def unknown_content(home: Path) -> set[str]:
    """The files of content that no object has."""
    files = {
        path.name
        for path in (home / "objects").rglob("*")
        if path.is_file() and ".sqlite" not in path.name
    }
    index = home / "objects" / "objects.sqlite"
    with closing(sqlite3.connect(f"file:{index}?mode=ro", uri=True)) as connection:
        return files - {content for (content,) in connection.execute("SELECT content FROM objects")}


def templates(client: Client) -> list[template_pb2.Template]:
    """Every template, page by page."""
    found: list[template_pb2.Template] = []
    token = ""
    while True:
        page = client.templates.ListTemplates(
            template_pb2.ListTemplatesRequest(page_size=200, page_token=token), **client.common
        )
        found += page.templates
        token = page.next_page_token
        if not token:
            return found


def objects(client: Client, prefix: str) -> list[object_pb2.Object]:
    """Every object under a prefix, page by page."""
    found: list[object_pb2.Object] = []
    token = ""
    while True:
        page = client.objects.ListObjects(
            object_pb2.ListObjectsRequest(prefix=prefix, page_size=1000, page_token=token),
            **client.common,
        )
        found += page.objects
        token = page.next_page_token
        if not token:
            return found
