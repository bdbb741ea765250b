"""Encryption with a tenant's own key, as an operator and the tenant see it, down to the raw files."""

from __future__ import annotations

import secrets
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest

from devstack.stack import Stack
from silo.data.v1 import (
    campaign_pb2,
    campaign_pb2_grpc,
    recipient_list_pb2,
    recipient_list_pb2_grpc,
    template_pb2,
    template_pb2_grpc,
    tenant_config_pb2,
    tenant_config_pb2_grpc,
    user_pb2,
    user_pb2_grpc,
)
from silo.resolver.v1 import (
    operation_pb2,
    operation_pb2_grpc,
    tenant_key_pb2,
    tenant_key_pb2_grpc,
    tenant_pb2,
    tenant_pb2_grpc,
)
from silo.storage.v1 import object_pb2, object_pb2_grpc
from tests.serving import reason_of

DEADLINE = 10.0


class Client:
    """The suite as one tenant and the operator see it."""

    def __init__(self, stack: Stack, tenant_id: str) -> None:
        self.tenant_id = tenant_id
        self.canary = f"canary{secrets.token_hex(8)}"
        self.channel = grpc.insecure_channel(stack.gateway)
        self.common: dict[str, Any] = {
            "metadata": (("authorization", f"Bearer {stack.token(tenant_id)}"),),
            "timeout": DEADLINE,
        }
        self.operator: dict[str, Any] = {
            "metadata": (("authorization", f"Bearer {stack.operator_token()}"),),
            "timeout": DEADLINE,
        }
        self.users = user_pb2_grpc.UserServiceStub(self.channel)
        self.lists = recipient_list_pb2_grpc.RecipientListServiceStub(self.channel)
        self.campaigns = campaign_pb2_grpc.CampaignServiceStub(self.channel)
        self.config = tenant_config_pb2_grpc.TenantConfigServiceStub(self.channel)
        self.objects = object_pb2_grpc.ObjectServiceStub(self.channel)
        self.templates = template_pb2_grpc.TemplateServiceStub(self.channel)
        self.tenants = tenant_pb2_grpc.TenantServiceStub(self.channel)
        self.operations = operation_pb2_grpc.OperationServiceStub(self.channel)
        self.keys = tenant_key_pb2_grpc.TenantKeyServiceStub(self.channel)

    @property
    def email(self) -> str:
        return f"{self.canary}@example.com"

    @property
    def content(self) -> bytes:
        return f"<p>{self.canary}</p>".encode() * 20_000

    def create_tenant(self, *, encrypted: bool) -> tenant_pb2.Tenant:
        tenant = tenant_pb2.Tenant(display_name="Encrypted")
        tenant.encryption.enabled = encrypted
        request = tenant_pb2.CreateTenantRequest(tenant_id=self.tenant_id, tenant=tenant)
        return self.tenants.CreateTenant(request, **self.operator).tenant

    def switch(self, *, on: bool) -> tenant_pb2.Tenant:
        tenant = tenant_pb2.Tenant(name=f"tenants/{self.tenant_id}")
        tenant.encryption.enabled = on
        request = tenant_pb2.UpdateTenantRequest(tenant=tenant)
        request.update_mask.paths.append("encryption")
        return self.tenants.UpdateTenant(request, **self.operator).tenant

    def write(self, name: str) -> None:
        self.users.CreateUser(
            user_pb2.CreateUserRequest(
                user_id=name,
                user=user_pb2.User(email=self.email, display_name=self.canary),
                request_id=f"request-{name}-0001",
            ),
            **self.common,
        )
        recipient = recipient_list_pb2.Recipient(email=self.email, attributes={"k": self.canary})
        self.lists.CreateRecipientList(
            recipient_list_pb2.CreateRecipientListRequest(
                recipient_list_id=name,
                recipient_list=recipient_list_pb2.RecipientList(
                    display_name="Friends", recipients=[recipient]
                ),
            ),
            **self.common,
        )
        self.objects.UploadObject(self.parts(f"exports/{name}"), **self.common)

    def write_template(self, name: str) -> None:
        self.templates.CreateTemplate(
            template_pb2.CreateTemplateRequest(
                template_id=name,
                template=template_pb2.Template(display_name="Hello"),
                content=self.content,
            ),
            **self.common,
        )

    def template_content(self, name: str) -> bytes:
        request = template_pb2.GetTemplateContentRequest(name=f"templates/{name}")
        return self.templates.GetTemplateContent(request, **self.common).content

    def write_config(self) -> None:
        config = tenant_config_pb2.TenantConfig(reply_to_address=self.email, track_opens=True)
        request = tenant_config_pb2.UpdateTenantConfigRequest(tenant_config=config)
        self.config.UpdateTenantConfig(request, **self.common)

    def parts(self, path: str) -> Iterator[object_pb2.UploadObjectRequest]:
        yield object_pb2.UploadObjectRequest(spec=object_pb2.UploadSpec(path=path))
        yield object_pb2.UploadObjectRequest(chunk=self.content)

    def user(self, name: str) -> user_pb2.User:
        return self.users.GetUser(user_pb2.GetUserRequest(name=f"users/{name}"), **self.common).user

    def found_by_email(self) -> list[str]:
        request = user_pb2.ListUsersRequest(email=self.email.upper())
        answer = self.users.ListUsers(request, **self.common)
        assert not answer.next_page_token
        return [user.name for user in answer.users]

    def recipients(self, name: str) -> list[str]:
        request = recipient_list_pb2.GetRecipientListRequest(name=f"lists/{name}")
        found = self.lists.GetRecipientList(request, **self.common).recipient_list
        return [recipient.email for recipient in found.recipients]

    def download(self, name: str, **span: int) -> bytes:
        request = object_pb2.DownloadObjectRequest(path=f"exports/{name}", **span)
        answers = self.objects.DownloadObject(request, **self.common)
        return b"".join(answer.chunk for answer in answers)

    def object(self, name: str) -> object_pb2.Object:
        request = object_pb2.GetObjectRequest(path=f"exports/{name}")
        return self.objects.GetObject(request, **self.common).object

    def assert_readable(self, name: str) -> None:
        assert (self.user(name).email, self.user(name).display_name) == (self.email, self.canary)
        assert self.recipients(name) == [self.email]
        assert self.download(name) == self.content
        assert self.download(name, offset=100_000, length=7) == self.content[100_000:100_007]
        assert self.download(name, offset=-5) == self.content[-5:]

    def destroy_key(self) -> tenant_pb2.Tenant:
        request = tenant_key_pb2.DestroyTenantKeyRequest(
            name=f"tenants/{self.tenant_id}", confirmation=self.tenant_id
        )
        return self.keys.DestroyTenantKey(request, **self.operator).tenant

    def assert_shredded(self, name: str) -> None:
        for call in (
            lambda: self.user(name),
            self.found_by_email,
            lambda: self.recipients(name),
            lambda: self.download(name),
            lambda: self.download(name, offset=1, length=1),
            lambda: self.object(name),
            lambda: self.write("another"),
            self.write_config,
            lambda: self.write_template("another"),
            lambda: self.template_content(name),
            lambda: self.switch(on=True),
        ):
            assert settled(call) == DESTROYED

    def close(self) -> None:
        self.channel.close()


