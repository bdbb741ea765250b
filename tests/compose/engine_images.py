"""The engines' images, or stand-ins where no registry can be reached: engines that take the same command lines.

A stand-in has what docker-compose.engines.yml uses of the image whose place it takes: its command, the environment
that it reads, its port, the folder of its data, and `curl` and `wget` for the health check.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.compose.images import ROOT, is_at_hand
from tests.engines.servers import dynamodb, opensearch, s3

ASK = """#!/usr/bin/env python3
'''What health checks need of curl and wget: asks the last argument; -f and wget fail with what is an error.'''
import sys, urllib.error, urllib.request
try:
    urllib.request.urlopen(sys.argv[-1], timeout=5).read()
except urllib.error.HTTPError:
    sys.exit('-f' in sys.argv or 'wget' in sys.argv[0])
except OSError:
    sys.exit(1)
"""

DYNAMODB = """#!/bin/sh
# java -jar DynamoDBLocal.jar ... -dbPath FOLDER
while [ $# -gt 0 ]; do
  [ "$1" = -dbPath ] && folder=$2
  shift
done
exec /usr/local/bin/dynoxide serve --host 0.0.0.0 --port 8000 --db-path "$folder/items.sqlite" --log quiet
"""

OPENSEARCH = f"""#!/usr/bin/env python3
'''Settings are the variables with a dot in their name, as OpenSearch's own image takes them.'''
import os, pathlib
data = pathlib.Path('/usr/share/opensearch/data')
settings = {{name: value for name, value in os.environ.items() if '.' in name and name.islower()}}
settings |= {{'network.host': '0.0.0.0', 'cluster.max_shards_per_node': '5000'}}
file = data / 'node_1' / 'config' / 'opensearch.yml'
file.parent.mkdir(parents=True, exist_ok=True)
file.write_text(''.join(f'{{name}}: {{value}}\\n' for name, value in settings.items()))
os.chdir(data)
java = '/opt/java/bin/java'
os.execv(java, [
    java, *os.environ['OPENSEARCH_JAVA_OPTS'].split(), '-XX:+UseSerialGC', '-cp', '/opt/jars/*',
    '{opensearch.MAIN}', '-basePath', str(data), '-numOfNode', '1', '-baseHttpPort', '9199',
    '-clusterName', 'silo', '-moduleTypes', '{opensearch.MODULES}',
])
"""

BUILD = """FROM {base}
COPY root /
ENTRYPOINT ["{entrypoint}"]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIn:
    """What takes an image's place.

    Attributes:
        variable: by which docker-compose.engines.yml is given the image.
        entrypoint: the program that a container runs.
        fill: puts programs into the folder that becomes the root of the image.
    """

    variable: str
    entrypoint: str
    fill: Callable[[Path], None]


def _fill_dynamodb(root: Path) -> None:
    _program(root / "usr/bin/java", DYNAMODB)
    _link(dynamodb.install(), root / "usr/local/bin/dynoxide")


def _fill_s3(root: Path) -> None:
    _link(s3.obtain_s3(), root / "usr/bin/weed")


def _fill_opensearch(root: Path) -> None:
    _program(root / "usr/local/bin/opensearch", OPENSEARCH)
    _link(opensearch.classpath(), root / "opt/jars")
    home = opensearch.java().resolve().parents[1]
    _link(home, root / "opt/java", without=("src.zip", "ct.sym", "jmods", "man", "legal"))


STAND_INS = (
    StandIn(variable="SILO_DYNAMODB_IMAGE", entrypoint="java", fill=_fill_dynamodb),
    StandIn(variable="SILO_S3_IMAGE", entrypoint="/entrypoint.sh", fill=_fill_s3),
    StandIn(variable="SILO_OPENSEARCH_IMAGE", entrypoint="opensearch", fill=_fill_opensearch),
)


def engine_images(environment: dict[str, str], *, base: str, folder: Path) -> dict[str, str]:
    """The variables that name stand-ins, for those engines whose image cannot be had.

    Args:
        base: what they are built on.
        folder: an empty one to build in.
    """
    pinned = (ROOT / "docker-compose.engines.yml").read_text()
    made = {}
    for stand_in in STAND_INS:
        default = re.search(rf"\$\{{{stand_in.variable}:-(\S+)\}}", pinned)
        assert default is not None, stand_in.variable
        if is_at_hand(environment.get(stand_in.variable) or default[1], environment):
            continue
        name = f"silo-stand-in-{stand_in.variable.split('_')[1].lower()}:test"
        _build(stand_in, name, environment, base=base, folder=folder / stand_in.variable)
        made[stand_in.variable] = name
    return made


def _build(
    stand_in: StandIn, name: str, environment: dict[str, str], *, base: str, folder: Path
) -> None:
    root = folder / "root"
    stand_in.fill(root)
    for program in ("curl", "wget"):
        _program(root / "usr/local/bin" / program, ASK)
    (folder / "Dockerfile").write_text(BUILD.format(base=base, entrypoint=stand_in.entrypoint))
    subprocess.run(
        ["docker", "build", "--quiet", "--tag", name, folder],
        env=environment,
        check=True,
        capture_output=True,
        timeout=300,
    )
    shutil.rmtree(folder)


def _program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def _link(source: Path, target: Path, *, without: tuple[str, ...] = ()) -> None:
    """Puts a file or a folder in its place without a copy of its content where that is possible."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(
            source, target, copy_function=_link_file, ignore=shutil.ignore_patterns(*without)
        )
    else:
        _link_file(str(source), str(target))


def _link_file(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
