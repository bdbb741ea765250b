"""A real S3 server for the tests: SeaweedFS (Apache-2.0), built with Go through the module proxy.

It checks signatures, enforces the session policies of its own STS, knows conditional writes and deletions,
versions, and uploads in parts. The binary is kept in the cache folder of the user and built once, in some
minutes on two cores.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

MODULE = "github.com/seaweedfs/seaweedfs"
VERSION = "v0.0.0-20261109003541-7506e5f91cd6"

ROLE = "arn:aws:iam::000000000000:role/SiloStorage"
"""A role that the root user may assume and that may do anything, but for the session's policy."""

_READY_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Server:
    """A running server.

    Attributes:
        url: where it speaks S3 and STS.
        access_key: the root user's.
        secret_key: the root user's.
        role: the role of which the root user may get sessions.
        process: the server.
    """

    url: str
    access_key: str
    secret_key: str
    role: str
    process: subprocess.Popen[bytes]

    def client(self, service: str) -> Any:
        """A client of the root user."""
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(read_timeout=30, connect_timeout=5),
        )


def cache_folder() -> Path:
    """Where what was fetched and built is kept."""
    root = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(root) / "silo-engines"


def obtain_s3() -> Path:
    """The server's binary, built where it is not there yet."""
    binary = cache_folder() / f"seaweedfs-{VERSION}" / "weed"
    if binary.exists():
        return binary
    binary.parent.mkdir(parents=True, exist_ok=True)
    downloaded = subprocess.run(
        ["go", "mod", "download", "-json", f"{MODULE}@{VERSION}"],
        env={**os.environ, "GOFLAGS": "-mod=mod"},
        cwd=binary.parent,
        check=True,
        capture_output=True,
    )
    # Built within its own module, whose go.mod has a replacement that `go install` would refuse.
    building = binary.with_name(f"weed.{os.getpid()}")
    subprocess.run(
        ["go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", building, "./weed"],
        env={**os.environ, "GOFLAGS": ""},
        cwd=json.loads(downloaded.stdout)["Dir"],
        check=True,
    )
    building.rename(binary)
    return binary


@contextmanager
def start_s3(folder: Path) -> Iterator[S3Server]:
    """A server on loopback with its data in a folder; gone when this ends."""
    binary = obtain_s3()
    folder.mkdir(parents=True, exist_ok=True)
    access_key, secret_key = "silotestsroot", "silo-tests-root-secret"
    identities = {
        "identities": [
            {
                "name": "root",
                "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
                "actions": ["Admin", "Read", "List", "Tagging", "Write"],
            }
        ]
    }
    (folder / "identities.json").write_text(json.dumps(identities))
    (folder / "iam.json").write_text(json.dumps(_IAM))
    # Without a key of its own it takes the bucket's default encryption and then no object.
    (folder / "security.toml").write_text('[s3.sse]\nkey = "the key of the tests"\n')
    ports = _free_ports(9)
    command = [
        str(binary),
        "-logdir",
        str(folder),
        "server",
        f"-dir={folder}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-master.port={ports[0]}",
        f"-master.port.grpc={ports[1]}",
        "-master.telemetry=false",
        "-master.volumeSizeLimitMB=1024",
        "-volume.max=0",
        "-volume.preStopSeconds=0",
        f"-volume.port={ports[2]}",
        f"-volume.port.grpc={ports[3]}",
        "-filer",
        f"-filer.port={ports[4]}",
        f"-filer.port.grpc={ports[5]}",
        "-s3",
        f"-s3.port={ports[6]}",
        f"-s3.port.grpc={ports[7]}",
        "-s3.port.iceberg=0",
        f"-s3.config={folder / 'identities.json'}",
        f"-s3.iam.config={folder / 'iam.json'}",
    ]
    environment = {**os.environ, "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"}
    with (folder / "output.log").open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        _await_ready(process, ports[6], folder)
        server = S3Server(
            url=f"http://127.0.0.1:{ports[6]}",
            access_key=access_key,
            secret_key=secret_key,
            role=ROLE,
            process=process,
        )
        _first_write(server)
        yield server
    finally:
        process.kill()  # its own way of stopping takes 10 s
        process.wait(10)


_IAM = {
    "sts": {
        "tokenDuration": "1h",
        "maxSessionLength": "12h",
        "issuer": "silo-tests",
        "signingKey": base64.b64encode(b"a signing key for the tests' sts").decode(),
    },
    "policies": [
        {
            "name": "Anything",
            "document": {
                "Version": "2012-10-17",
                "Statement": [{"Effect": "Allow", "Action": ["s3:*"], "Resource": ["*"]}],
            },
        }
    ],
    "roles": [
        {
            "roleName": "SiloStorage",
            "roleArn": ROLE,
            "trustPolicy": {
                "Version": "2012-10-17",
                "Statement": [{"Effect": "Allow", "Principal": "*", "Action": ["sts:AssumeRole"]}],
            },
            "attachedPolicies": ["Anything"],
        }
    ],
}


def _first_write(server: S3Server) -> None:
    """Returns when the server has written something, for which its parts must have found one another."""
    client = server.client("s3")
    client.create_bucket(Bucket="first-write")
    client.put_object(Bucket="first-write", Key="key", Body=b"content")
    client.delete_object(Bucket="first-write", Key="key")
    client.delete_bucket(Bucket="first-write")
    client.close()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for listening in sockets:
            listening.bind(("127.0.0.1", 0))
        return [listening.getsockname()[1] for listening in sockets]
    finally:
        for listening in sockets:
            listening.close()


def _await_ready(process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
        try:
            connection.request("GET", "/healthz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.1)
        finally:
            connection.close()
    raise RuntimeError(
        "the S3 server did not start:\n" + (folder / "output.log").read_text()[-4000:]
    )


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One server for the test run, which is skipped nowhere: without Go it fails."""
    if shutil.which("go") is None and not (cache_folder() / f"seaweedfs-{VERSION}").exists():
        pytest.fail("the S3 server is built with Go, which is not installed")
    with start_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server