@pytest.fixture(scope="module")
def quick_stack(
    tmp_path_factory: pytest.TempPathFactory, stack_environment: Mapping[str, str]
) -> Iterator[Stack]:
    """A suite whose re-encryptions rest for no longer than a test likes to wait."""
    environment = {**stack_environment, "SILO_KEY_SETTLE_SECONDS": "1.0"}
    home = tmp_path_factory.mktemp("quick-home")
    with Stack(home=home, tenants=(), environment=environment, drain_seconds=1.0) as running:
        yield running


@pytest.fixture
def client(stack: Stack) -> Iterator[Client]:
    client = Client(stack, f"Enc-{secrets.token_hex(4)}")
    yield client
    client.close()


def files_with(home: Path, text: str) -> list[str]:
    """The engines' raw files that hold a text, in any case."""
    wanted = text.lower().encode()
    return [
        str(path.relative_to(home))
        for folder in ("table", "objects", "keys")
        for path in (home / folder).rglob("*")
        if path.is_file() and wanted in path.read_bytes().lower()
    ]


def refusal(call: Callable[[], object]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as raised:
        call()
    return raised.value.code(), reason_of(raised.value)


def settled(call: Callable[[], object]) -> tuple[grpc.StatusCode, str]:
    """The refusal, once the services have heard of what was done: that takes milliseconds."""
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        try:
            call()
        except grpc.RpcError as error:
            return error.code(), reason_of(error)
    raise AssertionError("it is still served")


DESTROYED = (grpc.StatusCode.FAILED_PRECONDITION, "KEY_DESTROYED")


def test_nothing_sensitive_is_on_disk_and_a_destroyed_key_ends_it_all(
    stack: Stack, client: Client
) -> None:
    tenant = client.create_tenant(encrypted=True)
    assert (tenant.encryption.enabled, tenant.encryption.key_version) == (True, 1)
    client.write("one")
    client.write_config()
    client.write_template("one")
    client.assert_readable("one")
    assert client.template_content("one") == client.content
    assert client.found_by_email() == ["users/one"]
    assert client.object("one").size == len(client.content)
    assert client.object("one").key_version == 1
    config = client.config.GetTenantConfig(
        tenant_config_pb2.GetTenantConfigRequest(), **client.common
    ).tenant_config
    assert (config.reply_to_address, config.track_opens) == (client.email, True)
    signed = client.objects.SignDownload(
        object_pb2.SignDownloadRequest(path="exports/one"), **client.common
    )
    with urllib.request.urlopen(signed.url) as answer:
        assert answer.read() == client.content

    if (stack.home / "objects").exists():
        assert files_with(stack.home, client.canary) == []

    wrong = tenant_key_pb2.DestroyTenantKeyRequest(
        name=tenant.name, confirmation=client.tenant_id.lower()
    )
    code, _ = refusal(lambda: client.keys.DestroyTenantKey(wrong, **client.operator))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    client.assert_readable("one")

    gone = client.destroy_key()
    assert gone.encryption.key_state == tenant_pb2.TENANT_KEY_STATE_DESTROYED
    client.assert_shredded("one")
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(signed.url)
    assert raised.value.code == 400
    if (stack.home / "objects").exists():
        assert files_with(stack.home, client.canary) == []
        folder = stack.home / "keys" / "tenants" / f"tenant-{client.tenant_id.lower()}"
        assert [path.name for path in folder.iterdir()] == ["destroyed"]
    # What was never encrypted lives on, and what is left can be listed and deleted.
    client.campaigns.CreateCampaign(
        campaign_pb2.CreateCampaignRequest(
            campaign_id="c", campaign=campaign_pb2.Campaign(display_name="Goes on")
        ),
        **client.common,
    )
    everything = object_pb2.DeleteObjectsRequest(all=True)
    assert client.objects.DeleteObjects(everything, **client.common).deleted_count == 2
    assert client.destroy_key() == gone


def test_encryption_is_switched_on_and_keys_rotate_while_the_tenant_works(
    stack: Stack, client: Client
) -> None:
    assert not client.create_tenant(encrypted=False).HasField("encryption")
    client.write("plain")
    if (stack.home / "objects").exists():
        assert files_with(stack.home, client.canary)
    assert client.object("plain").key_version == 0
    rotate = tenant_key_pb2.RotateTenantKeyRequest(name=f"tenants/{client.tenant_id}")
    assert refusal(lambda: client.keys.RotateTenantKey(rotate, **client.operator)) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "ENCRYPTION_OFF",
    )

    assert client.switch(on=True).encryption.key_version == 1
    assert client.switch(on=True).encryption.key_version == 1
    code, _ = refusal(lambda: client.switch(on=False))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    client.write("first")
    rotated = client.keys.RotateTenantKey(rotate, **client.operator).tenant
    assert rotated.encryption.key_version == 2
    client.write("second")

    for name in ("plain", "first", "second"):
        client.assert_readable(name)
    assert [client.object(name).key_version for name in ("plain", "first", "second")] == [0, 1, 2]
    assert sorted(client.found_by_email()) == ["users/first", "users/plain", "users/second"]


