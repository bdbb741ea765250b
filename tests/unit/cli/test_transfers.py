from __future__ import annotations

import json
import os

from boundary.errors import PermissionDenied


def test_puts_and_gets_in_chunks(silo, gateway, tmp_path) -> None:
    content = os.urandom(3 * 1024 * 1024 + 7)
    source, target = tmp_path / "in.bin", tmp_path / "out.bin"
    source.write_bytes(content)
    put = silo("put", str(source), "exports/", "--tenant", "A", "--metadata", "from=here")
    assert put.exit_code == 0, put.stderr
    assert put.stdout == "exports/in.bin  3.0 MiB  etag e1\n"
    assert gateway.objects["exports/in.bin"] == content
    assert dict(gateway.requests[0].spec.metadata) == {"from": "here"}
    got = silo("get", "exports/in.bin", str(target), "--tenant", "A")
    assert got.exit_code == 0, got.stderr
    assert target.read_bytes() == content


def test_pipes_through(silo, gateway) -> None:
    put = silo("put", "-", "exports/x.html", "--tenant", "A", "--json", stdin=b"abc\x00def")
    assert json.loads(put.stdout)["size"] == "7"
    assert gateway.requests[0].spec.content_type == "text/html"
    got = silo("get", "exports/x.html", "-", "--tenant", "A", "--offset", "2", "--length", "3")
    assert got.stdout_bytes == b"c\x00d"


def test_an_empty_object(silo, gateway, tmp_path) -> None:
    (tmp_path / "empty").touch()
    assert silo("put", str(tmp_path / "empty"), "e", "--tenant", "A").exit_code == 0
    assert silo("get", "e", str(tmp_path / "out"), "--tenant", "A").exit_code == 0
    assert (tmp_path / "out").read_bytes() == b""


def test_a_refused_download_leaves_no_file(silo, gateway, tmp_path) -> None:
    result = silo("get", "nope", str(tmp_path / "out"), "--tenant", "A")
    assert result.exit_code == 1
    assert result.stderr.startswith("NOT_FOUND (RESOURCE_NOT_FOUND)")
    assert not (tmp_path / "out").exists()


def test_a_damaged_download_leaves_what_was_there(silo, gateway, tmp_path) -> None:
    gateway.objects["x"], gateway.damaged = b"content", True
    (tmp_path / "out").write_text("before")
    result = silo("get", "x", str(tmp_path / "out"), "--tenant", "A")
    assert result.exit_code == 1
    assert result.stderr.startswith("DATA_LOSS: x arrived damaged")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["out"]
    assert (tmp_path / "out").read_text() == "before"


def test_a_refused_upload_says_so(silo, gateway, tmp_path) -> None:
    gateway.error = PermissionDenied("PERMISSION_MISSING", "the caller lacks objects.write")
    (tmp_path / "in").write_bytes(b"x" * 5_000_000)
    result = silo("put", str(tmp_path / "in"), "x", "--tenant", "A")
    assert (
        result.stderr == "PERMISSION_DENIED (PERMISSION_MISSING): the caller lacks objects.write\n"
    )


def test_a_file_that_is_not_there(silo, gateway, tmp_path) -> None:
    result = silo("put", str(tmp_path / "nope"), "x", "--tenant", "A")
    assert result.exit_code == 1
    assert result.stderr == f"silo: {tmp_path / 'nope'}: no such file or directory\n"
