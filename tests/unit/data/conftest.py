"""Operations over a real table in a folder of the test's own, and content in memory."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from boundary.context import ContextVerifier, TenantContext, serving
from boundary.ids import PrincipalId, parse_tenant_id
from boundary.pages import PageSealer
from boundary.permissions import Permissions
from services.data.analytics import Analytics
from services.data.config import Configs
from services.data.entities import Batches
from services.data.intents import Intents
from services.data.operations import Entities
from services.data.ports import Content, ContentStat
from services.data.templates import Templates
from services.embedded.sqlite import Database
from services.resolver.local_keys import LocalKeys
from services.resolver.minting import ContextMinter, Subject
from services.table.guard import GuardedTable
from services.table.ports import Put
from services.table.sqlite import SCHEMA, SqliteTable
from tests.contexts import PLACEMENT, make_context, signing_keys

CONTEXT_A = make_context("A")
CONTEXT_B = make_context("B")


def service_token(tenant_id: str, *, audience: str) -> str:
    """A context token for the data service's own work in a tenant, as the resolver delegates it."""
    subject = Subject(
        tenant_id=parse_tenant_id(tenant_id),
        name=f"Tenant {tenant_id}",
        status="ACTIVE",
        tier="STANDARD",
        placement=PLACEMENT,
        generation=1,
        max_object_bytes=0,
    )
    minted = ContextMinter(signing_keys()).mint(
        subject,
        audience=audience,
        principal=PrincipalId("service:data"),
        issuer="silo",
        permissions=Permissions(["templates.read", "templates.write"]),
        not_after=float("inf"),
        actor="data",
    )
    return minted.token


def verifier(audience: str) -> ContextVerifier:
    """A verifier of the tests' own contexts."""
    return ContextVerifier(audience=audience, keys=LocalKeys(signing_keys()))


class Crash(BaseException):
    """The process ends here: no handler of the operations' own sees it."""


class Clock:
    """Nanoseconds that only a test moves, and that are never the same twice."""

    def __init__(self) -> None:
        self.now = 1_700_000_000 * 10**9

    def __call__(self) -> int:
        self.now += 1
        return self.now

    def pass_seconds(self, seconds: float) -> None:
        self.now += int(seconds * 10**9)


class MemoryContent:
    """Content by tenant and template. `before` and `after` are called around each call, by its name."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], bytes] = {}
        self.before: Callable[[str], None] = lambda _: None
        self.after: Callable[[str], None] = lambda _: None

    async def put(self, tenant, template_id, data, *, sha256) -> None:
        assert hashlib.sha256(data).hexdigest() == sha256
        self.before("put")
        self.objects[tenant.tenant_id, template_id] = data
        self.after("put")

    async def read(self, tenant, template_id) -> Content | None:
        data = self.objects.get((tenant.tenant_id, template_id))
        if data is None:
            return None
        return Content(data=data, sha256=hashlib.sha256(data).hexdigest())

    async def stat(self, tenant, template_id) -> ContentStat | None:
        self.before("stat")
        data = self.objects.get((tenant.tenant_id, template_id))
        self.after("stat")
        if data is None:
            return None
        return ContentStat(sha256=hashlib.sha256(data).hexdigest(), size=len(data))

    async def delete(self, tenant, template_id) -> None:
        self.before("delete")
        self.objects.pop((tenant.tenant_id, template_id), None)
        self.after("delete")


class CountingTable(GuardedTable):
    """A guarded table that calls `before` and `after` around each write, with its number."""

    def __init__(self, inner: SqliteTable) -> None:
        super().__init__(inner)
        self.writes = 0
        self.before: Callable[[int], None] = lambda _: None
        self.after: Callable[[int], None] = lambda _: None

    async def write(self, partition, write):
        self.writes += 1
        number = self.writes
        self.before(number)
        written = await super().write(partition, write)
        self.after(number)
        return written


@pytest.fixture
def engine(tmp_path: Path, clock: Clock) -> Iterator[SqliteTable]:
    database = Database(tmp_path / "table.db")
    database.open(SCHEMA)
    table = SqliteTable(database, clock=lambda: clock.now / 10**9)
    yield table
    table.close()


@pytest.fixture
def table(engine: SqliteTable) -> CountingTable:
    return CountingTable(engine)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tenant() -> Iterator[TenantContext]:
    """Tenant A's context, current for the whole test."""
    with serving(CONTEXT_A):
        yield CONTEXT_A


@pytest.fixture
def pages() -> PageSealer:
    return PageSealer(b"k" * 32)


@pytest.fixture
def entities(table: CountingTable, pages: PageSealer, clock: Clock) -> Entities:
    return Entities(table=table, pages=pages, clock=clock)


@pytest.fixture
def batches(table: CountingTable, entities: Entities, clock: Clock) -> Batches:
    return Batches(table=table, entities=entities, clock=clock)


@pytest.fixture
def analytics(table: CountingTable, clock: Clock) -> Analytics:
    return Analytics(table=table, clock=clock)


@pytest.fixture
async def configs(table: CountingTable, engine: SqliteTable, clock: Clock) -> Configs:
    """Settings, with the CONFIG item that the resolver writes."""
    item = {"tenant_id": "A", "display_name": "Tenant A", "etag": "resolver", "generation": 1}
    item |= {"GSI1PK": "DIRECTORY#TENANTS", "GSI1SK": "A"}
    await engine.write(CONTEXT_A.partition, Put(sort_key="CONFIG", item=item))
    return Configs(table=table, clock=clock)


@pytest.fixture
def content() -> MemoryContent:
    return MemoryContent()


@pytest.fixture
def intents(table: CountingTable, content: MemoryContent, clock: Clock) -> Intents:
    return Intents(table=table, content=content, clock=clock)


@pytest.fixture
def templates(
    table: CountingTable, content: MemoryContent, intents: Intents, clock: Clock
) -> Templates:
    return Templates(table=table, content=content, intents=intents, clock=clock)
