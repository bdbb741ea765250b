"""Audit records: the facts of a call as one line of JSON, chained to the line before it.

The hash of a record is the SHA-256 of its line without the newline; the next record of the chain carries it as
`prev`. The bytes as they stand in the file are the canonical form: nothing is parsed and written anew to check
them.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import orjson

if TYPE_CHECKING:
    import asyncio

    from boundary.interceptors.call import Call

FIRST = ""
"""The `prev` of a chain's first record."""

BEGIN = "BEGIN"
"""The `phase` of a record that says that a stream has begun; the record of its end has none."""

_MAX_RESOURCE = 1024
"""Characters of a resource's name that are kept; longer ones break their own grammar and were refused."""

_MAX_TENANT = 64
"""Characters of a tenant's id that are kept: more than any has; a JWT may claim whatever it likes."""

_MAX_RESOURCES = 200
_MAX_NAME = 200


class Facts(NamedTuple):
    """What is noted while a call is served; everything else is taken from the call when the record is written.

    Attributes:
        time: when it was noted, in seconds since the epoch.
        call: the call.
        status: the canonical status code's name; empty for a beginning.
        reason: the ErrorInfo reason, or empty.
        allowed: whether the boundary let the call through to its handler.
        begin: whether this is the beginning of a stream.
        waiter: what waits until the record is durable, if anything.
    """

    time: float
    call: Call
    status: str
    reason: str
    allowed: bool
    begin: bool
    waiter: asyncio.Future[None] | None


class Formatter:
    """Makes the lines of one writer."""

    def __init__(self, *, writer: str, service: str) -> None:
        self._writer = writer
        self._service = service
        self._second = 0
        self._to_the_second = ""

    def line(self, facts: Facts, *, chain: str, seq: int, prev: str) -> bytes:
        """The record's line, without a newline."""
        call = facts.call
        context, resource = call.context, call.resource
        vouched = context or call.caller
        record = {
            "writer": self._writer,
            "chain": chain,
            "seq": seq,
            "prev": prev,
            "time": self.stamp(facts.time),
            "request_id": call.request_id,
            "service": self._service,
            "tenant": (call.tenant_id or "")[:_MAX_TENANT],
            "principal": call.principal,
            "issuer": vouched.issuer if vouched else "",
            "actor": context.actor if context else "",
            "method": call.method.name,
            "resource": resource if len(resource) <= _MAX_RESOURCE else _bounded(resource),
            "decision": "ALLOWED" if facts.allowed else "REFUSED",
            "status": facts.status,
            "reason": facts.reason,
            "duration_ms": 0.0 if facts.begin else round(call.seconds * 1000, 3),
        }
        if facts.begin:
            record["phase"] = BEGIN
        if call.resources:
            record["resources"] = _several(call.resources)
        try:
            return orjson.dumps(record)
        except orjson.JSONEncodeError:  # a name with half of a surrogate pair in it
            return json.dumps(record, separators=(",", ":"), default=str).encode()

    def stamp(self, moment: float) -> str:
        """A time in RFC 3339, to the millisecond."""
        second = int(moment)
        if second != self._second:
            self._second = second
            self._to_the_second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._to_the_second}.{int((moment - second) * 1000):03d}Z"


def now() -> str:
    """This moment in RFC 3339, to the millisecond."""
    return Formatter(writer="", service="").stamp(time.time())


def digest_of(line: bytes) -> str:
    """The hash of a record's line, which is without its newline."""
    return hashlib.sha256(line).hexdigest()


def parse(line: bytes) -> Mapping[str, object]:
    """A line of the trail as JSON.

    Raises:
        ValueError: it is not a JSON object.
    """
    parsed = orjson.loads(line)
    if not isinstance(parsed, dict):
        raise ValueError("not a JSON object")
    return parsed


class Link(NamedTuple):
    """A record's place in its chain."""

    writer: str
    chain: str
    seq: int
    prev: str


def link_of(parsed: Mapping[str, object]) -> Link:
    """A parsed record's place in its chain.

    Raises:
        ValueError: it is not a record.
    """
    writer, chain = parsed.get("writer"), parsed.get("chain")
    seq, prev = parsed.get("seq"), parsed.get("prev")
    if not (isinstance(writer, str) and isinstance(chain, str) and isinstance(prev, str)):
        raise ValueError("not an audit record")
    if not isinstance(seq, int) or isinstance(seq, bool) or seq < 1 or "time" not in parsed:
        raise ValueError("not an audit record")
    return Link(writer, chain, seq, prev)


def _several(resources: Sequence[str]) -> list[str]:
    return [name[:_MAX_NAME] for name in resources[:_MAX_RESOURCES]]


def _bounded(resource: str) -> str:
    return resource[:_MAX_RESOURCE] + "..."
