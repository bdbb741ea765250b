"""A writer's folder: its key, its lock, its segments and its statements.

{audit}/{writer}/00000001.jsonl    a segment: records of all tenants, in the order in which they were written
{audit}/{writer}/00000001.shipped  says that the archive has all of it
{audit}/{writer}/heads.jsonl       signed statements
{keys}/audit-{service}-{slot}.key  the key that signs them
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from boundary.key_files import load_or_create
from boundary.trail.statements import Signer

HEADS = "heads.jsonl"
SEGMENT = ".jsonl"
SHIPPED = ".shipped"
_SLOTS = 64
_MODE = 0o640


class WriterFolder:
    """The folder of one writer, which one process has at a time.

    Attributes:
        path: the folder.
        signer: signs this writer's statements.
    """

    def __init__(self, audit: Path, *, service: str, keys: Path) -> None:
        """Takes the first writer of a service that no other process has, or makes a new one.

        Raises:
            OSError: the folders can be neither read nor made.
        """
        audit.mkdir(parents=True, exist_ok=True)
        with _locked(audit / f".{service}.lock"):
            self.path, self.signer, self._lock = _claim(audit, service, keys)

    @property
    def heads(self) -> Path:
        """The file of signed statements."""
        return self.path / HEADS

    def segment(self, number: int) -> Path:
        """The file of a segment."""
        return self.path / f"{number:08d}{SEGMENT}"

    def segments(self) -> list[int]:
        """The numbers of the segments that are here, in order."""
        return sorted(int(p.stem) for p in self.path.glob(f"[0-9]*{SEGMENT}"))

    def shipped(self, number: int) -> bool:
        """Whether the archive has all of a segment."""
        return self.segment(number).with_suffix(SHIPPED).exists()

    def shipped_at(self, number: int) -> float:
        """When the archive had all of a segment, in seconds since the epoch."""
        return self.segment(number).with_suffix(SHIPPED).stat().st_mtime

    def note_shipped(self, number: int) -> None:
        """Notes that the archive has all of a segment."""
        self.segment(number).with_suffix(SHIPPED).touch()

    def remove(self, number: int) -> None:
        """Removes a segment."""
        self.segment(number).unlink(missing_ok=True)
        self.segment(number).with_suffix(SHIPPED).unlink(missing_ok=True)

    def release(self) -> None:
        """Lets another process have the writer."""
        os.close(self._lock)


def open_to_write(path: Path) -> int:
    """The file, made where it is not there, and its name durable."""
    made = not path.exists()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, _MODE)
    if made:
        sync_folder(path.parent)
    return descriptor


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def lines_of(path: Path) -> Iterator[bytes]:
    """The lines of a file with their newlines; the last may lack its own."""
    with path.open("rb") as file:
        yield from file


def _claim(audit: Path, service: str, keys: Path) -> tuple[Path, Signer, int]:
    for slot in range(_SLOTS):
        name = f"audit-{service}-{slot}"
        signer = Signer(service, load_or_create(keys, name))
        if not (audit / signer.name).is_dir():
            # A key whose chains are gone would begin them anew under a name that the archive knows otherwise.
            (keys / f"{name}.key").unlink()
            signer = Signer(service, load_or_create(keys, name))
            (audit / signer.name).mkdir(mode=0o750)
        lock = os.open(audit / signer.name / "lock", os.O_RDWR | os.O_CREAT, _MODE)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        return audit / signer.name, signer, lock
    raise OSError(f"every writer of {service} in {audit} is taken")


class _locked:  # noqa: N801 - reads as what it is in a with statement
    """Holds a lock file for as long as the block runs."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def __enter__(self) -> None:
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, _MODE)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
