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


class S3Server:
    """A server on loopback, with its data in a folder.

    Attributes:
        url: where it speaks S3 and STS; stays the same over restarts.
        port: the url's.
        access_key: the root user's.
        secret_key: the root user's.
        role: the role of which the root user may get sessions.
    """

    access_key = "silotestsroot"
    secret_key = "silo-tests-root-secret"
    role = ROLE

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = _free_ports(8)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = self._ports[6]
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts it; returns when it has written something, for which its parts must have found one another."""
        binary = obtain_s3()
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "identities.json").write_text(json.dumps(self._identities()))
        (self._folder / "iam.json").write_text(json.dumps(_IAM))
        # Without a key of its own it takes the bucket's default encryption and then no object.
        (self._folder / "security.toml").write_text('[s3.sse]\nkey = "the key of the tests"\n')
        with (self._folder / "output.log").open("ab") as output:
            self._process = subprocess.Popen(
                [str(binary), "-logdir", str(self._folder), "server", *self._options()],
                cwd=self._folder,
                env={**os.environ, "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._await_ready()
        self._first_write()

    def kill(self) -> None:
        """Ends it as a crash does. Its own way of stopping takes 10 s."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    @property
    def pid(self) -> int:
        """The process id of the server, which runs.

        Raises:
            RuntimeError: it does not.
        """
        if self._process is None:
            raise RuntimeError("the S3 server does not run")
        return self._process.pid

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

    def _identities(self) -> Any:
        return {
            "identities": [
                {
                    "name": "root",
                    "credentials": [{"accessKey": self.access_key, "secretKey": self.secret_key}],
                    "actions": ["Admin", "Read", "List", "Tagging", "Write"],
                }
            ]
        }

    def _options(self) -> list[str]:
        ports = self._ports
        return [
            f"-dir={self._folder}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            f"-master.port={ports[0]}",
            f"-master.port.grpc={ports[1]}",
            "-master.telemetry=false",
            "-master.volumeSizeLimitMB=1024",
            "-volume.max=0",
            f"-volume.port={ports[2]}",
            f"-volume.port.grpc={ports[3]}",
            "-filer",
            f"-filer.port={ports[4]}",
            f"-filer.port.grpc={ports[5]}",
            "-s3",
            f"-s3.port={ports[6]}",
            f"-s3.port.grpc={ports[7]}",
            "-s3.port.iceberg=0",
            f"-s3.config={self._folder / 'identities.json'}",
            f"-s3.iam.config={self._folder / 'iam.json'}",
        ]

    def _await_ready(self) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                break
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=1)
            try:
                connection.request("GET", "/healthz")
                if connection.getresponse().status == 200:
                    return
            except OSError:
                time.sleep(0.1)
            finally:
                connection.close()
        log = (self._folder / "output.log").read_text()[-4000:]
        raise RuntimeError(f"the S3 server did not start:\n{log}")

    def _first_write(self) -> None:
        client = self.client("s3")
        client.create_bucket(Bucket="first-write")
        client.put_object(Bucket="first-write", Key="key", Body=b"content")
        client.delete_object(Bucket="first-write", Key="key")
        client.delete_bucket(Bucket="first-write")
        client.close()


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
    """A server with its data in a folder; gone when this ends."""
    server = S3Server(folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()


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


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for listening in sockets:
            listening.bind(("127.0.0.1", 0))
        return [listening.getsockname()[1] for listening in sockets]
    finally:
        for listening in sockets:
            listening.close()


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One server for the test run, which is skipped nowhere: without Go it fails."""
    if shutil.which("go") is None and not (cache_folder() / f"seaweedfs-{VERSION}").exists():
        pytest.fail("the S3 server is built with Go, which is not installed")
    with start_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server
