"""`silo put` and `silo get`: objects in and out, in a stream, whatever their size."""

from __future__ import annotations

import hashlib
import mimetypes
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from cli.command import command
from cli.failures import Failure
from cli.fields import pair
from cli.progress import advance, transfer
from cli.render import document, print_json, size
from cli.session import Session
from silo.storage.v1 import object_pb2, object_pb2_grpc

CHUNK_BYTES = 1024 * 1024

app = typer.Typer()

IfMatch = Annotated[str, typer.Option("--if-match", help="Only over, or of, this etag.")]


@command(app, "put")
def put(
    session: Session,
    file: Annotated[Path, typer.Argument(metavar="FILE|-", help="What to store.")],
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="Where; a `/` at the end is a folder.")
    ],
    *,
    content_type: Annotated[
        str, typer.Option("--content-type", help="By the path's ending unless given.")
    ] = "",
    sha256: Annotated[str, typer.Option("--sha256", help="What the content must have.")] = "",
    create_only: Annotated[
        bool, typer.Option("--create-only", help="Only where no object is there yet.")
    ] = False,
    if_match: IfMatch = "",
    metadata: Annotated[
        list[str] | None, typer.Option("--metadata", metavar="KEY=VALUE", help="May be repeated.")
    ] = None,
) -> None:
    """Store a file, or standard input, as an object."""
    if path.endswith("/"):
        path += file.name
    spec = object_pb2.UploadSpec(
        path=path,
        content_type=content_type or mimetypes.guess_type(path)[0] or "",
        sha256=sha256,
        create_only=create_only,
        if_match=if_match,
        metadata=dict(pair(item, "--metadata") for item in metadata or ()),
    )
    stored = store(session, file, spec)
    if session.json:
        print_json(document(stored))
    else:
        typer.echo(f"{stored.path}  {size(stored.size)}  etag {stored.etag}")


@command(app, "get")
def get(
    session: Session,
    path: Annotated[str, typer.Argument(metavar="PATH", help="Which object.")],
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE|-]", help="Where to; the path's last part unless given."),
    ] = None,
    *,
    offset: Annotated[
        int, typer.Option("--offset", help="The first byte; from the end where negative.")
    ] = 0,
    length: Annotated[int, typer.Option("--length", help="How many bytes; to the end if 0.")] = 0,
    if_match: IfMatch = "",
) -> None:
    """Fetch an object into a file, which appears whole or not at all, or to standard output."""
    target = _target(file, path)
    request = object_pb2.DownloadObjectRequest(
        path=path, offset=offset, length=length, if_match=if_match
    )
    fetched = _fetch(session, request, target)
    if target is None:
        return
    if session.json:
        print_json(document(fetched) | {"file": str(target)})
    else:
        typer.echo(f"{target}  {size(target.stat().st_size)}")


def store(session: Session, file: Path, spec: object_pb2.UploadSpec) -> object_pb2.Object:
    """Stores a file as an object; the object."""
    stub = session.client.stub(object_pb2_grpc.ObjectServiceStub)
    with (
        _source(file) as (stream, total),
        transfer(spec.path, total=total, quiet=session.json) as bar,
    ):
        upload = _Upload(spec, stream, advance(bar))
        try:
            return session.client.upload(stub.UploadObject, upload.requests()).object
        except Failure:
            if upload.problem is not None:
                raise upload.problem from None
            raise


def fetch(session: Session, path: str, target: Path) -> object_pb2.Object:
    """Fetches an object into a file, which appears whole or not at all; the object."""
    return _fetch(session, object_pb2.DownloadObjectRequest(path=path), target)


def _fetch(
    session: Session, request: object_pb2.DownloadObjectRequest, target: Path | None
) -> object_pb2.Object:
    """Fetches what is asked for into a file, or to standard output."""
    path = request.path
    stub = session.client.stub(object_pb2_grpc.ObjectServiceStub)
    messages = session.client.download(stub.DownloadObject, request)
    first = next(messages, None)
    if first is None or not first.HasField("object"):
        raise Failure("the download does not begin with the object's description")
    whole = request.offset == 0 and request.length == 0
    total = first.object.size if whole else request.length or None
    with _sink(target) as sink, transfer(path, total=total, quiet=session.json) as bar:
        received = _receive(messages, sink, advance(bar))
        if whole and received != first.object.sha256:
            raise Failure(f"{path} arrived damaged: its SHA-256 is {received}", code="DATA_LOSS")
    return first.object


class _Upload:
    """The requests of an upload.

    Attributes:
        problem: why the content could not be read, which gRPC itself does not tell.
    """

    def __init__(
        self, spec: object_pb2.UploadSpec, stream: BinaryIO, on_bytes: Callable[[int], None]
    ) -> None:
        self._spec = spec
        self._stream = stream
        self._on_bytes = on_bytes
        self.problem: OSError | None = None

    def requests(self) -> Iterator[object_pb2.UploadObjectRequest]:
        """The spec, then the content."""
        yield object_pb2.UploadObjectRequest(spec=self._spec)
        try:
            while chunk := self._stream.read(CHUNK_BYTES):
                yield object_pb2.UploadObjectRequest(chunk=chunk)
                self._on_bytes(len(chunk))
        except OSError as error:
            self.problem = error
            raise


def _receive(
    messages: Iterator[object_pb2.DownloadObjectResponse],
    sink: BinaryIO,
    on_bytes: Callable[[int], None],
) -> str:
    """Writes the content and returns its SHA-256."""
    digest = hashlib.sha256()
    for message in messages:
        digest.update(message.chunk)
        sink.write(message.chunk)
        on_bytes(len(message.chunk))
    return digest.hexdigest()


def _target(file: Path | None, path: str) -> Path | None:
    """The file to write, or None for standard output."""
    name = path.rsplit("/", 1)[-1]
    if file is None:
        return Path(name)
    if str(file) == "-":
        return None
    return file / name if file.is_dir() else file


@contextmanager
def _source(file: Path) -> Iterator[tuple[BinaryIO, int | None]]:
    """What to upload, and its size where it is known."""
    if str(file) == "-":
        yield sys.stdin.buffer, None
        return
    with file.open("rb") as stream:
        yield stream, os.fstat(stream.fileno()).st_size


@contextmanager
def _sink(target: Path | None) -> Iterator[BinaryIO]:
    """Where to write: a file beside the target, which takes its name once all is well."""
    if target is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as sink:
            yield sink
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # as if the file had been opened by its own name
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