def test_rotations_stop_nobody(client: Client) -> None:
    client.create_tenant(encrypted=True)
    client.write("before")
    stop, failures, rounds = threading.Event(), [], [0]

    def work(worker: int) -> None:
        while not stop.is_set():
            try:
                name = f"w{worker}-{rounds[0]}"
                rounds[0] += 1
                client.write(name)
                client.assert_readable(name)
                client.assert_readable("before")
            except (grpc.RpcError, AssertionError) as error:
                failures.append(error)
                return

    workers = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for worker in workers:
        worker.start()
    rotate = tenant_key_pb2.RotateTenantKeyRequest(name=f"tenants/{client.tenant_id}")
    for version in (2, 3, 4):
        rotated = client.keys.RotateTenantKey(rotate, **client.operator).tenant
        assert rotated.encryption.key_version == version
        time.sleep(0.3)
    stop.set()
    for worker in workers:
        worker.join()
    assert failures == []
    assert rounds[0] > 4
    client.write("after")
    assert client.object("after").key_version == 4


def reencrypt(client: Client) -> list[tuple[str, int, str]]:
    """What each step of a re-encryption said at its end."""
    request = tenant_key_pb2.StartReencryptionRequest(
        name=f"tenants/{client.tenant_id}", request_id=secrets.token_hex(8)
    )
    deadline = time.monotonic() + 30
    while True:
        try:
            begun = client.keys.StartReencryption(request, **client.operator)
            break
        except grpc.RpcError as error:  # the resolver may end before it answers
            if error.code() != grpc.StatusCode.UNAVAILABLE or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
    return outcome(client, begun.operation.name)


