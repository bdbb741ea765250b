"""An issuer's key set: from a file and from a URL, kept, rotated, and missing."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from boundary import issuer_keys
from boundary.errors import Unavailable
from boundary.issuer_keys import LIFETIME, MAX_STALE, JwksKeys, parse_jwks

PUBLIC = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key(), as_dict=True)


def jwks(*key_ids: str, **changes: Any) -> str:
    return json.dumps({"keys": [{**PUBLIC, "kid": key_id, **changes} for key_id in key_ids]})


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = time.monotonic()
        stand_in = type("time", (), {"monotonic": lambda _: self.now})()
        monkeypatch.setattr(issuer_keys, "time", stand_in)

    def forward(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class Source:
    """A key set's URL: what it serves, how often it was asked, how it fails."""

    def __init__(self) -> None:
        self.body = jwks("one")
        self.asked = 0
        self.status = 200
        self.gate: asyncio.Event | None = None
        self.url = ""

    async def answer(self, _: web.Request) -> web.Response:
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        headers = {"Location": "/elsewhere"} if self.status == 302 else {}
        return web.Response(status=self.status, text=self.body, headers=headers)

    async def elsewhere(self, _: web.Request) -> web.Response:
        return web.Response(text=jwks("two"))


@pytest.fixture
async def source(unused_tcp_port: int) -> AsyncIterator[Source]:
    serving = Source()
    app = web.Application()
    app.router.add_get("/jwks.json", serving.answer)
    app.router.add_get("/elsewhere", serving.elsewhere)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", unused_tcp_port).start()
    serving.url = f"http://127.0.0.1:{unused_tcp_port}/jwks.json"
    yield serving
    await runner.cleanup()


async def test_a_file_that_rotates(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "jwks.json"
    path.write_text(jwks("one"))
    keys = JwksKeys(str(path))
    assert await keys.find("one") is not None
    path.write_text(jwks("two"))
    assert await keys.find("two") is None, "read a moment ago"
    clock.forward(5.1)
    assert await keys.find("two") is not None
    assert await keys.find("one") is None, "a key that is gone is not accepted any more"


async def test_a_key_that_was_taken_back_ends_with_the_lifetime(
    tmp_path: Path, clock: Clock
) -> None:
    path = tmp_path / "jwks.json"
    path.write_text(jwks("one"))
    keys = JwksKeys(str(path))
    await keys.find("one")
    path.write_text(jwks())
    clock.forward(LIFETIME - 1)
    assert await keys.find("one") is not None
    clock.forward(2)
    assert await keys.find("one") is None


async def test_a_url_is_asked_once_in_a_lifetime(source: Source, clock: Clock) -> None:
    keys = JwksKeys(source.url)
    for _ in range(20):
        assert await keys.find("one") is not None
    assert source.asked == 1
    clock.forward(LIFETIME + 1)
    await keys.find("one")
    assert source.asked == 2


async def test_many_at_once_are_one_request(source: Source, clock: Clock) -> None:
    source.gate = asyncio.Event()
    keys = JwksKeys(source.url)
    waiting = [asyncio.create_task(keys.find("one")) for _ in range(30)]
    await asyncio.sleep(0.05)
    waiting[0].cancel()
    await asyncio.sleep(0.05)
    source.gate.set()
    found = await asyncio.gather(*waiting[1:])
    assert all(key is not None for key in found), "the first caller's end is not the others'"
    assert source.asked == 1


async def test_made_up_key_ids_cost_one_request_in_a_while(source: Source, clock: Clock) -> None:
    keys = JwksKeys(source.url)
    for number in range(200):
        assert await keys.find(f"made-up-{number}") is None
    assert source.asked == 1
    clock.forward(5.1)
    for number in range(200):
        await keys.find(f"made-up-{number}")
    assert source.asked == 2


@pytest.mark.parametrize(
    ("status", "body"),
    [(500, ""), (404, ""), (302, ""), (200, "no json"), (200, "[]"), (200, '{"keys": 1}')],
)
async def test_a_source_that_fails_leaves_the_keys_until_they_are_stale(
    source: Source, clock: Clock, status: int, body: str
) -> None:
    keys = JwksKeys(source.url)
    await keys.find("one")
    source.status, source.body = status, body
    clock.forward(LIFETIME + 1)
    assert await keys.find("one") is not None
    assert await keys.find("two") is None, "redirects are not followed"
    clock.forward(MAX_STALE - LIFETIME)
    with pytest.raises(Unavailable):
        await keys.find("one")
    source.status, source.body = 200, jwks("one")
    clock.forward(5.1)
    assert await keys.find("one") is not None


async def test_a_source_that_was_never_there(tmp_path: Path, clock: Clock) -> None:
    keys = JwksKeys(str(tmp_path / "none.json"))
    for _ in range(2):
        with pytest.raises(Unavailable) as raised:
            await keys.find("one")
        assert raised.value.reason == "ISSUER_KEYS_UNAVAILABLE"


async def test_a_large_key_set_is_read_in_full_and_a_huge_one_not_at_all(
    source: Source, clock: Clock
) -> None:
    source.body = jwks(*(f"key-{number}" for number in range(800)))
    assert 100_000 < len(source.body) < 256 * 1024
    assert await JwksKeys(source.url).find("key-799") is not None
    source.body = jwks("one", padding="x" * 300_000)
    with pytest.raises(Unavailable):
        await JwksKeys(source.url).find("one")


def test_only_asymmetric_signing_keys_are_taken() -> None:
    document = {
        "keys": [
            {**PUBLIC, "kid": "good"},
            {**PUBLIC, "kid": "for-encryption", "use": "enc"},
            {**PUBLIC},
            {"kty": "oct", "kid": "shared", "k": "c2VjcmV0"},
            {"kty": "EC", "kid": "broken", "crv": "P-256", "x": "?", "y": "?"},
            {"kty": "EC", "kid": "unknown-curve", "crv": "P-1", "x": "AA", "y": "AA"},
            {"kty": "RSA", "kid": "short"},
            {**PUBLIC, "kid": "odd-algorithm", "alg": "HS256"},
            "text",
            None,
        ]
    }
    assert set(parse_jwks(json.dumps(document))) == {"good"}
