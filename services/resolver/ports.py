"""The resolver's port: the table, of which it reads and writes directory items alone."""

from services.table.ports import (
    ABSENT,
    INDEXES,
    PRESENT,
    Check,
    Condition,
    ConditionFailed,
    Delete,
    Item,
    Page,
    Put,
    Range,
    Table,
    Update,
    Value,
    Write,
)

__all__ = [
    "ABSENT",
    "INDEXES",
    "PRESENT",
    "Check",
    "Condition",
    "ConditionFailed",
    "Delete",
    "Item",
    "Page",
    "Put",
    "Range",
    "Table",
    "Update",
    "Value",
    "Write",
]
