"""Holds an archive in a folder against its manifest, without the platform: what was changed is named."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from boundary.archives import MANIFEST, OBJECTS, Manifest, Part, content_name, read_manifest
from boundary.certificates import CertificateError

_CHUNK_BYTES = 1024 * 1024


class ArchiveError(Exception):
    """An archive is not what was archived.

    Attributes:
        place: what is wrong, for example `objects-00001.jsonl, line 3`.
    """

    def __init__(self, place: str, message: str) -> None:
        super().__init__(f"{place}: {message}")
        self.place = place


def verify_archive(folder: Path, *, keys: Mapping[str, bytes]) -> Manifest:
    """The manifest of an archive that is whole: every part, and every content that they describe.

    Args:
        folder: the archive, as it stands below `exports/` or `backups/`.
        keys: the public keys by id, raw, whose signatures are believed.

    Raises:
        ArchiveError: it is not, and where.
    """
    manifest = _manifest(folder, keys)
    known = {MANIFEST}
    for part in manifest.parts:
        _check(folder, part.name, part.name, size=part.bytes, sha256=part.sha256)
        known.add(part.name)
        if part.store == OBJECTS:
            known.update(_contents(folder, part))
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name not in known and (path.is_symlink() or not path.is_dir()):
            raise ArchiveError(name, "was added")
    return manifest


def _manifest(folder: Path, keys: Mapping[str, bytes]) -> Manifest:
    try:
        return read_manifest((folder / MANIFEST).read_text(), keys=keys)
    except OSError as error:
        raise ArchiveError(MANIFEST, "is missing") from error
    except UnicodeDecodeError as error:
        raise ArchiveError(MANIFEST, "is not text") from error
    except CertificateError as error:
        raise ArchiveError(
            f"{MANIFEST} {error.place}", str(error).removeprefix(f"{error.place}: ")
        ) from error


def _contents(folder: Path, part: Part) -> Iterator[str]:
    """Checks the contents that a part describes; their names in the archive."""
    with (folder / part.name).open("rb") as lines:
        for number, line in enumerate(lines, 1):
            place = f"{part.name}, line {number}"
            try:
                described = json.loads(line)
                sha256, size = str(described["sha256"]), int(described["size"])
            except (ValueError, KeyError, TypeError) as error:
                raise ArchiveError(place, "describes no object") from error
            name = content_name(sha256)
            _check(folder, name, place, size=size, sha256=sha256)
            yield name


def _check(folder: Path, name: str, place: str, *, size: int, sha256: str) -> None:
    path, digest = folder / name, hashlib.sha256()
    what = "" if place == name else f"{name} "
    if not path.resolve().is_relative_to(folder.resolve()) or not path.is_file():
        raise ArchiveError(place, f"{what}is missing")
    with path.open("rb") as content:
        while chunk := content.read(_CHUNK_BYTES):
            digest.update(chunk)
    if (path.stat().st_size, digest.hexdigest()) != (size, sha256):
        raise ArchiveError(place, f"{what}is not what was archived")
