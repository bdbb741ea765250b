"""Taking events out of an index file with their payloads and words."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from services.search import sqlite_statements
from services.search.documents import strings_in

Row = tuple[int, str, str, str, str]
"""An event's number, recipient, subject, message id and metadata."""


def erase(connection: sqlite3.Connection, recipient_key: str, limit: int) -> int:
    """Deletes at most limit events of a recipient; how many."""
    rows = connection.execute(sqlite_statements.OF_RECIPIENT, (recipient_key, limit)).fetchall()
    return delete(connection, rows)


def delete(connection: sqlite3.Connection, rows: Sequence[Row]) -> int:
    """Deletes events; how many. Their numbers are not given to others, so that snapshots stay what they are."""
    if not rows:
        return 0
    numbers = [(row[0],) for row in rows]
    connection.execute(sqlite_statements.KEEP_HIGHEST_SEQ, max(numbers))
    connection.executemany(sqlite_statements.DELETE_WORDS, map(_words_row, rows))
    connection.executemany(sqlite_statements.DELETE_PAYLOAD, numbers)
    connection.executemany(sqlite_statements.DELETE_EVENT, numbers)
    return len(rows)


def _words_row(row: Row) -> tuple[int, str]:
    seq, recipient, subject, message_id, metadata = row
    texts = (recipient, subject, message_id, *strings_in(metadata))
    return seq, sqlite_statements.FIELD_BREAK.join(texts)
