"""The data is in the engines and nowhere else, and only who has business there can reach them."""

from __future__ import annotations

import json

import pytest

from silo.data.v1 import campaign_pb2
from tests.compose.suite import PROCESSES, ComposeSuite
from tests.compose.test_restart import read_object
from tests.e2e.test_kill import Client, content_of

TENANT = "B"
ENGINES = {"dynamodb": 8000, "s3": 8333, "opensearch": 9200}
EMBEDDED = {"resolver": "table/*", "data": "table/*", "storage": "objects", "search": "search"}

HELD = """
import boto3, json, urllib.request
table = boto3.client('dynamodb', endpoint_url='http://dynamodb:8000', region_name='us-east-1')
bucket = boto3.client('s3', endpoint_url='http://s3:8333', region_name='us-east-1')
pages = table.get_paginator('scan').paginate(TableName='EmailPlatform')
print(json.dumps({
    'keys': sorted({item['PK']['S'] for page in pages for item in page['Items']}),
    'objects': [
        each['Key']
        for each in bucket.list_objects_v2(Bucket='email-platform-storage').get('Contents', ())
    ],
    'indexes': urllib.request.urlopen('http://opensearch:9200/_cat/indices?h=index').read().decode().split(),
}))
"""

STEAL = """
import boto3, botocore
bucket = boto3.client('s3', endpoint_url='http://s3:8333', region_name='us-east-1')
for call in (
    lambda: bucket.list_objects_v2(Bucket='email-platform-storage'),
    lambda: bucket.get_object(Bucket='email-platform-storage', Key={key!r}),
    lambda: bucket.put_object(Bucket='email-platform-storage', Key='x', Body=b'x'),
):
    try:
        print(call())
    except botocore.exceptions.ClientError as error:
        print(error.response['Error']['Code'])
"""

RECONFIGURE = """
import grpc, pathlib, socket
folder = pathlib.Path('/run/silo/tls')
ca, cert, key = ((folder / name).read_bytes() for name in ('ca.pem', 'cert.pem', 'key.pem'))
socket.create_connection(('s3', 18333), 2).close()  # it listens
for channel in (
    grpc.insecure_channel('s3:18333'),
    grpc.secure_channel('s3:18333', grpc.ssl_channel_credentials(ca, key, cert)),
):
    try:
        channel.unary_unary('/messaging_pb.SeaweedS3IamCache/PutIdentity')(b'', timeout=5)
        print('answered')
    except grpc.RpcError as error:
        print(error.code().name)
"""

REACH = """
import socket
for address in {addresses}:
    try:
        socket.create_connection(address, 2)
        print('reached')
    except OSError:
        print('refused')
"""


def python(stack: ComposeSuite, name: str, program: str) -> str:
    return stack.compose("exec", "-T", name, "python", "-c", program)


def test_the_engines_are_as_they_should_be(stack: ComposeSuite) -> None:
    shown = stack.compose("run", "--rm", "-T", "silo", "engines", "check").splitlines()
    places = ("table EmailPlatform", "bucket email-platform-storage", "search cluster shared")
    assert [line.strip() for line in shown] == [
        f"local {place}: as it should be" for place in places
    ]


def test_what_a_tenant_writes_is_in_the_engines_and_no_embedded_file_is_there(
    stack: ComposeSuite,
) -> None:
    client = Client(stack, TENANT)
    client.create_campaign(77)
    client.upload(77)
    client.ingest(77)
    request = campaign_pb2.GetCampaignRequest(name="campaigns/c77")
    assert client.campaigns.GetCampaign(request, **client.common).campaign.display_name == "77"
    assert read_object(client, 77) == content_of(77)
    client.close()
    held = json.loads(stack.inside(HELD))
    assert any(key.startswith(f"TENANT#{TENANT}") for key in held["keys"]), held
    assert any(key.endswith("exports/77") for key in held["objects"]), held
    assert any(TENANT.lower() in index for index in held["indexes"]), held
    for name, place in EMBEDDED.items():
        found = f"for file in /var/lib/silo/{place}; do test -e $file && echo $file; done; true"
        assert stack.compose("exec", "-T", name, "sh", "-c", found) == ""


@pytest.mark.parametrize("name", ["resolver", "data", "storage"])
def test_a_services_own_key_opens_no_object(stack: ComposeSuite, name: str) -> None:
    objects = json.loads(stack.inside(HELD))["objects"]
    key = next(key for key in objects if key.startswith("tenant-"))
    said = python(stack, name, STEAL.replace("{key!r}", repr(key))).split()
    assert said == ["AccessDenied"] * 3


def test_no_process_reconfigures_the_s3_server(stack: ComposeSuite) -> None:
    assert python(stack, "storage", RECONFIGURE).split() == ["UNAVAILABLE"] * 2


def test_the_gateway_reaches_no_engine(stack: ComposeSuite) -> None:
    addresses = repr(list(ENGINES.items()))
    assert python(stack, "gateway", REACH.replace("{addresses}", addresses)).split() == (
        ["refused"] * len(ENGINES)
    )


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_is_confined_and_publishes_nothing(stack: ComposeSuite, name: str) -> None:
    host = json.loads(stack.docker("inspect", stack.container(name)))[0]["HostConfig"]
    assert host["CapDrop"] == ["ALL"]
    assert not host["Privileged"]
    assert any(option.startswith("no-new-privileges") for option in host["SecurityOpt"])
    assert host["Memory"] > 0
    assert host["PidsLimit"] > 0
    assert not [at for at in host["PortBindings"].values() if at]


@pytest.mark.parametrize("name", PROCESSES)
def test_who_asks_an_engine_has_a_key_and_nobody_else(stack: ComposeSuite, name: str) -> None:
    shown = stack.compose("exec", "-T", name, "sh", "-c", "find /run/silo -path '*aws*' -type f")
    asks = name in ("resolver", "data", "storage")
    assert shown.split() == (["/run/silo/aws/credentials"] if asks else [])
