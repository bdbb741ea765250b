"""Content files: immutable, under random names, never under the client's path.

A file that no metadata names is either a draft that somebody is still working on or a leftover of a crash. A
lock tells them apart: whoever makes a file holds a shared flock on it until metadata names it (the lock ends with
its holder, also after kill -9), and the sweep removes only what it can lock exclusively. A hard link shares its
source's lock. So any number of processes can write and sweep in the same directory at any time.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from boundary.errors import InvalidArgument, ResourceExhausted, SiloError, Unavailable

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_UNLINKABLE = frozenset({errno.EMLINK, errno.EPERM, errno.EOPNOTSUPP, errno.EXDEV, errno.ENOSYS})
"""How os.link says that this file system, or this file, takes no (further) hard link."""

_COPY_BYTES = 8 * 1024 * 1024


class ContentDirectory:
    """A directory of content files, in 256 folders. Its methods block."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.folders = tuple(f"{number:02x}" for number in range(256))

    def create(self) -> None:
        """Makes the directory and its folders."""
        for folder in self.folders:
            (self._root / folder).mkdir(parents=True, exist_ok=True)
        _sync_directory(self._root)

    def path(self, name: str) -> Path:
        """Where the content file of that name lies."""
        return self._root / name[:2] / name

    def draft(self) -> Draft:
        """A new content file, which is made on its first write."""
        return Draft(self, secrets.token_hex(16))

    def names(self, folder: str) -> list[str]:
        """The names of the files in one of the folders."""
        return [path.name for path in (self._root / folder).iterdir()]

    def unlink(self, names: Iterable[str]) -> None:
        """Removes files. Whoever has one open can read it to its end."""
        for name in names:
            self.path(name).unlink(missing_ok=True)

    def claim(self, name: str) -> int | None:
        """A descriptor that holds an exclusive lock on a file, or None where somebody works on the file."""
        try:
            descriptor = os.open(self.path(name), os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        if not os.fstat(descriptor).st_nlink:
            os.close(
                descriptor
            )  # another sweep was faster, and the name may be a new draft's by now
            return None
        return descriptor


class Draft:
    """A content file in the making. Its methods block and may be called from any thread.

    `release` keeps the file, `discard` removes it; after either, nothing more is written, even by a thread
    that was about to.

    Attributes:
        name: the file's name.
        size: bytes so far.
        sha256: the SHA-256 so far, in lower-case hexadecimal.
    """

    def __init__(self, directory: ContentDirectory, name: str) -> None:
        self.name = name
        self.size = 0
        self._directory = directory
        self._path = directory.path(name)
        self._hash = hashlib.sha256()
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._ended = False

    @property
    def sha256(self) -> str:
        """The SHA-256 so far, in lower-case hexadecimal."""
        return self._hash.hexdigest()

    def write(self, content: bytes | bytearray) -> None:
        """Appends content."""
        with self._lock:
            self._append(content)

    def finish(self, content: bytes | bytearray, sha256: str) -> None:
        """Appends the last content and makes the file durable.

        Raises:
            InvalidArgument: sha256 is not empty and not the whole content's.
        """
        with self._lock:
            self._append(content)
            if self._descriptor is None:
                return
            if sha256 and sha256 != self.sha256:
                raise InvalidArgument(
                    "sha256", "is not the content's SHA-256", reason="CHECKSUM_MISMATCH"
                )
            os.fsync(self._descriptor)
            _sync_directory(self._path.parent)

    def link(self, source: str) -> None:
        """Makes this file a durable copy of another one.

        Raises:
            FileNotFoundError: there is no such file any more.
        """
        with self._lock:
            if self._ended:
                return
            descriptor = os.open(self._directory.path(source), os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH)
                self._link_or_copy(source, descriptor)
            except BaseException:
                os.close(descriptor)
                raise
            _sync_directory(self._path.parent)

    def release(self) -> None:
        """Lets go of the file, which metadata names now."""
        self._end(keep=True)

    def discard(self) -> None:
        """Removes the file."""
        self._end(keep=False)

    def _end(self, *, keep: bool) -> None:
        with self._lock:
            if self._ended:
                return
            self._ended = True
            if self._descriptor is None:
                return
            try:
                if not keep:
                    self._path.unlink(missing_ok=True)
            finally:
                os.close(self._descriptor)
                self._descriptor = None

    def _append(self, content: bytes | bytearray) -> None:
        if self._ended:
            return
        if self._descriptor is None:
            self._descriptor = self._create()
        self._hash.update(content)
        self.size += len(content)
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def _create(self) -> int:
        while True:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            if os.fstat(descriptor).st_nlink:
                return descriptor
            os.close(descriptor)  # a sweep took it for a leftover before it was locked

    def _link_or_copy(self, source: str, descriptor: int) -> None:
        try:
            os.link(self._directory.path(source), self._path)
        except OSError as error:
            if error.errno not in _UNLINKABLE:
                raise
            self._copy(descriptor)
            os.close(descriptor)
        else:
            self._descriptor = descriptor

    def _copy(self, source: int) -> None:
        target = self._descriptor = self._create()
        at = 0
        while count := os.sendfile(target, source, at, _COPY_BYTES):
            at += count
        os.fsync(target)


class Reader:
    """A content file that is read. Its methods block and may be called from any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._closed = False

    def open(self) -> None:
        """Opens the file.

        Raises:
            FileNotFoundError: there is no such file any more.
        """
        with self._lock:
            if not self._closed:
                self._descriptor = os.open(self._path, os.O_RDONLY)

    def read(self, offset: int, count: int) -> bytes:
        """Exactly count bytes.

        Raises:
            OSError: the file is shorter than that, or closed.
        """
        with self._lock:
            if self._descriptor is None:
                raise OSError(errno.EBADF, "the content file is closed")
            content = os.pread(self._descriptor, count, offset)
        if len(content) != count:
            raise OSError(errno.EIO, "the content file is shorter than its metadata says")
        return content

    def close(self) -> None:
        """Closes the file, once a read that is under way has ended."""
        with self._lock:
            self._closed = True
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None


def disk_error(error: OSError) -> SiloError:
    """What a caller is told about a disk's failure."""
    if error.errno in _FULL:
        return ResourceExhausted("STORAGE_FULL", "the storage has no space left", retry_after=30.0)
    return Unavailable("ENGINE_UNAVAILABLE", "the storage does not answer")


def batches(names: list[str], size: int) -> Iterator[list[str]]:
    """The names, at most size at a time."""
    for start in range(0, len(names), size):
        yield names[start : start + size]


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
