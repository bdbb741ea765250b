"""The AWS clients stay in the files that adapt them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]

ADAPTERS = {
    "services/aws/botocore_credentials.py",
    "services/aws/dynamodb_credentials.py",
    "services/aws/process_credentials.py",
    "services/aws/sts.py",
    "services/keys/kms.py",
}


def test_credentials_and_keys_know_the_aws_clients_in_their_adapters_alone() -> None:
    importing = {
        str(path.relative_to(ROOT))
        for folder in ("services/aws", "services/keys")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(
            r"^\s*(?:import|from) (?:boto3|botocore|aiodynamo)\b", path.read_text(), re.MULTILINE
        )
    }
    assert importing == ADAPTERS
