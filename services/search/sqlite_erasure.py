"""Taking events out of an index file, so that nothing of them is left in it."""

from __future__ import annotations

import sqlite3

from services.search import sqlite_statements
from services.search.documents import strings_in


def erase(connection: sqlite3.Connection, recipient_key: str, limit: int) -> int:
    """Deletes at most limit events of a recipient with their payloads and words; how many."""
    rows = connection.execute(sqlite_statements.OF_RECIPIENT, (recipient_key, limit)).fetchall()
    numbers = [(row[0],) for row in rows]
    connection.executemany(sqlite_statements.DELETE_WORDS, map(_words_row, rows))
    connection.executemany(sqlite_statements.DELETE_PAYLOAD, numbers)
    connection.executemany(sqlite_statements.DELETE_EVENT, numbers)
    return len(rows)


def _words_row(row: tuple[int, str, str, str, str]) -> tuple[int, str]:
    seq, recipient, subject, message_id, metadata = row
    texts = (recipient, subject, message_id, *strings_in(metadata))
    return seq, sqlite_statements.FIELD_BREAK.join(texts)
