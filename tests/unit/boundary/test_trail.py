"""The chains of the audit trail: what was done to a file is found, and where."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from boundary.trail import writer as writer_module
from boundary.trail.records import digest_of
from boundary.trail.statements import Signer, statement_of
from boundary.trail.verification import Verified, verify
from tests.audit_records import records_in
from tests.unit.boundary.trails import note, open_log, write_segment

TENANTS = ["A", "B", "A", "", "B", "A", "A", "B"]


@pytest.fixture
def trail(tmp_path: Path) -> Path:
    """Three closed segments with records of three chains; the writer's folder."""
    folder = tmp_path / "audit"
    for _ in range(3):
        writer = write_segment(folder, TENANTS)
    return writer


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def places(result: Verified) -> list[tuple[str, int]]:
    return [(finding.file.name, finding.line) for finding in result.findings]


def test_an_untouched_trail_verifies(trail: Path) -> None:
    result = verify(trail.parent)
    assert result.findings == []
    assert (result.records, result.chains, result.unsigned) == (24, 3, 0)
    assert result.writers == {trail.name}


def test_records_are_lines_that_name_what_came_before(trail: Path) -> None:
    first, second = [json.loads(line) for line in lines(trail / "00000001.jsonl")][:3:2]
    assert (first["tenant"], first["chain"], first["seq"], first["prev"]) == ("A", "A", 1, "")
    assert second["seq"] == 2
    assert len(second["prev"]) == 64
    (next_segment, *_) = [json.loads(line) for line in lines(trail / "00000002.jsonl")]
    heads = [json.loads(line) for line in lines(trail / "heads.jsonl")]
    head = next(head for head in heads if head["chain"] == next_segment["chain"])
    assert head["seq"] == next_segment["seq"] - 1
    assert head["hash"] == next_segment["prev"]


def edit(path: Path, number: int, change: Callable[[bytes], bytes]) -> None:
    content = lines(path)
    content[number - 1] = change(content[number - 1])
    path.write_bytes(b"".join(content))


def test_an_edited_record_is_found(trail: Path) -> None:
    edit(trail / "00000002.jsonl", 3, lambda line: line.replace(b'"alice"', b'"malory"'))
    result = verify(trail)
    assert places(result) == [("00000002.jsonl", 3)]
    assert "edited" in str(result.findings[0])


def test_the_last_record_of_a_chain_edited_is_found_by_its_head(trail: Path) -> None:
    edit(trail / "00000003.jsonl", 8, lambda line: line.replace(b'"OK"', b'"XX"'))
    result = verify(trail)
    assert places(result) == [("00000003.jsonl", 8)]
    assert "not the one that was signed" in str(result.findings[0])


def test_a_record_made_anew_with_all_that_follow_is_found_by_its_head(trail: Path) -> None:
    """Somebody who chains the rest anew cannot sign it."""
    path = trail / "00000003.jsonl"
    content, previous = lines(path), {}
    for index, line in enumerate(content):
        record = json.loads(line)
        if record["chain"] == "B":
            if previous:
                record["prev"] = previous["B"]
            record["principal"] = "malory"
            content[index] = json.dumps(record, separators=(",", ":")).encode() + b"\n"
            previous["B"] = digest_of(content[index][:-1])
    path.write_bytes(b"".join(content))
    assert places(verify(trail)) == [("00000003.jsonl", 8)]


def test_a_deleted_record_is_found(trail: Path) -> None:
    edit(trail / "00000002.jsonl", 3, lambda _: b"")
    result = verify(trail)
    assert places(result) == [("00000002.jsonl", 5)]
    assert "records 6 before it are missing" in str(result.findings[0])


def test_swapped_records_are_found(trail: Path) -> None:
    path = trail / "00000001.jsonl"
    content = lines(path)
    content[5], content[6] = content[6], content[5]
    path.write_bytes(b"".join(content))
    assert ("00000001.jsonl", 6) in places(verify(trail))
    assert ("00000001.jsonl", 7) in places(verify(trail))


