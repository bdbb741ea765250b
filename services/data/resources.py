"""The kinds of resources: their names, sort keys, index entries and rules.

Names on disk are the domain spec's: `CAMPAIGN#{id}` and so on in the tenant's partition. Besides, every
resource is in GSI2, by the time of its creation, and one that can be filtered is in GSI1 (by id) and
GSI3 (by the time of its creation) under the value that the filter asks for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from boundary.errors import InvalidArgument
from boundary.ids import EntityId
from boundary.scope import Partition
from services.data import rules
from services.data.codec import Codec
from services.data.rules import Rule
from services.table.ports import Item, Value
from silo.data.v1 import campaign_pb2, recipient_list_pb2, template_pb2, user_pb2

M = TypeVar("M", bound=Message)

PENDING = "pending"
"""The attribute of a template's record that holds an unfinished write."""

_HIDDEN_WHILE = frozenset({"create", "delete"})
_NAME = re.compile(r"([a-z]+)/([A-Za-z0-9][A-Za-z0-9._-]{0,63})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """A field by which resources can be listed.

    Attributes:
        attribute: the field's attribute.
        part: the field's part of the index key.
        key: the index key's last part for a value of the attribute.
    """

    attribute: str
    part: str
    key: Callable[[str], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind(Generic[M]):
    """A kind of resource.

    Attributes:
        singular: the field that holds it in requests and in Entity, for example `campaign`.
        collection: the first segment of its names, which is also its permissions' noun.
        entity: the first part of its sort keys, for example `CAMPAIGN`.
        codec: turns it into items and back.
        rules: what its fields may hold.
        defaults: the attributes that an unset field gets.
        derived: further attributes, computed from the others.
        filter: the field by which it can be listed.
    """

    singular: str
    collection: str
    entity: str
    codec: Codec[M]
    rules: Mapping[str, Rule]
    defaults: Mapping[str, Value] = field(default_factory=dict)
    derived: Callable[[Item], Item] = lambda _item: {}
    filter: Filter | None = None

    @property
    def prefix(self) -> str:
        """What its sort keys begin with."""
        return f"{self.entity}#"

    def sort_key(self, entity_id: EntityId) -> str:
        """Where one stands in the tenant's partition."""
        return f"{self.entity}#{entity_id}"

    def name(self, entity_id: str) -> str:
        """The resource name of an id."""
        return f"{self.collection}/{entity_id}"

    def name_at(self, sort_key: str) -> str:
        """The resource name of what stands at a sort key."""
        return f"{self.collection}/{sort_key[len(self.entity) + 1 :]}"

    def parse_name(self, raw: str, *, path: str) -> EntityId:
        """The id in a resource name.

        Raises:
            InvalidArgument: raw is no name of this kind.
        """
        match = _NAME.fullmatch(raw)
        if match is None or match[1] != self.collection:
            raise InvalidArgument(
                path, f"must be a name such as {self.collection}/welcome", reason="INVALID_NAME"
            )
        return EntityId(match[2])

    def index_entries(self, partition: Partition, entity_id: EntityId, item: Item) -> Item:
        """The attributes that place an item in the indexes; it must hold its create_time."""
        created = f"{item['create_time']:020d}#{entity_id}"
        entries: Item = {"GSI2PK": partition.index_key(self.entity), "GSI2SK": created}
        if self.filter is not None:
            index_key = self.filter_key(partition, str(item[self.filter.attribute]))
            entries |= {"GSI1PK": index_key, "GSI1SK": entity_id}
            entries |= {"GSI3PK": index_key, "GSI3SK": created}
        return entries

    def filter_key(self, partition: Partition, value: str) -> str:
        """The index key under which items with a value of the filter's attribute are listed.

        Raises:
            ValueError: this kind has no filter.
        """
        if self.filter is None:
            raise ValueError(f"{self.collection} are not listed by a field")
        return partition.index_key(self.entity, self.filter.part, self.filter.key(value))

    def filter_prefix(self, partition: Partition) -> str:
        """What the index keys of all values of the filter's attribute begin with.

        Raises:
            ValueError: this kind has no filter.
        """
        if self.filter is None:
            raise ValueError(f"{self.collection} are not listed by a field")
        return partition.index_key(self.entity, self.filter.part) + "#"


def is_visible(item: Item) -> bool:
    """Whether a stored record is one that callers see: not a creation or a deletion under way."""
    pending = item.get(PENDING)
    return not isinstance(pending, dict) or pending["kind"] not in _HIDDEN_WHILE


def email_key(address: str) -> str:
    """An address as a part of an index key: the same in any case, and without the separator."""
    return address.lower().replace("%", "%25").replace("#", "%23")


def _recipient_count(item: Item) -> Item:
    recipients = item.get("recipients")
    return {"recipient_count": len(recipients)} if isinstance(recipients, list) else {}


_DISPLAY_NAME = rules.line(at_least=1, at_most=200)
_SUBJECT = rules.line(at_most=998)

USERS: Kind[user_pb2.User] = Kind(
    singular="user",
    collection="users",
    entity="USER",
    codec=Codec(user_pb2.User),
    rules={
        "email": rules.required_email,
        "display_name": rules.line(at_most=200),
        "labels": rules.labels,
    },
    defaults={"role": "VIEWER"},
    filter=Filter(attribute="email", part="EMAIL", key=email_key),
)

CAMPAIGNS: Kind[campaign_pb2.Campaign] = Kind(
    singular="campaign",
    collection="campaigns",
    entity="CAMPAIGN",
    codec=Codec(campaign_pb2.Campaign),
    rules={
        "display_name": _DISPLAY_NAME,
        "subject": _SUBJECT,
        "from_address": rules.email,
        "template": rules.reference("templates"),
        "recipient_list": rules.reference("lists"),
        "labels": rules.labels,
    },
    defaults={"status": "DRAFT"},
    filter=Filter(attribute="status", part="STATUS", key=str),
)

LISTS: Kind[recipient_list_pb2.RecipientList] = Kind(
    singular="recipient_list",
    collection="lists",
    entity="LIST",
    codec=Codec(recipient_list_pb2.RecipientList),
    rules={
        "display_name": _DISPLAY_NAME,
        "description": rules.text(at_most=2000),
        "recipients": rules.recipients,
        "labels": rules.labels,
    },
    derived=_recipient_count,
)

TEMPLATES: Kind[template_pb2.Template] = Kind(
    singular="template",
    collection="templates",
    entity="TEMPLATE",
    codec=Codec(template_pb2.Template),
    rules={"display_name": _DISPLAY_NAME, "subject": _SUBJECT, "labels": rules.labels},
)

KINDS: tuple[Kind[Any], ...] = (USERS, CAMPAIGNS, LISTS, TEMPLATES)
"""Every kind."""

BY_COLLECTION: Mapping[str, Kind[Any]] = {kind.collection: kind for kind in KINDS}
BY_SINGULAR: Mapping[str, Kind[Any]] = {kind.singular: kind for kind in KINDS}


def kind_of(name: str, *, path: str) -> tuple[Kind[Any], EntityId]:
    """The kind and the id in a resource name of any kind.

    Raises:
        InvalidArgument: it is none.
    """
    kind = BY_COLLECTION.get(name.partition("/")[0])
    if kind is None:
        raise InvalidArgument(
            path, "must be a name such as campaigns/welcome", reason="INVALID_NAME"
        )
    return kind, kind.parse_name(name, path=path)
