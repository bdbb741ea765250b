"""A kind of resource, described by its proto service: names, messages and calls follow from descriptors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, ServiceDescriptor
from google.protobuf.message import Message

from cli.fields import FieldOption, settable
from cli.session import Session

_PAGING = frozenset({"page_size", "page_token", "order_by"})


@dataclass(frozen=True, kw_only=True)
class Resource:
    """A kind of resource.

    Attributes:
        collection: the first part of its names, for example `campaigns`.
        message: its message, for example `Campaign`.
        service: its proto service.
        columns: the fields that a listing shows.
        operator: whether a platform operator works with it.
    """

    collection: str
    message: Descriptor
    service: ServiceDescriptor
    columns: tuple[str, ...]
    operator: bool = False

    @cached_property
    def singular(self) -> str:
        """The field that carries one, for example `recipient_list`."""
        return next(
            str(field.name)
            for field in self._method("Get").output_type.fields
            if field.message_type is self.message
        )

    @cached_property
    def plural(self) -> str:
        """The field that carries several."""
        return next(
            str(field.name)
            for field in self._method("List").output_type.fields
            if field.message_type is self.message
        )

    @cached_property
    def filters(self) -> tuple[FieldOption, ...]:
        """The options by which a listing is filtered."""
        return tuple(settable(self._method("List").input_type, skip=_PAGING))

    def name(self, id_or_name: str) -> str:
        """The resource name that an id or a name says."""
        prefix = f"{self.collection}/"
        return id_or_name if id_or_name.startswith(prefix) else prefix + id_or_name

    def request(self, verb: str) -> Any:
        """An empty request of a standard method."""
        return message_factory.GetMessageClass(self._method(verb).input_type)()

    def call(self, session: Session, verb: str, request: Message) -> Any:
        """The answer of a standard method.

        Raises:
            Failure: the call was refused or nobody answers.
        """
        method = self._method(verb)
        answer = message_factory.GetMessageClass(method.output_type)
        multicallable: grpc.UnaryUnaryMultiCallable[Message, Message] = (
            session.client.channel.unary_unary(
                f"/{self.service.full_name}/{method.name}",
                request_serializer=type(request).SerializeToString,
                response_deserializer=answer.FromString,
            )
        )
        return session.client.call(multicallable, request)

    def _method(self, verb: str) -> Any:
        for method in self.service.methods:
            if method.name.startswith(verb) and method.name.removeprefix(verb) in self._nouns:
                return method
        raise LookupError(f"{self.service.full_name} has no {verb}")

    @cached_property
    def _nouns(self) -> tuple[str, ...]:
        return (self.message.name, f"{self.message.name}s")