def test_a_cut_tail_is_found(trail: Path) -> None:
    path = trail / "00000003.jsonl"
    path.write_bytes(b"".join(lines(path)[:-2]))
    result = verify(trail)
    said = sorted(str(finding.what) for finding in result.findings)
    assert said == ["records 12 are missing at the end", "records 9 are missing at the end"]
    assert {finding.file.name for finding in result.findings} == {"00000003.jsonl"}


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_removed_segment_is_found(trail: Path, number: int) -> None:
    (trail / f"{number:08d}.jsonl").unlink()
    result = verify(trail)
    assert {(f.writer, f.chain) for f in result.findings} == {
        (trail.name, chain) for chain in ("A", "B", "")
    }
    assert all("missing" in finding.what for finding in result.findings)


def test_a_replaced_segment_is_found(trail: Path, tmp_path: Path) -> None:
    """A whole segment of the same calls, written by a writer of one's own with other records in it."""
    other = write_segment(tmp_path / "other", TENANTS)
    forged = (
        (other / "00000001.jsonl").read_bytes().replace(other.name.encode(), trail.name.encode())
    )
    (trail / "00000001.jsonl").write_bytes(forged)
    result = verify(trail)
    assert {finding.file.name for finding in result.findings} == {"00000001.jsonl"}


def test_a_forged_head_is_found(trail: Path) -> None:
    heads = trail / "heads.jsonl"
    edit(heads, 2, lambda line: line.replace(b'"seq":', b'"seq":1'))
    result = verify(trail)
    assert places(result) == [("heads.jsonl", 2)]
    assert "the signature does not hold" in str(result.findings[0])


def test_heads_that_are_gone_are_found(trail: Path) -> None:
    heads = trail / "heads.jsonl"
    whole = lines(heads)
    heads.write_bytes(b"".join(whole[:-3]))
    assert verify(trail).unsigned == 8  # the last segment may be one that is still written
    heads.write_bytes(b"".join(whole[:-6]))
    assert {(f.file.name, f.chain) for f in verify(trail).findings} == {
        ("00000002.jsonl", chain) for chain in ("A", "B", "")
    }
    heads.unlink()
    assert {(f.file.name, f.chain) for f in verify(trail).findings} == {
        ("00000002.jsonl", chain) for chain in ("A", "B", "")
    }


def test_a_head_by_another_key_is_found(trail: Path) -> None:
    stranger = Signer("data", secrets.token_bytes(32))
    forged = stranger.sign("head", chain="A", seq=3, digest="0" * 64, time="x", writer=trail.name)
    with (trail / "heads.jsonl").open("ab") as file:
        file.write(forged.line())
    (finding,) = verify(trail).findings
    assert (finding.file.name, finding.line) == ("heads.jsonl", 10)


def test_files_of_a_writer_of_ones_own_are_found_where_the_writers_are_known(
    trail: Path, tmp_path: Path
) -> None:
    other = write_segment(tmp_path / "other", TENANTS)
    known = trail.name
    shutil.rmtree(trail)
    shutil.copytree(other, trail.parent / other.name)
    assert verify(trail.parent).findings == []
    (finding,) = verify(trail.parent, writers=[known]).findings
    assert f"{other.name} is not a writer of the platform" in str(finding)


def test_what_is_removed_in_order_is_no_loss_and_anything_more_is(trail: Path) -> None:
    log = open_log(trail.parent)
    log.forget(1)
    log.close()
    result = verify(trail)
    assert (result.findings, result.expired) == ([], 3)
    (trail / "00000002.jsonl").unlink()
    assert len(verify(trail).findings) == 3


def test_a_line_that_a_crash_cut_off_is_no_finding_and_the_chain_goes_on(trail: Path) -> None:
    folder = trail.parent
    log = open_log(folder)
    note(log, "A", "campaigns/kept")
    note(log, "A", "campaigns/torn")
    log.flush()
    open_segment = trail / "00000004.jsonl"
    whole = open_segment.read_bytes()
    copied = folder.parent / "crashed" / "audit"
    shutil.copytree(folder, copied)
    crashed = copied / trail.name / open_segment.name
    crashed.write_bytes(whole[:-20])
    assert verify(copied).torn == [crashed]
    assert verify(copied).findings == []
    (copied / trail.name / "lock").unlink()
    again = open_log(copied)
    note(again, "A", "campaigns/after")
    again.close()
    log.close()
    result = verify(copied)
    assert (result.findings, result.torn, result.unsigned) == ([], [], 0)
    last = json.loads(lines(copied / trail.name / "00000005.jsonl")[0])
    assert last["seq"] == json.loads(lines(crashed)[0])["seq"] + 1


