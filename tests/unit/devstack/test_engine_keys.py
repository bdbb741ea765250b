"""The keys for the engines in containers: one for the operator, one for the services, the same at each start."""

from __future__ import annotations

import configparser
import json
from pathlib import Path

from devstack.containers import OPERATOR, main
from devstack.engine_keys import ARCHIVE, SERVICES
from services.engines.settings import TenantSessions, load_engines

ENGINES = Path(__file__).parents[3] / "deploy" / "compose" / "engines.json"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def pair_of(folder: Path) -> tuple[str, str]:
    parser = configparser.ConfigParser()
    parser.read(folder / "aws" / "credentials")
    found = parser["default"]
    return found["aws_access_key_id"], found["aws_secret_access_key"]


def test_operator_and_services_have_the_keys_that_the_server_knows(tmp_path: Path) -> None:
    assert main(["secrets", str(tmp_path), "--engines"]) == 0
    identities = json.loads((tmp_path / "s3" / "identities.json").read_text())["identities"]
    known = {
        (pair["accessKey"], pair["secretKey"]): identity
        for identity in identities
        for pair in identity["credentials"]
    }
    assert "Admin" in known[pair_of(tmp_path / OPERATOR)]["actions"]
    for name in SERVICES:
        own = ARCHIVE if name == "storage" else []
        assert known[pair_of(tmp_path / name)]["actions"] == own
    assert {path.parents[1].name for path in tmp_path.rglob("aws/credentials")} == {
        OPERATOR,
        *SERVICES,
    }
    # DynamoDB's engines refuse any other character in the name of a key.
    assert all(access_key.isalnum() for access_key, _ in known)


def test_the_roles_are_those_of_the_engines_file(tmp_path: Path) -> None:
    main(["secrets", str(tmp_path), "--engines"])
    made = json.loads((tmp_path / "s3" / "iam.json").read_text())["roles"]
    credentials = load_engines(ENGINES, region="local").credentials
    assert isinstance(credentials, TenantSessions)
    assert set(credentials.roles.values()) == {role["roleArn"] for role in made}
    assert all(role["trustPolicy"]["Statement"][0]["Principal"] != "*" for role in made)


def test_the_next_start_changes_nothing_and_another_suite_has_other_keys(tmp_path: Path) -> None:
    main(["secrets", str(tmp_path / "one"), "--engines"])
    before = contents(tmp_path / "one")
    main(["secrets", str(tmp_path / "one"), "--engines"])
    assert contents(tmp_path / "one") == before
    main(["secrets", str(tmp_path / "two"), "--engines"])
    assert pair_of(tmp_path / "one" / "data") != pair_of(tmp_path / "two" / "data")


def test_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    main(["secrets", str(tmp_path), "--engines"])
    server = tmp_path / "s3"
    files = [*tmp_path.rglob("aws/credentials"), *server.rglob("key.pem")]
    files += [path for path in server.iterdir() if path.is_file()]
    assert len(files) > 10
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
