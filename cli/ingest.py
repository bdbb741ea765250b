"""Ingest of SES records: batches over one stream, a few in flight, an account of every line.

The stream answers each batch once it is durable. Lines are remembered until their batch is answered, so that
whatever is refused can be named by its line.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import typer

from cli.failures import Failure
from cli.progress import transfer
from cli.render import console, print_json, print_table
from cli.ses import Problem, parse_file
from cli.session import Session
from silo.search.v1 import event_pb2, event_pb2_grpc

BATCH_EVENTS = 1000
BATCH_BYTES = 2 * 1024 * 1024
"""Half of the largest message that the suite serves."""

IN_FLIGHT = 4
_SHOWN_LINES = 50


@dataclass(slots=True)
class Account:
    """What became of the lines.

    Attributes:
        events: how many events were sent.
        accepted: how many of them were new.
        duplicates: how many were there already.
        problems: lines that were not taken, with the reason.
    """

    events: int = 0
    accepted: int = 0
    duplicates: int = 0
    problems: list[tuple[int, str]] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """The account for programs."""
        return {
            "event_count": self.events,
            "accepted_count": self.accepted,
            "duplicate_count": self.duplicates,
            "rejected_lines": [
                {"line": line, "reason": reason} for line, reason in sorted(self.problems)
            ],
        }


class Ingest:
    """One stream of batches. The requests are made on a thread of gRPC's, the answers taken on the caller's.

    Attributes:
        account: what became of the lines so far.
        problem: why the records could not be read, which gRPC itself does not tell.
    """

    def __init__(
        self, stream: BinaryIO, *, campaign_tag: str, on_batch: Callable[[], None] = lambda: None
    ) -> None:
        self.account = Account()
        self.problem: OSError | None = None
        self._stream = stream
        self._campaign_tag = campaign_tag
        self._on_batch = on_batch
        self._lines: dict[int, list[int]] = {}
        self._slots = threading.Semaphore(IN_FLIGHT)
        self._ended = threading.Event()

    def requests(self) -> Iterator[event_pb2.IngestEventsRequest]:
        """The batches, at most IN_FLIGHT of them unanswered."""
        try:
            for index, (batch, lines) in enumerate(self._batches()):
                while not self._slots.acquire(timeout=0.1):
                    if self._ended.is_set():
                        return
                self._lines[index] = lines
                self.account.events += len(lines)
                yield batch
        except OSError as error:
            self.problem = error
            raise

    def take(self, answer: event_pb2.IngestEventsResponse) -> None:
        """Takes the answer to a batch into the account."""
        lines = self._lines.pop(answer.batch_index)
        self.account.accepted += answer.accepted_count
        self.account.duplicates += answer.duplicate_count
        for rejected in answer.rejected_events:
            reason = (
                f"{rejected.field}: {rejected.description}"
                if rejected.field
                else rejected.description
            )
            self.account.problems.append((lines[rejected.index], reason))
        self._slots.release()
        self._on_batch()

    def end(self) -> None:
        """Lets the requests end where no answers will come any more."""
        self._ended.set()

    def _batches(self) -> Iterator[tuple[event_pb2.IngestEventsRequest, list[int]]]:
        batch, lines, held = event_pb2.IngestEventsRequest(), list[int](), 0
        for outcome in parse_file(self._stream, campaign_tag=self._campaign_tag):
            if isinstance(outcome, Problem):
                self.account.problems.append((outcome.line, outcome.reason))
                continue
            for event in outcome.events:
                weight = event.ByteSize()
                if lines and (len(lines) >= BATCH_EVENTS or held + weight > BATCH_BYTES):
                    yield batch, lines
                    batch, lines, held = event_pb2.IngestEventsRequest(), [], 0
                batch.events.append(event)
                lines.append(outcome.line)
                held += weight
        if lines:
            yield batch, lines


def run(session: Session, file: Path, *, campaign_tag: str) -> None:
    """Ingests a file and tells what became of it.

    Raises:
        Failure: a line was not taken, or the stream ended early.
        OSError: the file cannot be read.
    """
    stub = session.client.stub(event_pb2_grpc.EventServiceStub)
    with (
        _opened(file) as (stream, total),
        transfer(file.name, total=total, quiet=session.json) as bar,
    ):
        (task,) = bar.task_ids

        def moved() -> None:
            if total is not None:
                bar.update(task, completed=stream.tell())

        ingest = Ingest(stream, campaign_tag=campaign_tag, on_batch=moved)
        failure = _exchange(session, stub, ingest)
    _tell(session, ingest.account)
    if ingest.problem is not None:
        raise ingest.problem
    if failure is not None:
        raise failure
    if ingest.account.problems:
        raise Failure(f"{len(ingest.account.problems)} lines or events could not be taken")


def _exchange(
    session: Session, stub: event_pb2_grpc.EventServiceStub, ingest: Ingest
) -> Failure | None:
    """Sends the batches and takes the answers; why the stream ended early, or None."""
    try:
        for answer in session.client.converse(stub.IngestEvents, ingest.requests()):
            ingest.take(answer)
    except Failure as failure:
        return failure
    finally:
        ingest.end()
    return None


def _tell(session: Session, account: Account) -> None:
    if session.json:
        print_json(account.document())
        return
    typer.echo(
        f"{account.events} events: {account.accepted} accepted, {account.duplicates} duplicates, "
        f"{account.events - account.accepted - account.duplicates} not taken"
    )
    if not account.problems:
        return
    shown = sorted(account.problems)[:_SHOWN_LINES]
    print_table(
        (">line", "could not be taken because it"),
        ([str(line), reason] for line, reason in shown),
        empty="",
    )
    if len(account.problems) > len(shown):
        console().print(f"and {len(account.problems) - len(shown)} more; --json lists all")


@contextmanager
def _opened(file: Path) -> Iterator[tuple[BinaryIO, int | None]]:
    if str(file) == "-":
        yield sys.stdin.buffer, None
        return
    with file.open("rb") as stream:
        yield stream, os.fstat(stream.fileno()).st_size
