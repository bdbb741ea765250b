"""Who is who at the engines in containers: the S3 server's identities and roles, and the processes' keys for it.

Everything follows from a few random keys that are made once, so that the next start lays out the same again:

    FOLDER/s3/*.key                what all of this is derived from
    FOLDER/s3/identities.json      who has keys: the operator, who may do anything, and the services
    FOLDER/s3/iam.json             the roles that the services' sessions are made of
    FOLDER/s3/security.toml        the key under which the server encrypts objects; who may reconfigure it: nobody
    FOLDER/s3/ca/, FOLDER/s3/s3/   the authority for that, of which nobody else has a certificate
    FOLDER/PROCESS/aws/credentials the key that AWS's libraries find, for those who ask an engine

The services' own keys open no tenant's object; they only get sessions of a role, each with one tenant's policy.
That of the storage service opens the archive of the audit trail as well, which is no tenant's.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from boundary.key_files import load_or_create
from devstack.certificates import ensure_certificates

ACCOUNT = "000000000000"
"""As which the S3 server signs itself."""

_SECURITY = """[s3.sse]
key = "{sse}"

# Whoever could call this port could make himself an identity.
[grpc]
ca = "ca/ca.pem"

[grpc.s3]
cert = "s3/tls/cert.pem"
key = "s3/tls/key.pem"
"""
"""Paths are in the server's working folder."""

SERVICES = {"resolver": "services", "data": "services", "storage": "storage"}
"""Whose key each service has that asks an engine."""

ARCHIVE = [f"{action}:email-platform-storage/audit/*" for action in ("Read", "List", "Write")]
"""What the storage service may do in its own name, in the server's words."""

_KEYS = ("operator", "services", "storage", "sts", "sse")


def lay_out_engine_keys(folder: Path, *, operator: str) -> None:
    """Makes the keys that are not there yet, and writes what follows from them.

    Args:
        operator: the folder, by name, that gets the operator's key.

    Raises:
        OSError, ValueError: the files can be neither read nor made.
    """
    server = folder / "s3"
    keys = {name: load_or_create(server, name) for name in _KEYS}
    identities = [
        _identity("operator", keys["operator"], ["Admin", "Read", "List", "Tagging", "Write"]),
        _identity("services", keys["services"], []),
        _identity("storage", keys["storage"], ARCHIVE),
    ]
    _write(server / "identities.json", json.dumps({"identities": identities}))
    _write(server / "iam.json", json.dumps(_roles(keys["sts"])))
    ensure_certificates(server, "s3")
    _write(server / "security.toml", _SECURITY.format(sse=keys["sse"].hex()))
    _write(folder / operator / "aws" / "credentials", _credentials(keys["operator"]))
    for name, key in SERVICES.items():
        _write(folder / name / "aws" / "credentials", _credentials(keys[key]))


def _identity(name: str, key: bytes, actions: list[str]) -> dict[str, Any]:
    pair = {"accessKey": _access_key(key), "secretKey": key.hex()}
    return {"name": name, "credentials": [pair], "actions": actions}


def _access_key(key: bytes) -> str:
    """The name of a key, in letters and digits alone, as DynamoDB's engines want it."""
    return "SILO" + hashlib.sha256(key).hexdigest()[:16].upper()


def _credentials(key: bytes) -> str:
    return (
        f"[default]\naws_access_key_id = {_access_key(key)}\naws_secret_access_key = {key.hex()}\n"
    )


def _roles(signing_key: bytes) -> dict[str, Any]:
    return {
        "sts": {
            "tokenDuration": "1h",
            "maxSessionLength": "1h",
            "issuer": "silo",
            "signingKey": base64.b64encode(signing_key).decode(),
        },
        "policies": [_policy("Objects", "Allow"), _policy("Nothing", "Deny")],
        # Tables are not the S3 server's: a session for the data service has no use of it.
        "roles": [
            _role("SiloStorage", "Objects", of="storage"),
            _role("SiloData", "Nothing", of="services"),
        ],
    }


def _policy(name: str, effect: str) -> dict[str, Any]:
    statement = {"Effect": effect, "Action": ["s3:*"], "Resource": ["*"]}
    return {"name": name, "document": {"Version": "2012-10-17", "Statement": [statement]}}


def _role(name: str, policy: str, *, of: str) -> dict[str, Any]:
    trust = {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:user/{of}"},
        "Action": ["sts:AssumeRole"],
    }
    return {
        "roleName": name,
        "roleArn": f"arn:aws:iam::{ACCOUNT}:role/{name}",
        "trustPolicy": {"Version": "2012-10-17", "Statement": [trust]},
        "attachedPolicies": [policy],
    }


def _write(path: Path, content: str) -> None:
    """Writes a file for its owner alone, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(descriptor, "w") as file:
        file.write(content)
    Path(temporary).replace(path)
