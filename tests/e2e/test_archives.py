"""A tenant's archives: exported, brought into another, backed up, and refused where they were changed."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest

from boundary.archive_files import verify_archive
from boundary.certificates import keys_in
from devstack.stack import Stack
from services.resolver.lifecycle.archives.export import backup_kind, export_kind
from services.resolver.lifecycle.archives.restore import Import
from silo.resolver.v1 import (
    archive_pb2,
    archive_pb2_grpc,
    operation_pb2,
    tenant_key_pb2,
    tenant_key_pb2_grpc,
    tenant_pb2,
)
from silo.storage.v1 import object_pb2, object_pb2_grpc
from tests.archives import Archivist, Resident
from tests.lifecycle import ENVIRONMENT, files_with, moments
from tests.serving import reason_of

pytestmark = pytest.mark.embedded

SUCCEEDED = operation_pb2.OPERATION_STATE_SUCCEEDED
CANCELLED = operation_pb2.OPERATION_STATE_CANCELLED
FAILED = operation_pb2.OPERATION_STATE_FAILED

_NONE: Any = None
"""In place of parts that a kind's steps have no need of to be named."""


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, stack_environment: Mapping[str, str]
) -> Iterator[Stack]:
    home = tmp_path_factory.mktemp("archives")
    environment = {**stack_environment, **ENVIRONMENT}
    with Stack(home=home, tenants=("Neighbour",), environment=environment) as stack:
        yield stack


@pytest.fixture(scope="module")
def archivist(running: Stack) -> Archivist:
    return Archivist(running)


@pytest.fixture(scope="module")
def neighbour(running: Stack) -> Resident:
    resident = Resident(running, "Neighbour", mark="NEIGHBOUR-ar")
    resident.furnish()
    return resident


def settled(archivist: Archivist, running: Stack, tenant_id: str, **fields: Any) -> Resident:
    """A new tenant, and somebody of it."""
    assert archivist.over(archivist.onboard(tenant_id, **fields)).state == SUCCEEDED
    return Resident(running, tenant_id, mark=f"{tenant_id.upper()}-ar")


def refused(call: Callable[[], Any]) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return reason_of(caught.value)


def test_an_archive_becomes_the_same_tenant_again(
    running: Stack, archivist: Archivist, neighbour: Resident
) -> None:
    before = neighbour.belongings()
    karl = settled(archivist, running, "Karl")
    karl.furnish(5)
    exported = archivist.over(archivist.export("Karl"))
    assert exported.state == SUCCEEDED, exported
    assert archivist.archives_of("Karl") == [exported.archive]
    assert exported.archive.startswith("exports/")
    clone = settled(archivist, running, "Klon")
    imported = archivist.over(archivist.bring_in("Klon", exported.archive, source="Karl"))
    assert imported.state == SUCCEEDED, imported
    was, became = karl.belongings(), clone.belongings()
    assert {name: len(found) for name, found in was.items()} == {
        "users": 5,
        "campaigns": 5,
        "lists": 5,
        "templates": 5,
        "config": 1,
        "counters": 1,
        "objects": 5 + 2,
        "events": 5,
    }
    assert became == was
    assert clone.paths("exports/") == clone.paths("backups/") == []  # what was fetched is removed
    assert archivist.tenant("Klon").status == tenant_pb2.TENANT_STATUS_ACTIVE
    clone.furnish(1)  # it works
    assert neighbour.belongings() == before


def test_a_tenant_exports_itself_and_reads_its_archive(
    running: Stack, archivist: Archivist, neighbour: Resident
) -> None:
    lena = settled(archivist, running, "Lena")
    lena.furnish(2)
    stub = archive_pb2_grpc.TenantExportServiceStub(lena.channel)
    request = archive_pb2.StartTenantExportRequest(request_id="once")
    begun = stub.StartTenantExport(request, **lena.common).operation
    assert stub.StartTenantExport(request, **lena.common).operation.name == begun.name
    over = archivist.over(begun)
    assert over.state == SUCCEEDED, over
    manifest = json.loads(lena.download(f"{over.archive}/manifest.json"))
    assert manifest["sections"]["archive"]["tenant_id"] == "Lena"
    lines = lena.download(f"{over.archive}/items-00001.jsonl").splitlines()
    assert len(lines) == manifest["sections"]["items"]["count"]
    assert any("LENA-ar" in line.decode() for line in lines)
    assert not any(path.startswith(over.archive) for path in neighbour.paths("exports/"))


