"""What an index of events is in OpenSearch: its template (domain spec, "OpenSearch Index Isolation") and creation.

Beyond the spec's fields there are those that the port needs. `metadata` is kept as an object and not indexed:
tenants choose its names, and fields made from them would grow the mapping without bound.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from boundary.guard import GuardViolation
from boundary.scope import SearchIndex

TEMPLATE_NAME = "email-analytics-tenant"
TEMPLATE_PRIORITY = 100

_NAME = re.compile(r"email-analytics-tenant-([a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?)")

MAPPING: dict[str, Any] = {
    "dynamic": "strict",
    "properties": {
        "tenantId": {"type": "keyword"},
        "campaignId": {"type": "keyword"},
        "eventType": {"type": "keyword"},
        # The date formats that are the default would read the number 2024 as a year.
        "timestamp": {"type": "date", "format": "epoch_millis"},
        "recipient": {"type": "keyword", "index": False, "doc_values": False},
        "metadata": {"type": "object", "enabled": False},
        "eventId": {"type": "keyword"},
        "recipientKey": {"type": "keyword"},
        "messageId": {"type": "keyword", "index": False, "doc_values": False},
        "messageKey": {"type": "long", "index": False},
        "subject": {"type": "keyword", "index": False, "doc_values": False},
        "words": {
            "type": "text",
            "analyzer": "whitespace",
            "norms": False,
            "position_increment_gap": 100,
        },
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizing:
    """How many primary shards an index has, and how many copies each of them."""

    shards: int = 1
    replicas: int = 1


def template() -> dict[str, Any]:
    """The body that puts the index template."""
    return {
        "index_patterns": ["email-analytics-tenant-*"],
        "priority": TEMPLATE_PRIORITY,
        "template": {"settings": _settings(Sizing()), "mappings": MAPPING},
    }


def creation(index: SearchIndex, sizing: Sizing) -> dict[str, Any]:
    """The body that creates a tenant's index with its alias.

    The mapping stands here too, so that an index is never made without it where the template was taken away. Its
    `_meta` says whose the index is.
    """
    return {
        "settings": _settings(sizing),
        "mappings": {"_meta": {"tenantId": index.tenant_id}, **MAPPING},
        "aliases": {index.alias: {}},
    }


def require_names(index: SearchIndex) -> None:
    """Returns where the handle's names can stand in a URL and name one index alone.

    Raises:
        GuardViolation: a name is out of grammar, or index and alias are not of one tenant.
    """
    match = _NAME.fullmatch(index.name)
    if match is None or index.alias != f"email-tenant-{match[1]}":
        raise GuardViolation("a search index whose name is none of a tenant's")


def _settings(sizing: Sizing) -> dict[str, Any]:
    return {"number_of_shards": sizing.shards, "number_of_replicas": sizing.replicas}
