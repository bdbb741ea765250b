"""The peer that many would write first: FastAPI, PyJWT and boto3 in one process.

Run as `uvicorn benchmarks.monolith:app`, with the issuer's public key, and a DynamoDB endpoint in the environment.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import boto3
import jwt
from botocore.config import Config
from fastapi import FastAPI, Header, HTTPException

_KEY = jwt.PyJWK(json.loads(Path(os.environ["MONOLITH_JWKS"]).read_text())["keys"][0]).key
_TABLE = boto3.client(
    "dynamodb",
    endpoint_url=os.environ["MONOLITH_DYNAMODB"],
    region_name="eu-central-1",
    aws_access_key_id="local",
    aws_secret_access_key="local",
    config=Config(max_pool_connections=64),
)

app = FastAPI()


@app.get("/campaigns/{campaign_id}")
def get_campaign(campaign_id: str, authorization: Annotated[str, Header()]) -> dict[str, Any]:
    """Verifies the token, reads the item, and answers with it."""
    claims = jwt.decode(
        authorization.removeprefix("Bearer "),
        _KEY,
        algorithms=["ES256"],
        audience="silo",
        issuer="https://dev.silo.local",
    )
    if "*" not in claims["custom:permissions"]:
        raise HTTPException(403)
    response = _TABLE.get_item(
        TableName="EmailPlatform",
        Key={
            "PK": {"S": f"TENANT#{claims['custom:tenantId']}"},
            "SK": {"S": f"CAMPAIGN#{campaign_id}"},
        },
    )
    if "Item" not in response:
        raise HTTPException(404)
    return {name: next(iter(value.values())) for name, value in response["Item"].items()}
