"""Where archives are, and where in an archive an object's content is.

An archive is a folder below `exports/` or `backups/` (domain spec, folder structure). Content stands in it under
its SHA-256, in folders by the first two digits: objects of the same content share it, paths that no file system
would take stay out of names, and an export's writes are spread over 256 prefixes, as S3 likes it.
"""

from __future__ import annotations

import re

from boundary.archives import BACKUPS, EXPORTS, MANIFEST, content_name, is_archive
from boundary.errors import InvalidArgument
from services.storage.paths import parse_path

ARCHIVES = (f"{BACKUPS}/", f"{EXPORTS}/")
"""What archives are below, in order."""

_PART = re.compile(rf"[a-z]+-[0-9]{{5,}}\.jsonl|{re.escape(MANIFEST)}")


def parse_archive(raw: str, *, field: str) -> str:
    """The archive in raw, without a slash at its end.

    Raises:
        InvalidArgument: raw is none (`INVALID_ARCHIVE`).
    """
    if not is_archive(raw):
        raise InvalidArgument(
            field, "must be an archive, such as exports/spring", reason="INVALID_ARCHIVE"
        )
    return raw


def parse_folder(raw: str, *, field: str) -> str:
    """The folder of archives in raw, with a slash at its end.

    Raises:
        InvalidArgument: raw is none (`INVALID_ARCHIVE`).
    """
    if f"{raw}/" not in ARCHIVES:
        raise InvalidArgument(field, "must be exports or backups", reason="INVALID_ARCHIVE")
    return f"{raw}/"


def parse_part(raw: str, *, field: str) -> str:
    """The name of a part in an archive: lines such as `items-00001.jsonl`, or the manifest.

    Raises:
        InvalidArgument: raw is none (`INVALID_ARCHIVE`).
    """
    if _PART.fullmatch(raw) is None:
        raise InvalidArgument(
            field, "must be a part, such as items-00001.jsonl", reason="INVALID_ARCHIVE"
        )
    return raw


def parse_part_path(raw: str, *, field: str) -> str:
    """The path of a part of an archive.

    Raises:
        InvalidArgument: raw is none (`INVALID_ARCHIVE`).
    """
    archive, _, part = raw.rpartition("/")
    parse_archive(archive, field=field)
    parse_part(part, field=field)
    return parse_path(raw, field=field)


def content_path(archive: str, sha256: str) -> str:
    """Where an archive has the content of that SHA-256."""
    return f"{archive}/{content_name(sha256)}"


def manifest_path(archive: str) -> str:
    """Where an archive has its manifest."""
    return f"{archive}/{MANIFEST}"


def archive_in(folder: str) -> str | None:
    """The archive that a folder of paths is, or None where its name is none of an archive's."""
    name = folder.removesuffix("/")
    return name if is_archive(name) else None


def is_archived(path: str) -> bool:
    """Whether a path is below where archives are."""
    return path.startswith(ARCHIVES)
