"""Somebody at a shell: grpcurl where there is one, else a client that knows nothing but reflection, either way."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import Any, Protocol

import grpc
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)


class Refused(Exception):
    """The call was refused.

    Attributes:
        code: the canonical code's name, for example `NOT_FOUND`.
        details: what was said.
    """

    def __init__(self, code: str, details: str) -> None:
        super().__init__(f"{code}: {details}")
        self.code = code
        self.details = details


class Person(Protocol):
    """What somebody at a shell can do."""

    def services(self) -> list[str]:
        """Lists the services."""

    def methods(self, service: str) -> list[str]:
        """Describes a service: its methods' names."""

    def call(self, method: str, request: dict[str, Any], token: str = "") -> dict[str, Any]:
        """Calls a method, `package.Service/Method`, with JSON.

        Raises:
            Refused: the answer was a status other than OK.
        """


class Grpcurl:
    """grpcurl, as a person types it."""

    def __init__(self, program: str, address: str) -> None:
        self._command = [program, "-plaintext"]
        self._address = address

    def services(self) -> list[str]:
        return self._run([self._address, "list"]).split()

    def methods(self, service: str) -> list[str]:
        return [
            line.rpartition(".")[2] for line in self._run([self._address, "list", service]).split()
        ]

    def call(self, method: str, request: dict[str, Any], token: str = "") -> dict[str, Any]:
        headers = ["-H", f"authorization: Bearer {token}"] if token else []
        output = self._run([*headers, "-d", json.dumps(request), self._address, method])
        answer: dict[str, Any] = json.loads(output or "{}")
        return answer

    def _run(self, arguments: list[str]) -> str:
        done = subprocess.run(
            [*self._command, *arguments], capture_output=True, text=True, timeout=20, check=False
        )
        if done.returncode == 0:
            return done.stdout
        fields = dict(
            line.strip().split(": ", 1) for line in done.stderr.splitlines() if ": " in line
        )
        words = "".join(
            word if word.isupper() else _upper_snake(word) for word in [fields.get("Code", "")]
        )
        raise Refused(words, fields.get("Message", done.stderr))


class Reflecting:
    """A client that has no stubs: it learns every type from the server's reflection."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address)
        self._database = ProtoReflectionDescriptorDatabase(self._channel)
        self._pool = DescriptorPool(self._database)

    def services(self) -> list[str]:
        return list(self._database.get_services())

    def methods(self, service: str) -> list[str]:
        return [method.name for method in self._pool.FindServiceByName(service).methods]

    def call(self, method: str, request: dict[str, Any], token: str = "") -> dict[str, Any]:
        service, _, name = method.partition("/")
        descriptor = self._pool.FindServiceByName(service).FindMethodByName(name)
        asked = message_factory.GetMessageClass(descriptor.input_type)
        answered = message_factory.GetMessageClass(descriptor.output_type)
        call = self._channel.unary_unary(
            f"/{method}",
            request_serializer=asked.SerializeToString,
            response_deserializer=answered.FromString,
        )
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
        try:
            response = call(json_format.ParseDict(request, asked()), metadata=metadata, timeout=20)
        except grpc.RpcError as error:
            raise Refused(error.code().name, error.details() or "") from error
        answer: dict[str, Any] = json_format.MessageToDict(response)
        return answer


def person_at(address: str) -> Person:
    """Somebody with grpcurl where this machine has it, named by `GRPCURL` or on the path."""
    program = os.environ.get("GRPCURL") or shutil.which("grpcurl")
    return Grpcurl(program, address) if program else Reflecting(address)


def _upper_snake(camel: str) -> str:
    """`NotFound`, as grpcurl writes it, in gRPC's own spelling."""
    return "".join(f"_{c}" if c.isupper() and i else c.upper() for i, c in enumerate(camel))