def outcome(client: Client, name: str) -> list[tuple[str, int, str]]:
    """What each step of an operation said at its end, whatever happens to the resolver meanwhile."""
    deadline = time.monotonic() + 60
    request = operation_pb2.GetOperationRequest(name=name)
    while time.monotonic() < deadline:
        time.sleep(0.05)
        try:
            operation = client.operations.GetOperation(request, **client.operator).operation
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.UNAVAILABLE:
                raise
            continue
        assert operation.state != operation_pb2.OPERATION_STATE_FAILED, operation.error
        if operation.state == operation_pb2.OPERATION_STATE_SUCCEEDED:
            return [(step.name, step.done, step.detail) for step in operation.steps]
    raise AssertionError("the operation does not end")


@pytest.mark.embedded
def test_everything_comes_under_the_newest_data_keys_while_the_tenant_writes(
    quick_stack: Stack,
) -> None:
    client = Client(quick_stack, f"Enc-{secrets.token_hex(4)}")
    client.create_tenant(encrypted=False)
    for number in range(5):
        client.write(f"plain-{number}")
    client.write_config()
    client.switch(on=True)
    for number in range(5):
        client.write(f"one-{number}")
    rotate = tenant_key_pb2.RotateTenantKeyRequest(name=f"tenants/{client.tenant_id}")
    client.keys.RotateTenantKey(rotate, **client.operator)
    stop, written, failures = threading.Event(), [], []

    def work() -> None:
        while not stop.is_set():
            try:
                client.write(f"during-{len(written)}")
                written.append(f"during-{len(written)}")
                client.assert_readable(written[-1])
            except (grpc.RpcError, AssertionError) as error:
                failures.append(error)
                return

    writing = threading.Thread(target=work)
    writing.start()
    steps = reencrypt(client)
    stop.set()
    writing.join()
    assert failures == []
    assert written
    assert [step for step, _, _ in steps] == [
        *("fields", "objects", "retire", "settle", "fields-again", "objects-again", "drop")
    ]
    assert int(steps[0][2].split()[0]) >= 21  # users and lists, twice five each, and the settings
    assert int(steps[1][2].split()[0]) >= 10
    assert steps[-1][1] == 2  # of fields and of objects, version 1
    for name in [f"{kind}-{number}" for kind in ("plain", "one") for number in range(5)] + written:
        client.assert_readable(name)
        assert client.object(name).key_version == 2
    again = reencrypt(client)
    assert {told for _, _, told in again if "anew" in told} == {"0 encrypted anew"}
    assert again[-1][:2] == ("drop", 0)
    client.close()


