"""Manifests and archives in folders: read as they were written, and every change named."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from boundary.archive_files import ArchiveError, verify_archive
from boundary.archives import KIND, MANIFEST, Manifest, Part, part_name, read_manifest, sections_of
from boundary.certificates import CertificateError, keys_in, sign
from boundary.ids import TenantId

KEY = Ed25519PrivateKey.generate()
KEYS = {"k": KEY.public_key().public_bytes_raw()}
CONTENT = b"hello"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def part(name: str, raw: bytes) -> Part:
    lines = raw.count(b"\n")
    return Part(name=name, count=lines, bytes=len(raw), sha256=hashlib.sha256(raw).hexdigest())


ITEMS = b'{"campaign":{}}\n{"user":{}}\n'
LINE = json.dumps({"path": "a", "size": len(CONTENT), "sha256": SHA256}).encode() + b"\n"
PARTS = {"items-00001.jsonl": ITEMS, "objects-00001.jsonl": LINE}


def manifest(**changes: Any) -> Manifest:
    values: dict[str, Any] = {
        "tenant_id": TenantId("A"),
        "path": "exports/spring",
        "started_at": 1,
        "ended_at": 2,
        "content_bytes": len(CONTENT),
        "parts": [part(name, raw) for name, raw in PARTS.items()],
    }
    return Manifest(**{**values, **changes})


def signed(of: Manifest, *, kind: str = KIND) -> str:
    return sign(sections_of(of), kind=kind, key_id="k", key=KEY)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "objects" / SHA256[:2]).mkdir(parents=True)
    (tmp_path / "objects" / SHA256[:2] / SHA256).write_bytes(CONTENT)
    for name, raw in PARTS.items():
        (tmp_path / name).write_bytes(raw)
    (tmp_path / MANIFEST).write_text(signed(manifest()))
    return tmp_path


def test_a_manifest_is_read_as_it_was_written() -> None:
    read = read_manifest(signed(manifest()), keys=KEYS)
    assert read == manifest()
    assert (read.count("items"), read.count("events"), read.count("objects")) == (2, 0, 1)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (signed(manifest(), kind="erasure"), "type"),
        (signed(manifest(parts=[part(part_name("items", 2), b"")])), "sections"),
        (signed(manifest()).replace('"format": 1', '"format": 2'), "sections.archive"),
        ("{}", "document"),
        (signed(manifest()).replace("exports/spring", r"\ud800"), "document"),
    ],
)
def test_what_is_no_manifest_of_ours_is_refused(text: str, place: str) -> None:
    with pytest.raises(CertificateError) as refused:
        read_manifest(text, keys=KEYS)
    assert refused.value.place == place


def test_a_manifest_of_somebody_else_is_refused() -> None:
    other = {"k": Ed25519PrivateKey.generate().public_key().public_bytes_raw()}
    for keys in (other, {}):
        with pytest.raises(CertificateError) as refused:
            read_manifest(signed(manifest()), keys=keys)
        assert refused.value.place == "public_key"


def test_a_whole_archive_passes(folder: Path) -> None:
    assert verify_archive(folder, keys=KEYS) == manifest()


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda f: (f / MANIFEST).unlink(), "manifest.json"),
        (lambda f: (f / MANIFEST).write_bytes(b"\xff"), "manifest.json"),
        (lambda f: (f / MANIFEST).write_text("{}"), "manifest.json document"),
        (lambda f: (f / "items-00001.jsonl").unlink(), "items-00001.jsonl"),
        (
            lambda f: (f / "items-00001.jsonl").write_bytes(ITEMS.replace(b"user", b"uses")),
            "items-00001.jsonl",
        ),
        (lambda f: _content(f).write_bytes(b"hellO"), "objects-00001.jsonl, line 1"),
        (lambda f: _content(f).unlink(), "objects-00001.jsonl, line 1"),
        (lambda f: (f / "items-00002.jsonl").write_bytes(ITEMS), "items-00002.jsonl"),
        (lambda f: (f / "objects" / "more").write_bytes(b""), "objects/more"),
        (lambda f: (f / "link").symlink_to("nowhere"), "link"),
    ],
)
def test_what_was_changed_is_named(
    folder: Path, change: Callable[[Path], object], place: str
) -> None:
    change(folder)
    with pytest.raises(ArchiveError) as refused:
        verify_archive(folder, keys=KEYS)
    assert refused.value.place == place


def test_a_key_set_is_one_of_ed25519_keys() -> None:
    x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    key = {"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": x}
    assert len(keys_in(json.dumps({"keys": [key]}))["k"]) == 32
    for broken in ({**key, "crv": "X25519"}, {**key, "x": "AA"}, {**key, "x": "?"}, {}, []):
        with pytest.raises(ValueError, match="no JSON Web Key Set"):
            keys_in(json.dumps({"keys": [broken]}))
    with pytest.raises(ValueError, match="no JSON Web Key Set"):
        keys_in("nothing")


def _content(folder: Path) -> Path:
    return folder / "objects" / SHA256[:2] / SHA256
