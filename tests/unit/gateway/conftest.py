"""The gateway before a storage service and before a search service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from silo.search.v1 import event_pb2_grpc
from silo.storage.v1 import object_pb2_grpc
from tests.unit.gateway.edge import Edge, edge
from tests.unit.gateway.stand_ins import Events, Objects


@pytest.fixture
async def objects(tmp_path: Path) -> AsyncIterator[tuple[Edge, Any, Objects]]:
    servicer = Objects()
    async with edge(tmp_path, servicers={"silo.storage.v1.ObjectService": servicer}) as running:
        yield running, object_pb2_grpc.ObjectServiceStub(running.channel), servicer


@pytest.fixture
async def events(tmp_path: Path) -> AsyncIterator[tuple[Edge, Any]]:
    async with edge(
        tmp_path, service="search", servicers={"silo.search.v1.EventService": Events()}
    ) as running:
        yield running, event_pb2_grpc.EventServiceStub(running.channel)
