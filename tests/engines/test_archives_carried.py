"""An archive goes from the embedded engines to the production ones and back, byte for byte."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from devstack.settings import inherited_environment
from devstack.stack import Stack
from silo.resolver.v1 import operation_pb2
from tests.archives import Archivist, Resident
from tests.engines.production import REGION, environment_on, region_on
from tests.engines.servers.s3 import S3Server
from tests.lifecycle import ENVIRONMENT
from tests.serving import reason_of

SUCCEEDED = operation_pb2.OPERATION_STATE_SUCCEEDED
TABLE, BUCKET = "Carried", "carried"
LARGE = bytes(range(256)) * 4096 * 3


class Deployment:
    """A suite, its operator, and a tenant of it."""

    def __init__(self, stack: Stack) -> None:
        self.archivist = Archivist(stack)
        self._stack = stack

    def settle(self, tenant_id: str) -> Resident:
        """A new tenant, and somebody of it."""
        assert self.archivist.over(self.archivist.onboard(tenant_id)).state == SUCCEEDED
        return Resident(self._stack, tenant_id, mark="CARRIED-ar")

    def export(self, resident: Resident) -> dict[str, bytes]:
        """Every file of a new archive of a tenant, by its name in it."""
        over = self.archivist.over(self.archivist.export(resident.tenant_id))
        assert over.state == SUCCEEDED, over
        paths = resident.paths(f"{over.archive}/")
        return {path.removeprefix(f"{over.archive}/"): resident.download(path) for path in paths}

    def bring_in(self, resident: Resident, files: dict[str, bytes], *, jwks: str) -> Any:
        """The import of an archive, once it is over."""
        for name, content in files.items():
            resident.upload(f"exports/carried/{name}", content)
        begun = self.archivist.bring_in(resident.tenant_id, "exports/carried", jwks=jwks)
        return self.archivist.over(begun)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    home: Path = tmp_path_factory.mktemp("carried-embedded")
    environment = {**inherited_environment(), **ENVIRONMENT}
    with Stack(home=home, tenants=(), environment=environment) as stack:
        yield Deployment(stack)


@pytest.fixture(scope="module")
def production(
    tmp_path_factory: pytest.TempPathFactory,
    dynamodb_endpoint: str,
    s3_endpoint: S3Server,
    opensearch_endpoint: str,
) -> Iterator[Deployment]:
    folder: Path = tmp_path_factory.mktemp("carried-production")
    region = region_on(
        dynamodb=dynamodb_endpoint,
        s3=s3_endpoint,
        opensearch=opensearch_endpoint,
        tables=(TABLE,),
        buckets=(BUCKET,),
    )
    environment = environment_on(folder, s3=s3_endpoint, regions={REGION: region})
    environment |= {**ENVIRONMENT, "SILO_TABLE": TABLE}
    with Stack(home=folder / "home", tenants=(), environment=environment) as stack:
        yield Deployment(stack)


def contents(files: dict[str, bytes]) -> dict[str, Any]:
    """What of an archive does not depend on when and where it was written."""
    lines = [
        json.loads(line)
        for name, content in files.items()
        if name.startswith("objects-")
        for line in content.splitlines()
    ]
    for line in lines:
        del line["update_time"]  # the new bucket's own
    kept = {name: content for name, content in files.items() if not name.startswith("objects-")}
    del kept["manifest.json"]
    return {**kept, "objects": sorted(lines, key=lambda line: str(line["path"]))}


def test_there_and_back_nothing_is_lost_and_nothing_changes(
    embedded: Deployment, production: Deployment
) -> None:
    origin = embedded.settle("Vera")
    origin.furnish(4)
    origin.upload("attachments/large.bin", LARGE)
    archive = embedded.export(origin)
    arrived = production.settle("Vera")
    over = production.bring_in(arrived, archive, jwks=embedded.archivist.jwks())
    assert over.state == SUCCEEDED, over
    assert arrived.belongings() == origin.belongings()
    again = production.export(arrived)
    assert contents(again) == contents(archive)
    back = embedded.settle("Vera-2")
    over = embedded.bring_in(back, again, jwks=production.archivist.jwks())
    assert over.state == SUCCEEDED, over
    assert back.belongings() == origin.belongings()
    final = {name: raw.replace(b"Vera-2", b"Vera") for name, raw in embedded.export(back).items()}
    assert contents(final) == contents(archive)


def test_an_archive_of_a_deployment_that_is_not_trusted_is_refused(
    embedded: Deployment, production: Deployment
) -> None:
    origin = embedded.settle("Wanda")
    origin.furnish(1)
    archive = embedded.export(origin)
    target = production.settle("Wanda")
    with pytest.raises(grpc.RpcError, match=r"manifest\.json public_key") as refused:
        production.bring_in(target, archive, jwks="")
    assert reason_of(refused.value) == "ARCHIVE_TAMPERED"