def test_what_is_left_over_in_an_archive_is_not_in_what_is_verified(
    running: Stack, archivist: Archivist, tmp_path: Path
) -> None:
    """The search service is away, so that the export stands still while something comes into its folder."""
    mona = settled(archivist, running, "Mona")
    mona.furnish(1)
    running.kill("search")
    begun = archivist.export("Mona")
    archivist.until(begun, lambda now: now.steps[1].state != operation_pb2.STEP_STATE_PENDING)
    folder = next(iter(mona.paths("exports/"))).rpartition("/")[0]
    for name in ("objects/00/" + "0" * 64, "events-00009.jsonl"):
        mona.upload(f"{folder}/{name}", b"of a try that was cut off")
    running.await_ready()
    over = archivist.over(begun)
    assert (over.state, over.archive) == (SUCCEEDED, folder), over
    for path in mona.paths(f"{folder}/"):
        file = tmp_path / path.removeprefix(f"{folder}/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(mona.download(path))
    assert verify_archive(tmp_path, keys=keys_in(archivist.jwks())).path == folder


def test_a_backup_under_the_name_of_another_is_refused(
    running: Stack, archivist: Archivist
) -> None:
    norbert = settled(archivist, running, "Norbert")
    norbert.furnish(1)
    older = archivist.over(archivist.backup("Norbert")).archive
    newer = archivist.over(archivist.backup("Norbert")).archive
    for path in norbert.paths(f"{older}/"):
        norbert.upload(newer + path.removeprefix(older), norbert.download(path))
    settled(archivist, running, "Norbert-2")
    with pytest.raises(grpc.RpcError) as caught:
        archivist.bring_in("Norbert-2", newer, source="Norbert")
    assert reason_of(caught.value) == "ARCHIVE_TAMPERED"
    assert older in str(caught.value.details())
    assert (
        archivist.over(archivist.bring_in("Norbert-2", older, source="Norbert")).state == SUCCEEDED
    )


def test_a_tenants_own_people_leave_room_for_what_else_is_done_with_it(
    running: Stack, archivist: Archivist
) -> None:
    olga = settled(archivist, running, "Olga")
    stub = archive_pb2_grpc.TenantExportServiceStub(olga.channel)

    def export(request_id: str) -> Any:
        request = archive_pb2.StartTenantExportRequest(request_id=request_id)
        return stub.StartTenantExport(request, **olga.common).operation

    running.kill("search")
    first, second = export("first"), export("second")
    assert refused(lambda: export("third")) == "EXPORTS_FULL"  # two are under way
    assert export("first").name == first.name
    backup = archivist.backup("Olga")
    running.await_ready()
    for each in (first, second, backup):
        assert archivist.over(each).state == SUCCEEDED
    for name in ("third", "fourth"):
        assert archivist.over(export(name)).state == SUCCEEDED
    assert refused(lambda: export("fifth")) == "EXPORTS_FULL"  # four in an hour
    assert export("fourth").name
    assert archivist.over(archivist.export("Olga")).state == SUCCEEDED  # operators may


def _tampering(stack: Stack, resident: Resident, archive: str) -> dict[str, Callable[[], str]]:
    """Changes to an archive, and for each what the refusal has to name."""

    def manifest(change: Callable[[Any], Any]) -> None:
        path = f"{archive}/manifest.json"
        document = json.loads(resident.download(path))
        change(document)
        resident.upload(path, json.dumps(document).encode())

    def count() -> str:
        manifest(lambda d: d["sections"]["items"].update(count=1))
        return "manifest.json sections.items"

    def signature() -> str:
        manifest(lambda d: d["digests"].update(items="0" * 64))
        return "manifest.json signature"

    def kind() -> str:
        manifest(lambda d: d.update(type="erasure"))
        return "manifest.json type"

    def part() -> str:
        path = f"{archive}/events-00001.jsonl"
        resident.upload(path, resident.download(path).replace(b"OPEN", b"SEND", 1))
        return "events-00001.jsonl is not what"

    def content() -> str:
        path = next(p for p in resident.paths(f"{archive}/objects/"))
        resident.upload(path, resident.download(path)[:-1] + b"?")
        return "objects-00001.jsonl, line "

    return {each.__name__: each for each in (count, signature, kind, part, content)}


@pytest.mark.parametrize("change", ["count", "signature", "kind", "part", "content"])
def test_what_was_changed_in_an_archive_is_named_and_nothing_of_it_stays(
    running: Stack, archivist: Archivist, change: str
) -> None:
    name = f"Tamper-{change}"
    source = settled(archivist, running, name)
    source.furnish(1)
    archive = archivist.over(archivist.export(name)).archive
    place = _tampering(running, source, archive)[change]()
    target = settled(archivist, running, f"{name}-2")
    if "manifest.json" in place:  # which is looked at before anything begins
        with pytest.raises(grpc.RpcError) as caught:
            archivist.bring_in(f"{name}-2", archive, source=name)
        assert reason_of(caught.value) == "ARCHIVE_TAMPERED"
        assert place in str(caught.value.details())
        assert not archivist.operations_of(f"{name}-2", "import")
        return
    begun = archivist.bring_in(f"{name}-2", archive, source=name)
    failed = archivist.over(begun)
    assert failed.state == FAILED
    assert failed.error.reason == "ARCHIVE_TAMPERED"
    assert place in failed.error.message, failed.error.message
    # What was fetched for it lies where it takes a permission of its own to read it.
    assert target.paths("exports/") == []
    assert target.paths("backups/") != []
    cancel = operation_pb2.CancelOperationRequest(name=begun.name)
    archivist.operations.CancelOperation(cancel, **archivist.common)
    assert archivist.until(begun, lambda now: now.state == CANCELLED)
    assert not any(target.belongings()[kind] for kind in ("users", "objects", "events"))
    assert target.paths() == []
    target.furnish(1)  # it works again


def test_an_archive_goes_into_an_empty_tenant_alone(running: Stack, archivist: Archivist) -> None:
    moritz = settled(archivist, running, "Moritz")
    moritz.furnish(1)
    archive = archivist.over(archivist.export("Moritz")).archive
    failed = archivist.over(archivist.bring_in("Moritz", archive))
    assert (failed.state, failed.error.reason) == (FAILED, "TENANT_NOT_EMPTY")
    moritz.upload("attachments/meanwhile", b"nobody was kept from writing")
    cancel = operation_pb2.CancelOperationRequest(name=failed.name)
    archivist.operations.CancelOperation(cancel, **archivist.common)
    archivist.until(failed, lambda now: now.state == CANCELLED)
    assert len(moritz.belongings()["users"]) == 1  # what was there is there
    settled(archivist, running, "Max")
    assert refused(lambda: archivist.bring_in("Max", "exports/none")) == "ARCHIVE_MISSING"
    assert not archivist.operations_of("Max", "import")
    assert refused(lambda: archivist.bring_in("Max", "templates/x")) == "INVALID_ARCHIVE"
    assert refused(lambda: archivist.bring_in("Max", "exports/../x")) == "INVALID_ARCHIVE"
    assert refused(lambda: archivist.bring_in("Max", archive, source="Nobody")) == (
        "RESOURCE_NOT_FOUND"
    )
    assert refused(lambda: archivist.bring_in("Max", archive, jwks="{}")) == "INVALID_FIELD"


def test_an_encrypted_tenant_is_exported_in_the_clear_and_comes_in_encrypted(
    running: Stack, archivist: Archivist
) -> None:
    encryption = tenant_pb2.TenantEncryption(enabled=True)
    nora = settled(archivist, running, "Nora", encryption=encryption)
    nora.furnish(2)
    archive = archivist.over(archivist.export("Nora")).archive
    clone = settled(archivist, running, "Nora-2", encryption=encryption)
    over = archivist.over(archivist.bring_in("Nora-2", archive, source="Nora"))
    assert over.state == SUCCEEDED, over
    assert clone.belongings() == nora.belongings()
    held = files_with(running.home, nora.mark)  # the archive itself lies encrypted in its bucket
    assert not [path for path in held if path.startswith("objects") and "sqlite" not in path]


def test_backups_are_made_by_the_clock_and_the_newest_are_kept(
    running: Stack, archivist: Archivist
) -> None:
    backups = tenant_pb2.TenantBackups(interval_hours=1, kept_count=2)
    otto = settled(archivist, running, "Otto", backups=backups)
    otto.furnish(1)
    for _ in range(3):
        over = archivist.over(archivist.backup("Otto"))
        assert over.state == SUCCEEDED, over
    for name in ("zzz1", "zzz2"):  # what nobody has signed pushes no backup out
        otto.upload(f"backups/{name}/manifest.json", b"{}")
    exported = archivist.over(archivist.export("Otto")).archive
    for name, signed in (("zzz3", archivist.archives_of("Otto")[0]), ("zzz4", exported)):
        otto.upload(f"backups/{name}/manifest.json", otto.download(f"{signed}/manifest.json"))
    assert archivist.over(archivist.backup("Otto")).state == SUCCEEDED
    kept = [
        path
        for path in archivist.archives_of("Otto")
        if path.startswith("backups/") and "zzz" not in path
    ]
    assert len(kept) == 2
    assert all(path.startswith("backups/") for path in kept)
    clone = settled(archivist, running, "Otto-2")
    over = archivist.over(archivist.bring_in("Otto-2", kept[-1], source="Otto"))
    assert over.state == SUCCEEDED, over
    assert clone.belongings() == otto.belongings()


def _ways_to(path: str, resident: Resident) -> list[tuple[str, Callable[[], Any]]]:
    """Every way to an object, in an order in which each finds it, with what it needs where that is a backup's."""
    stub = object_pb2_grpc.ObjectServiceStub(resident.channel)

    def asked(method: str, request: Any) -> Callable[[], Any]:
        return lambda: getattr(stub, method)(request, **resident.common)

    into = object_pb2.CopyObjectRequest(source_path="exports/own", destination_path=path)
    out = object_pb2.CopyObjectRequest(source_path=path, destination_path="exports/copy")
    return [
        ("backups.write", lambda: resident.upload(path, b"mine")),
        ("backups.write", asked("CopyObject", into)),
        ("backups.read", asked("CopyObject", out)),
        ("backups.read", asked("GetObject", object_pb2.GetObjectRequest(path=path))),
        ("backups.read", lambda: resident.download(path)),
        ("backups.read", asked("SignDownload", object_pb2.SignDownloadRequest(path=path))),
        ("backups.write", asked("SignUpload", object_pb2.SignUploadRequest(path=path))),
        ("backups.write", asked("DeleteObject", object_pb2.DeleteObjectRequest(path=path))),
        ("backups.write", asked("DeleteObjects", object_pb2.DeleteObjectsRequest(prefix=path))),
    ]


def test_a_backup_is_for_those_who_may_touch_backups(running: Stack, archivist: Archivist) -> None:
    sara = settled(archivist, running, "Sara")
    sara.furnish(2)
    backup = archivist.over(archivist.backup("Sara")).archive
    items = f"{backup}/items-00001.jsonl"
    whole = {path: sara.download(path) for path in sara.paths("backups/")}
    assert sara.mark.encode() in whole[items]

    clerk = Resident(running, "Sara", mark="", permissions=("objects.read", "objects.write"))
    clerk.upload("exports/own", b"an object like any other")
    assert clerk.paths("backups/") == sorted(whole)  # their names
    clerk_deletes = object_pb2_grpc.ObjectServiceStub(clerk.channel).DeleteObjects
    attacks = _ways_to(items, clerk)
    for request in (
        object_pb2.DeleteObjectsRequest(all=True),
        object_pb2.DeleteObjectsRequest(prefix="b"),
        object_pb2.DeleteObjectsRequest(prefix="backups"),
    ):
        attacks.append(
            ("backups.write", lambda asked=request: clerk_deletes(asked, **clerk.common))
        )
    for permission, attack in attacks:
        with pytest.raises(grpc.RpcError, match=permission) as caught:
            attack()
        assert reason_of(caught.value) == "PERMISSION_MISSING"
    assert {path: sara.download(path) for path in sara.paths("backups/")} == whole
    assert sara.paths("attachments/")  # nothing was deleted in the backups' place

    may = ("objects.read", "objects.write", "backups.read", "backups.write")
    keeper = Resident(running, "Sara", mark="", permissions=may)
    assert keeper.download(items) == whole[items]
    signed = object_pb2_grpc.ObjectServiceStub(keeper.channel).SignDownload(
        object_pb2.SignDownloadRequest(path=items), **keeper.common
    )
    with urllib.request.urlopen(signed.url) as answer:
        assert answer.read() == whole[items]
    for _, way in _ways_to(f"{backup}/note", keeper):
        way()

    clone = settled(archivist, running, "Sara-2")
    over = archivist.over(archivist.bring_in("Sara-2", backup, source="Sara"))
    assert over.state == SUCCEEDED, over
    assert clone.belongings() == sara.belongings()


def test_a_resolver_that_starts_makes_the_backups_that_are_due(
    running: Stack, archivist: Archivist
) -> None:
    settled(archivist, running, "Quentin", backups=tenant_pb2.TenantBackups(interval_hours=24))
    running.kill("resolver")
    running.await_ready()
    request = operation_pb2.ListOperationsRequest(tenant_id="Quentin")

    def made() -> list[Any]:
        listed = archivist.patient(
            lambda: archivist.operations.ListOperations(request, **archivist.common)
        )
        return [each for each in listed.operations if each.kind == "backup"]

    deadline = time.monotonic() + 30
    while not made():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert archivist.over(made()[0]).state == SUCCEEDED
    assert len(made()) == 1


def test_a_source_that_cannot_be_read_begins_no_import(
    running: Stack, archivist: Archivist
) -> None:
    encryption = tenant_pb2.TenantEncryption(enabled=True)
    rita = settled(archivist, running, "Rita", encryption=encryption)
    rita.furnish(1)
    archive = archivist.over(archivist.export("Rita")).archive
    settled(archivist, running, "Rita-2")
    destroy = tenant_key_pb2.DestroyTenantKeyRequest(name="tenants/Rita", confirmation="Rita")
    keys = tenant_key_pb2_grpc.TenantKeyServiceStub(archivist.channel)
    keys.DestroyTenantKey(destroy, **archivist.common)
    assert refused(lambda: archivist.bring_in("Rita-2", archive, source="Rita")) == "KEY_DESTROYED"
    assert not archivist.operations_of("Rita-2", "import")


@pytest.mark.timeout(120)
def test_services_that_are_killed_while_they_read_or_write_are_asked_again(
    tmp_path: Path, stack_environment: Mapping[str, str]
) -> None:
    environment = {**stack_environment, **ENVIRONMENT}
    with Stack(home=tmp_path, tenants=(), environment=environment, max_backoff=0.2) as stack:
        archivist = Archivist(stack)
        sven = settled(archivist, stack, "Sven")
        sven.furnish(2)
        for number in range(150):
            sven.upload(f"attachments/{number}", b"%d" % number)
        begun = archivist.export("Sven")
        archivist.until(begun, lambda now: any(step.done for step in now.steps))
        stack.kill("storage")
        exported = archivist.over(begun)
        assert exported.state == SUCCEEDED, exported
        stack.await_ready()
        clone = settled(archivist, stack, "Sven-2")
        begun = archivist.bring_in("Sven-2", exported.archive, source="Sven")
        archivist.until(begun, lambda now: now.steps[0].HasField("start_time"))
        stack.kill("storage")
        over = archivist.over(begun)
        assert over.state == SUCCEEDED, over
        stack.await_ready()
        assert clone.belongings() == sven.belongings()


@pytest.mark.timeout(240)
def test_a_resolver_that_is_killed_at_every_step_is_followed_by_one_that_finishes(
    tmp_path: Any, stack_environment: Mapping[str, str]
) -> None:
    crashes = moments(
        export_kind(_NONE), Import(_NONE, settle_seconds=0).kind(), backup_kind(_NONE)
    )
    environment = {**stack_environment, **ENVIRONMENT, "SILO_CRASH_AT": ",".join(crashes)}
    with Stack(
        home=tmp_path, tenants=("Neighbour",), environment=environment, max_backoff=0.2
    ) as stack:
        archivist = Archivist(stack)
        neighbour = Resident(stack, "Neighbour", mark="NEIGHBOUR-ar")
        neighbour.furnish(1)
        before = neighbour.belongings()
        petra = settled(archivist, stack, "Petra")
        petra.furnish(3)
        exported = archivist.over(archivist.export("Petra"), seconds=60)
        assert exported.state == SUCCEEDED, exported
        clone = settled(archivist, stack, "Petra-2")
        begun = archivist.bring_in("Petra-2", exported.archive, source="Petra")
        assert archivist.over(begun, seconds=120).state == SUCCEEDED
        assert clone.belongings() == petra.belongings()
        backup = archivist.over(archivist.backup("Petra"), seconds=60)
        assert backup.state == SUCCEEDED, backup
        assert (tmp_path / "resolver" / "crashed").read_text().split() == crashes
        restored = settled(archivist, stack, "Petra-3")
        begun = archivist.bring_in("Petra-3", backup.archive, source="Petra")
        assert archivist.over(begun, seconds=60).state == SUCCEEDED
        assert restored.belongings() == petra.belongings()
        assert neighbour.belongings() == before
