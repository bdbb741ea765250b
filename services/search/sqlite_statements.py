"""The schema of an index file and the statements that read it. Text only: nothing here talks to SQLite.

The narrow table serves filters and aggregates; what only a page of a search needs stands in `payloads`, so that
adding up does not read it. Callers' text reaches a statement as a parameter, and a full-text match as quoted
phrases of letters and digits.
"""

from __future__ import annotations

from dataclasses import dataclass

from services.search.ports import Filter, Position

SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS owner (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    tenant_id TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY,
    event_id TEXT NOT NULL UNIQUE,
    event_type INTEGER NOT NULL,
    campaign_id TEXT NOT NULL,
    timestamp_ms INTEGER NOT NULL,
    recipient_key TEXT NOT NULL,
    message_id TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS events_by_time ON events (timestamp_ms);
CREATE INDEX IF NOT EXISTS events_by_type ON events (event_type, timestamp_ms);
CREATE INDEX IF NOT EXISTS events_by_campaign ON events (campaign_id, timestamp_ms);
CREATE INDEX IF NOT EXISTS events_by_recipient ON events (recipient_key, event_type, timestamp_ms);
CREATE TABLE IF NOT EXISTS payloads (
    seq INTEGER PRIMARY KEY,
    recipient TEXT NOT NULL,
    subject TEXT NOT NULL,
    metadata TEXT NOT NULL
);
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5 (
    text, content = '', tokenize = 'unicode61 remove_diacritics 2'
);
CREATE TABLE IF NOT EXISTS deleted (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    highest_seq INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS retention (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    days INTEGER NOT NULL
);
COMMIT;
"""
"""One file is one tenant's index, and `owner` says whose. `seq` counts in the order of ingest: it only grows, so
the highest one names a state of the index, and `deleted` keeps it where that event goes. One transaction, because
each would cost a wait for the disk."""

INSERT_EVENT = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)"
INSERT_PAYLOAD = "INSERT INTO payloads VALUES (?, ?, ?, ?)"
INSERT_WORDS = "INSERT INTO words (rowid, text) VALUES (?, ?)"
KNOWN_IDS = "SELECT event_id FROM events WHERE event_id IN (SELECT value FROM json_each(?))"
OF_RECIPIENT = (
    "SELECT seq, recipient, subject, message_id, metadata FROM events JOIN payloads USING (seq)"
    " WHERE recipient_key = ? ORDER BY seq LIMIT ?"
)
OLDER_THAN = (
    "SELECT seq, recipient, subject, message_id, metadata FROM events JOIN payloads USING (seq)"
    " WHERE timestamp_ms < ? ORDER BY timestamp_ms LIMIT ?"
)
DELETE_EVENT = "DELETE FROM events WHERE seq = ?"
DELETE_PAYLOAD = "DELETE FROM payloads WHERE seq = ?"
DELETE_WORDS = "INSERT INTO words (words, rowid, text) VALUES ('delete', ?, ?)"
"""Without content of its own the index must be told the text that goes (sqlite.org/fts5.html, delete command)."""

MERGE_WORDS = "INSERT INTO words (words) VALUES ('optimize')"
"""Until its parts are merged the index keeps the words of what was deleted, and the deletion beside them."""

HIGHEST_SEQ = (
    "SELECT max(coalesce((SELECT max(seq) FROM events), 0),"
    " coalesce((SELECT highest_seq FROM deleted), 0))"
)
KEEP_HIGHEST_SEQ = (
    "INSERT INTO deleted VALUES (1, ?) ON CONFLICT (only)"
    " DO UPDATE SET highest_seq = max(highest_seq, excluded.highest_seq)"
)
RETENTION = "SELECT days FROM retention"
SET_RETENTION = (
    "INSERT INTO retention VALUES (1, ?) ON CONFLICT (only) DO UPDATE SET days = excluded.days"
)
OWNER = "SELECT tenant_id FROM owner"
CLAIM = "INSERT INTO owner VALUES (1, ?) ON CONFLICT DO NOTHING"

FIELD_BREAK = " \ue000 "
"""Stands between the texts of one event. A private-use character is a word to the tokenizer and never one in a
phrase, so that no phrase matches across two texts."""


@dataclass(frozen=True, slots=True)
class Where:
    """A condition and its parameters."""

    sql: str
    parameters: tuple[str | int, ...]


def where(filter_: Filter, *, along_time: bool = False) -> Where:
    """The condition of a filter.

    A `+` keeps SQLite from using a column's index: it knows nothing of how many rows a value has, and a recipient
    has fewer than a campaign, which has fewer than a type.

    Args:
        along_time: whether rows are read in order of time; several types read along their index need a sort.
    """
    parts: list[str] = []
    parameters: list[str | int] = []

    def add(sql: str, *values: str | int) -> None:
        parts.append(sql)
        parameters.extend(values)

    if filter_.event_types:
        types = sorted(filter_.event_types)
        narrower = bool(filter_.campaign_ids or filter_.recipient_key)
        unindexed = "+" if narrower or (along_time and len(types) > 1) else ""
        add(f"{unindexed}event_type IN ({_marks(len(types))})", *(int(value) for value in types))
    if filter_.campaign_ids:
        campaigns = sorted(filter_.campaign_ids)
        unindexed = "+" if filter_.recipient_key else ""
        add(f"{unindexed}campaign_id IN ({_marks(len(campaigns))})", *campaigns)
    if filter_.recipient_key is not None:
        add("recipient_key = ?", filter_.recipient_key)
    if filter_.start_ms is not None:
        add("timestamp_ms >= ?", filter_.start_ms)
    if filter_.end_ms is not None:
        add("timestamp_ms < ?", filter_.end_ms)
    if filter_.phrases:
        add("seq IN (SELECT rowid FROM words WHERE words MATCH ?)", _match(filter_.phrases))
    return Where(" AND ".join(parts) or "TRUE", tuple(parameters))


def page(
    filter_: Filter, *, snapshot: int, position: Position | None, ascending: bool, limit: int
) -> Where:
    """The statement of a page of a search, and its parameters."""
    condition = where(filter_, along_time=True)
    parts, parameters = [condition.sql, "seq <= ?"], [*condition.parameters, snapshot]
    comparison, order = (">", "ASC") if ascending else ("<", "DESC")
    if position is not None:
        parts.append(f"(timestamp_ms, event_id) {comparison} (?, ?)")
        parameters += [position.timestamp_ms, position.event_id]
    ordering = f"ORDER BY timestamp_ms {order}, event_id {order}"
    # The inner statement sorts numbers and not whole events where no index has the order.
    narrow = f"SELECT seq FROM events WHERE {' AND '.join(parts)} {ordering} LIMIT ?"  # noqa: S608
    return Where(
        "SELECT event_id, event_type, campaign_id, timestamp_ms, message_id, recipient, subject,"  # noqa: S608
        f" metadata FROM ({narrow}) JOIN events USING (seq) JOIN payloads USING (seq) {ordering}",
        (*parameters, limit),
    )


def count(condition: Where) -> str:
    """How many events match."""
    return f"SELECT count(*) FROM events WHERE {condition.sql}"  # noqa: S608


def count_by_type(condition: Where) -> str:
    """Event type and count."""
    return f"SELECT event_type, count(*) FROM events WHERE {condition.sql} GROUP BY event_type"  # noqa: S608


def count_by_campaign(condition: Where) -> str:
    """Campaign and count, the most frequent first; its last parameter is how many."""
    return (
        f"SELECT campaign_id, count(*) FROM events WHERE {condition.sql}"  # noqa: S608
        " GROUP BY campaign_id ORDER BY 2 DESC, 1 LIMIT ?"
    )


def extent(condition: Where) -> str:
    """The first and the last timestamp."""
    return f"SELECT min(timestamp_ms), max(timestamp_ms) FROM events WHERE {condition.sql}"  # noqa: S608


def count_by_grain(condition: Where, *, grain: int, by_type: bool) -> str:
    """The number of the stretch of grain milliseconds since the epoch, event type (or 0) and count."""
    type_column = "event_type" if by_type else "0"
    return (
        f"SELECT timestamp_ms / {grain:d}, {type_column}, count(*) FROM events"  # noqa: S608
        f" WHERE {condition.sql} GROUP BY 1, 2"
    )


def count_recipients(condition: Where) -> str:
    """How many distinct recipients."""
    return f"SELECT count(DISTINCT recipient_key) FROM events WHERE {condition.sql}"  # noqa: S608


def count_recipients_by_type(condition: Where) -> str:
    """Event type and how many distinct recipients."""
    return (
        "SELECT event_type, count(*) FROM (SELECT DISTINCT recipient_key, event_type FROM events"  # noqa: S608
        f" WHERE {condition.sql}) GROUP BY event_type"
    )


def message_outcomes(condition: Where) -> str:
    """How many messages were sent, bounced, delivered, opened, clicked and complained of.

    The parts of a message's name are grouped by as columns; joined into one text they could collide.
    """
    flags = ", ".join(
        f"max(event_type = {number}) AS {name}"
        for number, name in enumerate(
            ("sent", "delivered", "opened", "clicked", "bounced", "complained"), 1
        )
    )
    messages = (
        f"SELECT {flags} FROM events WHERE {condition.sql} AND event_type <= 6"  # noqa: S608
        " GROUP BY recipient_key, message_id, iif(message_id = '', campaign_id, '')"
    )
    totals = ", ".join(
        f"coalesce(sum({column}), 0)"
        for column in (
            "sent",
            "sent AND bounced",
            "delivered",
            "delivered AND opened",
            "delivered AND clicked",
            "delivered AND complained",
        )
    )
    return f"SELECT {totals} FROM ({messages})"  # noqa: S608


def _marks(how_many: int) -> str:
    return ", ".join("?" * how_many)


def _match(phrases: tuple[str, ...]) -> str:
    """A full-text expression that asks for every phrase.

    Raises:
        ValueError: a phrase holds a quote or a NUL, which would end it early.
    """
    if any('"' in phrase or "\0" in phrase for phrase in phrases):
        raise ValueError("a phrase is made of letters and digits")
    return " AND ".join(f'"{phrase}"' for phrase in phrases)
