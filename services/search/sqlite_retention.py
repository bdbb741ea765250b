"""How long the events of an index file are kept, which stands in the file, and deleting what is older.

What is deleted is not found any more; its bytes stand in the file's unused parts until others are written there or
the file is scrubbed.
"""

from __future__ import annotations

import sqlite3

from services.search import sqlite_erasure, sqlite_statements
from services.search.retention import Change, oldest_ms


def read(connection: sqlite3.Connection) -> int:
    """The days; 0 for good."""
    row = connection.execute(sqlite_statements.RETENTION).fetchone()
    return 0 if row is None else int(row[0])


def change(connection: sqlite3.Connection, make: Change) -> int:
    """The days that make makes of the present ones, kept."""
    days = make(read(connection))
    connection.execute(sqlite_statements.SET_RETENTION, (days,))
    return days


def expire(connection: sqlite3.Connection, *, now_ms: int, limit: int) -> int:
    """Deletes at most limit of the events that are too old now; how many."""
    days = read(connection)
    if not days:
        return 0
    oldest = oldest_ms(days, now_ms=now_ms)
    rows = connection.execute(sqlite_statements.OLDER_THAN, (oldest, limit)).fetchall()
    return sqlite_erasure.delete(connection, rows)
