"""Services are restarted and killed under load, the suite is taken down and up: nothing acknowledged is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc

from silo.data.v1 import analytics_pb2, campaign_pb2, template_pb2
from silo.search.v1 import event_pb2
from silo.storage.v1 import object_pb2
from tests.compose.suite import ComposeSuite
from tests.e2e.test_kill import Client, await_recovery, content_of

TENANT = "C"
AFTERWARDS = 20


class Load:
    """Writes of every kind, each kind from a thread of its own, each write tried once.

    Attributes:
        acknowledged: the numbers of the writes that were answered with OK, by kind.
        unknown: how many of each kind were not, and may or may not be there.
    """

    def __init__(self, client: Client) -> None:
        self._writes: dict[str, Callable[[int], None]] = {
            "campaigns": client.create_campaign,
            "counters": client.count,
            "templates": client.store_template,
            "objects": client.upload,
            "events": client.ingest,
        }
        self.acknowledged: dict[str, list[int]] = {kind: [] for kind in self._writes}
        self.unknown: dict[str, int] = dict.fromkeys(self._writes, 0)
        self.unexpected: list[str] = []
        self._stop = threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Writes as long as the block lasts, and until every kind has been written again after it."""
        threads = [
            threading.Thread(target=self._keep_writing, args=(kind, write))
            for kind, write in self._writes.items()
        ]
        for thread in threads:
            thread.start()
        try:
            yield
            self._await_more()
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(15)

    def acknowledged_counts(self) -> dict[str, int]:
        """How many writes were acknowledged so far, by kind."""
        return {kind: len(numbers) for kind, numbers in self.acknowledged.items()}

    def _await_more(self) -> None:
        before = self.acknowledged_counts()
        deadline = time.monotonic() + 20
        while any(len(self.acknowledged[k]) < n + AFTERWARDS for k, n in before.items()):
            assert time.monotonic() < deadline, (
                f"not written to again: {before}, {self.acknowledged_counts()}"
            )
            time.sleep(0.1)

    def _keep_writing(self, kind: str, write: Callable[[int], None]) -> None:
        number = 0
        while not self._stop.is_set():
            try:
                write(number)
            except grpc.RpcError as error:
                self.unknown[kind] += 1
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    self.unexpected.append(f"{kind}: {error.code()} {error.details()}")
                time.sleep(0.02)
            else:
                self.acknowledged[kind].append(number)
            number += 1


def test_nothing_is_lost_when_services_are_restarted_under_load(stack: ComposeSuite) -> None:
    client = Client(stack, TENANT)
    load = Load(client)
    with load.running():
        time.sleep(1)
        stack.compose("restart", "data")
        time.sleep(1)
        stack.compose("kill", "-s", "SIGKILL", "storage", "search")
        stack.compose("up", "-d", "--no-build", timeout=120)
    assert not load.unexpected, load.unexpected[:5]
    print(f"acknowledged {load.acknowledged_counts()}, unknown {load.unknown}")
    await_recovery(client)
    verify(client, load)
    client.close()


def test_everything_is_there_after_the_suite_was_taken_down_and_up(stack: ComposeSuite) -> None:
    client = Client(stack, TENANT)
    client.create_campaign(1_000_000)
    client.upload(1_000_000)
    client.close()
    token = stack.token(TENANT)
    stack.down(volumes=False)
    stack.up()
    client = Client(stack, TENANT)
    client.common["metadata"] = (("authorization", f"Bearer {token}"),)  # the issuer is the same
    name = "campaigns/c1000000"
    client.campaigns.GetCampaign(campaign_pb2.GetCampaignRequest(name=name), **client.common)
    assert read_object(client, 1_000_000) == content_of(1_000_000)
    client.close()


def verify(client: Client, load: Load) -> None:
    """Every acknowledged write is there, and no more than was tried."""
    for number in load.acknowledged["campaigns"]:
        request = campaign_pb2.GetCampaignRequest(name=f"campaigns/c{number}")
        client.campaigns.GetCampaign(request, **client.common)
    report = client.counters.GetAnalyticsReport(
        analytics_pb2.GetAnalyticsReportRequest(start_date="2024-01-15", end_date="2024-01-15"),
        **client.common,
    )
    counted = {total.metric: total.value for total in report.totals}["OPENS"]
    _within(counted, load, "counters")
    for number in load.acknowledged["objects"]:
        assert read_object(client, number) == content_of(number)
    events = client.events.CountEvents(
        event_pb2.CountEventsRequest(
            filter=event_pb2.EventFilter(recipient="r@example.com"),
        ),
        **client.common,
    ).count
    _within(events, load, "events")
    for number in load.acknowledged["templates"]:
        name = template_pb2.GetTemplateContentRequest(name=f"templates/t{number}")
        answer = client.templates.GetTemplateContent(name, **client.common)
        assert answer.content == content_of(number)


def read_object(client: Client, number: int) -> bytes:
    request = object_pb2.DownloadObjectRequest(path=f"exports/{number}")
    return b"".join(part.chunk for part in client.objects.DownloadObject(request, **client.common))


def _within(counted: int, load: Load, kind: str) -> None:
    acknowledged = len(load.acknowledged[kind])
    assert acknowledged <= counted <= acknowledged + load.unknown[kind], kind