def test_what_is_wrong_before_a_crash_is_not_covered_up_by_the_start_after_it(trail: Path) -> None:
    edit(trail / "00000003.jsonl", 8, lambda line: line.replace(b'"OK"', b'"XX"'))
    write_segment(trail.parent, TENANTS)
    assert ("00000003.jsonl", 8) in places(verify(trail))


def test_a_broken_line_of_statements_loses_no_record(trail: Path) -> None:
    heads = trail / "heads.jsonl"
    heads.write_bytes(heads.read_bytes().replace(b'"seq":', b'"seq";'))
    write_segment(trail.parent, TENANTS)
    assert len(lines(trail / "00000004.jsonl")) == len(TENANTS)
    assert "heads.jsonl" in {finding.file.name for finding in verify(trail).findings}


def test_what_an_fsync_failed_on_is_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = open_log(tmp_path)
    note(log, "A", "campaigns/1")
    log.flush()
    failures = iter([OSError(5, "Input/output error")])
    real = os.fdatasync

    def fdatasync(descriptor: int) -> None:
        for failure in failures:
            raise failure
        real(descriptor)

    monkeypatch.setattr(writer_module.os, "fdatasync", fdatasync)
    note(log, "A", "campaigns/2")
    with pytest.raises(OSError, match="cannot be written"):
        log.flush()
    log.flush()
    log.close()
    assert [r["resource"] for r in records_in(tmp_path)] == ["campaigns/1", "campaigns/2"]
    assert verify(tmp_path).findings == []


def test_two_processes_of_a_service_have_a_writer_each(tmp_path: Path) -> None:
    logs = [open_log(tmp_path) for _ in range(2)]
    for log in logs:
        note(log, "A", "campaigns/x")
        log.close()
    result = verify(tmp_path)
    assert (len(result.writers), result.findings) == (2, [])


def test_a_writer_whose_folder_is_gone_begins_under_another_name(trail: Path) -> None:
    shutil.rmtree(trail)
    assert write_segment(trail.parent, ["A"]).name != trail.name


def test_chains_beyond_what_is_held_go_on_where_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "HELD", 4)
    monkeypatch.setattr(writer_module.TrailWriter.__init__, "__kwdefaults__", {"held": 4})
    log = open_log(tmp_path)
    for number in range(3):
        for tenant in range(20):
            note(log, f"t{tenant}", f"campaigns/{number}")
            log.flush()
    assert len(log.writer._chains._chains) <= 5
    log.close()
    result = verify(tmp_path)
    assert (result.findings, result.records, result.chains) == ([], 60, 20)


def test_statements_that_are_no_longer_needed_are_dropped(
    trail: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "_COMPACT_BYTES", 0)
    log = open_log(trail.parent)
    log.forget(1)
    log.forget(2)
    log.close()
    assert len(lines(trail / "heads.jsonl")) == 6
    assert verify(trail).findings == []


def test_a_statement_says_what_it_was_signed_for() -> None:
    signer = Signer("data", secrets.token_bytes(32))
    head = signer.sign("head", chain="A", seq=3, digest="ab", time="2024-01-15T00:00:00.000Z")
    assert statement_of(json.loads(head.line())) == head
    assert head.holds()
    for name in ("writer", "chain", "hash", "time", "signer", "key", "kind", "seq"):
        said = json.loads(head.line())
        said[name] = "expiry" if name == "kind" else 4 if name == "seq" else said[name] + "x"
        assert not statement_of(said).holds(), name


def test_names_are_made_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new segment's name is synced before a record in it counts as durable."""
    synced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real(descriptor)

    monkeypatch.setattr("boundary.trail.folder.os.fsync", fsync)
    log = open_log(tmp_path)
    note(log, "A", "campaigns/x")
    log.flush()
    assert str(log.writer.folder.path) in synced
    log.close()
