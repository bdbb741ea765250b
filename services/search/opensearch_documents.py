"""Events as OpenSearch keeps them, and the words by which text finds them.

Words are formed here and not by an analyzer of the engine, so that a phrase means the same on every engine: runs
of letters and digits, lower-cased, without accents.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

import orjson

from boundary.ids import TenantId
from services.search.ports import Document, EventType

_RUN = re.compile(r"[^\W_]+")
_ASCII_WORDS = bytes(
    byte if chr(byte).isalnum() else ord(" ") for byte in bytes(range(128)).lower()
) + bytes(128)
"""Every ASCII letter or digit in lower case, a space for every other character."""


def source_of(document: Document) -> dict[str, Any]:
    """The document that is indexed; `opensearch_template.MAPPING` says how each field is.

    Raises:
        ValueError: the metadata is no JSON object.
    """
    source = {
        "tenantId": document.tenant_id,
        "eventId": document.event_id,
        "eventType": document.event_type.name,
        "campaignId": document.campaign_id,
        "timestamp": document.timestamp_ms,
        "recipient": document.recipient,
        "recipientKey": document.recipient_key,
        "messageId": document.message_id,
        "messageKey": _message_key(document),
        "subject": document.subject,
        "words": _words(document),
    }
    if document.metadata:
        # Read and written again: text that came through as it is could end its line of a bulk request.
        metadata = orjson.loads(document.metadata)
        if not isinstance(metadata, dict):
            raise ValueError("metadata is a JSON object")
        source["metadata"] = metadata
    return source


def document_of(source: Mapping[str, Any]) -> Document:
    """The document of a source that `source_of` made; without the strings, which a search does not give back."""
    metadata = source.get("metadata")
    return Document(
        tenant_id=TenantId(source["tenantId"]),
        event_id=source["eventId"],
        event_type=EventType[source["eventType"]],
        campaign_id=source["campaignId"],
        timestamp_ms=source["timestamp"],
        recipient=source["recipient"],
        message_id=source["messageId"],
        subject=source["subject"],
        metadata="" if metadata is None else orjson.dumps(metadata).decode(),
    )


def words_of(text: str) -> str:
    """The words of a text between single spaces."""
    if text.isascii():
        return b" ".join(text.encode().translate(_ASCII_WORDS).split()).decode()
    bare = "".join(
        character
        for character in unicodedata.normalize("NFD", text.lower())
        if unicodedata.category(character) != "Mn"
    )
    return " ".join(_RUN.findall(unicodedata.normalize("NFC", bare)))


def _words(document: Document) -> list[str]:
    """Each text's words apart: the engine leaves a gap between values that no phrase bridges."""
    texts = (document.recipient, document.subject, document.message_id, *document.strings)
    return [words for text in texts if (words := words_of(text))]


def _message_key(document: Document) -> int:
    """64 bits of a hash of what tells one message to one recipient from another (see ports.Rates).

    Each part goes in with its length, so that no two names read alike.
    """
    campaign = "" if document.message_id else document.campaign_id
    parts = (document.recipient_key, document.message_id, campaign)
    name = "".join(f"{len(part)}:{part}" for part in parts).encode(errors="surrogatepass")
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), signed=True)