MOMENTS = [
    f"{step}:worked"
    for step in ("fields", "objects", "retire", "settle", "fields-again", "objects-again", "drop")
]
"""Of every step, the moment at which its work is done and the record does not say so."""


@pytest.mark.embedded
@pytest.mark.timeout(120)
@pytest.mark.parametrize("at", MOMENTS)
def test_a_resolver_that_ends_at_any_recorded_moment_is_followed_by_one_that_finishes(
    tmp_path: Path, stack_environment: Mapping[str, str], at: str
) -> None:
    environment = {
        **stack_environment,
        "SILO_KEY_SETTLE_SECONDS": "0.1",
        "SILO_OPERATION_LEASE_SECONDS": "1",
        "SILO_CRASH_AT": f"re-encryption/{at}",
    }
    with Stack(home=tmp_path, tenants=(), environment=environment, drain_seconds=1.0) as running:
        client, neighbour = (Client(running, f"Enc-{secrets.token_hex(4)}") for _ in range(2))
        neighbour.create_tenant(encrypted=True)
        neighbour.write("own")
        client.create_tenant(encrypted=False)
        for name in ("plain-0", "plain-1"):
            client.write(name)
        client.switch(on=True)
        client.write("one")
        request = tenant_key_pb2.RotateTenantKeyRequest(name=f"tenants/{client.tenant_id}")
        client.keys.RotateTenantKey(request, **client.operator)
        steps = reencrypt(client)
        assert (tmp_path / "resolver" / "crashed").exists()
        assert steps[-1][0] == "drop"
        for name in ("plain-0", "plain-1", "one"):
            client.assert_readable(name)
            assert client.object(name).key_version == 2
        neighbour.assert_readable("own")
        assert neighbour.object("own").key_version == 1
        client.close()
        neighbour.close()


@pytest.mark.embedded
@pytest.mark.timeout(120)
@pytest.mark.parametrize("killed", ["data", "storage"])
def test_a_service_that_is_killed_holds_a_reencryption_up_and_no_more(
    quick_stack: Stack, killed: str
) -> None:
    client = Client(quick_stack, f"Enc-{secrets.token_hex(4)}")
    client.create_tenant(encrypted=False)
    names = [f"n-{number}" for number in range(30)]
    for name in names:
        client.write(name)
    client.switch(on=True)
    request = tenant_key_pb2.StartReencryptionRequest(name=f"tenants/{client.tenant_id}")
    begun = client.keys.StartReencryption(request, **client.operator).operation
    quick_stack.kill(killed)
    quick_stack.await_ready()
    assert outcome(client, begun.name)[-1][0] == "drop"
    for name in names:
        client.assert_readable(name)
        assert client.object(name).key_version == 1
    client.close()
