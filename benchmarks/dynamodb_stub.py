"""Answers DynamoDB's GetItem with one campaign, as cheaply as it can: a stand-in for the engine.

`python -m benchmarks.dynamodb_stub PORT`
"""

from __future__ import annotations

import asyncio
import json
import sys

import uvloop
from aiohttp import web

_ITEM = {
    "PK": {"S": "TENANT#A"},
    "SK": {"S": "CAMPAIGN#bench"},
    "display_name": {"S": "Spring sale"},
    "subject": {"S": "Everything must go"},
    "from_address": {"S": "news@a.example"},
    "status": {"S": "DRAFT"},
    "template": {"S": "templates/spring"},
    "recipient_list": {"S": "lists/everyone"},
    "create_time": {"S": "2024-01-15T10:00:00Z"},
    "update_time": {"S": "2024-01-15T10:00:00Z"},
    "etag": {"S": "0123456789abcdef"},
}
_BODY = json.dumps({"Item": _ITEM}).encode()


async def get_item(request: web.Request) -> web.Response:
    """Reads the request and answers with the item."""
    await request.read()
    return web.Response(body=_BODY, content_type="application/x-amz-json-1.0")


async def serve(port: int) -> None:
    """Serves until the process is ended."""
    app = web.Application()
    app.router.add_route("*", "/", get_item)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
