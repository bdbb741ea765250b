"""Finds every record of an audit trail that was edited, removed or moved, and says where.

It works on files alone: a folder of writers, or what was exported from the archive. That a trail is whole is known
up to the last signed head of each chain; what was written after it is chained, and could be cut off.

What is not told by the files is who the writers are. Somebody who replaces all of a writer's files by those of a
writer of their own making is found where the writers' names are given, as the platform tells them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from boundary.trail.folder import lines_of
from boundary.trail.records import FIRST, Link, digest_of, link_of, parse
from boundary.trail.statements import Statement, service_of, statement_of

_ATTEMPTS = 5

_ARCHIVE = "storage"
"""The service that may say of other writers' records that they were removed: it keeps them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is not as it was written.

    Attributes:
        file: the file.
        line: the line in it, from 1; 0 where the file as a whole is meant.
        writer: whose record it is; empty where that cannot be read.
        chain: the tenant's chain.
        what: what is wrong.
    """

    file: Path
    line: int
    writer: str
    chain: str
    what: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else str(self.file)
        whose = f" ({self.writer}, tenant {self.chain or 'none'})" if self.writer else ""
        return f"{where}{whose}: {self.what}"


@dataclass(kw_only=True)
class Verified:
    """What a verification came to.

    Attributes:
        findings: what is wrong.
        records: how many records there are.
        writers: the writers whose records they are.
        chains: how many chains.
        expired: how many chains begin where signed statements say that older records were removed.
        unsigned: how many records stand after their chain's last head.
        torn: files whose last line a crash has cut off.
    """

    findings: list[Finding] = field(default_factory=list)
    records: int = 0
    writers: set[str] = field(default_factory=set)
    chains: int = 0
    expired: int = 0
    unsigned: int = 0
    torn: list[Path] = field(default_factory=list)


@dataclass(kw_only=True)
class _Said:
    """What signed statements say of one chain.

    Attributes:
        heads: hashes by the record's number, with the place of the statement.
        removed: hashes of the last removed records by their numbers.
    """

    heads: dict[int, tuple[str, Path, int]] = field(default_factory=dict)
    removed: dict[int, str] = field(default_factory=dict)


@dataclass(kw_only=True)
class _Seen:
    """The last record of a chain that was seen, and where."""

    seq: int
    hash: str
    file: Path
    line: int


def verify(folder: Path, *, writers: Collection[str] = ()) -> Verified:
    """Verifies every file of a trail below a folder.

    Args:
        writers: the platform's writers; whichever there are where none is given.

    Raises:
        OSError: a file cannot be read.
    """
    for _ in range(_ATTEMPTS):
        with contextlib.suppress(
            FileNotFoundError
        ):  # removed meanwhile by a writer that is at work
            return _Verification(folder, frozenset(writers)).run()
    return _Verification(folder, frozenset(writers)).run()


class _Verification:
    def __init__(self, folder: Path, writers: frozenset[str]) -> None:
        self._files = sorted(path for path in folder.rglob("*.jsonl") if path.is_file())
        self._all = frozenset(self._files)
        self._writers = writers
        self._said: dict[tuple[str, str], _Said] = {}
        self._seen: dict[tuple[str, str], _Seen] = {}
        self._closed: dict[tuple[str, str], _Seen] = {}
        self._strangers: set[str] = set()
        self._result = Verified()

    def run(self) -> Verified:
        for file in self._files:
            self._read_statements(file)
        for file in sorted(self._files, key=_order):
            self._read_records(file)
        self._check_ends()
        self._result.chains = len(self._seen)
        return self._result

    def _find(self, file: Path, line: int, what: str, writer: str = "", chain: str = "") -> None:
        self._result.findings.append(
            Finding(file=file, line=line, writer=writer, chain=chain, what=what)
        )

    def _read_statements(self, file: Path) -> None:
        for number, line in enumerate(lines_of(file), 1):
            if not line.startswith(b'{"kind"'):
                continue
            try:
                statement = statement_of(parse(line))
            except ValueError:
                self._find(file, number, "is not a statement")
                continue
            self._take(statement, file, number)

    def _take(self, statement: Statement, file: Path, number: int) -> None:
        writer, chain = statement.writer, statement.chain
        own = statement.signer == writer
        of_archive = statement.kind == "expiry" and service_of(statement.signer) == _ARCHIVE
        if not statement.holds():
            self._find(file, number, "the signature does not hold", writer, chain)
        elif not (own or of_archive):
            self._find(file, number, f"{statement.signer} must not say this", writer, chain)
        elif not self._trusted(statement.signer, file, number):
            return
        else:
            said = self._said.setdefault((writer, chain), _Said())
            if statement.kind == "expiry":
                said.removed[statement.seq] = statement.hash
                return
            earlier = said.heads.get(statement.seq)
            if earlier is not None and earlier[0] != statement.hash:
                self._find(file, number, "contradicts another signed head", writer, chain)
            said.heads[statement.seq] = (statement.hash, file, number)

    def _trusted(self, writer: str, file: Path, number: int) -> bool:
        if not self._writers or writer in self._writers:
            return True
        if writer not in self._strangers:
            self._strangers.add(writer)
            self._find(file, number, f"{writer} is not a writer of the platform")
        return False

    def _read_records(self, file: Path) -> None:
        ends_with_head = False
        for number, line in enumerate(lines_of(file), 1):
            ends_with_head = line.startswith(b'{"kind"')
            if ends_with_head:
                continue
            if not line.endswith(b"\n"):
                self._take_torn(file, number)
                continue
            try:
                link = link_of(parse(line))
            except ValueError:
                self._find(file, number, "is not an audit record")
                continue
            self._take_record(link, digest_of(line[:-1]), file, number)
        if _is_part(file) and not ends_with_head:
            self._find(file, 0, "ends without its signed head")
        if self._is_closed(file):
            self._closed.update(
                {key: seen for key, seen in self._seen.items() if seen.file == file}
            )

    def _take_torn(self, file: Path, number: int) -> None:
        if self._is_closed(file):
            self._find(file, number, "the line is cut off")
        else:
            self._result.torn.append(file)

    def _is_closed(self, file: Path) -> bool:
        """Whether a file is a segment that another one followed: its chains were signed before that began."""
        return (
            file.stem.isdigit() and file.with_name(f"{int(file.stem) + 1:08d}.jsonl") in self._all
        )

    def _take_record(self, link: Link, digest: str, file: Path, number: int) -> None:
        self._result.records += 1
        self._result.writers.add(link.writer)
        self._trusted(link.writer, file, number)
        key = (link.writer, link.chain)
        last = self._seen.get(key)
        said = self._said.get(key)
        over = max(said.removed, default=0) if said is not None else 0
        if last is None or last.seq < link.seq <= over or last.seq < over < link.seq:
            self._check_first(link, said, over, file, number)
        elif link.seq <= last.seq:
            what = f"record {link.seq} stands after record {last.seq}"
            self._find(file, number, what, link.writer, link.chain)
            return
        else:
            self._check_next(link, last, file, number)
        signed = said.heads.get(link.seq) if said is not None else None
        if signed is not None and signed[0] != digest:
            what = (
                f"record {link.seq} is not the one that was signed at {signed[1].name}:{signed[2]}"
            )
            self._find(file, number, what, link.writer, link.chain)
        self._seen[key] = _Seen(seq=link.seq, hash=digest, file=file, line=number)

    def _check_first(
        self, link: Link, said: _Said | None, over: int, file: Path, number: int
    ) -> None:
        """The first record, or one of those whose time is over: some of them may still be there."""
        if link.seq <= over or (link.seq == 1 and link.prev == FIRST):
            return
        if said is not None and said.removed.get(link.seq - 1) == link.prev:
            self._result.expired += 1
            return
        what = f"records {_span(1, link.seq - 1)} before it are missing"
        self._find(file, number, what, link.writer, link.chain)

    def _check_next(self, link: Link, last: _Seen, file: Path, number: int) -> None:
        if link.seq != last.seq + 1:
            what = f"records {_span(last.seq + 1, link.seq - 1)} before it are missing"
            self._find(file, number, what, link.writer, link.chain)
        elif link.prev != last.hash:
            what = f"record {last.seq} is not the one that record {link.seq} was chained to: edited"
            self._find(last.file, last.line, what, link.writer, link.chain)

    def _check_ends(self) -> None:
        for (writer, chain), said in self._said.items():
            last = self._seen.get((writer, chain))
            seen = max(last.seq if last is not None else 0, max(said.removed, default=0))
            signed = max(said.heads, default=0)
            if signed > seen:
                _, file, line = said.heads[signed]
                where = (last.file, 0) if last is not None else (file, line)
                what = f"records {_span(seen + 1, signed)} are missing at the end"
                self._find(*where, what, writer, chain)
        for (writer, chain), closed in self._closed.items():
            if closed.seq > max(self._said.get((writer, chain), _Said()).heads, default=0):
                what = f"record {closed.seq} and those before it have no signed head"
                self._find(closed.file, closed.line, what, writer, chain)
        for key, last in self._seen.items():
            said = self._said.get(key, _Said())
            self._result.unsigned += max(0, last.seq - max(said.heads, default=0))


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first} to {last}"


def _is_part(file: Path) -> bool:
    """Whether a file is a part of one chain, as the archive keeps them: no segment, and not statements alone."""
    return not file.stem.isdigit() and next(_links(file), None) is not None


def _order(file: Path) -> tuple[str, str, int]:
    """The segments of a writer by their numbers; the parts of a chain by their first record."""
    if file.stem.isdigit():
        return file.parent.name, "", int(file.stem)
    link = next(_links(file), None)
    return (link.writer, link.chain, link.seq) if link is not None else ("", "", 0)


def _links(file: Path) -> Iterator[Link]:
    for line in lines_of(file):
        if not line.startswith(b'{"kind"'):
            try:
                yield link_of(parse(line))
            except ValueError:
                continue
