"""Mutual TLS between the processes of the suite.

Each process has a folder of its own with three files in PEM: `ca.pem`, who may sign the suite's certificates;
`cert.pem`, its certificate, which names it as the others dial it (`data` in `data:50052`); and `key.pem`, the
private key. With it, a server takes only clients with a certificate of that CA, and a channel only a server with
one that also names it.

A certificate that is renewed is served from the next connection on, without a restart. As a client, a process goes
on with the one that it started with: gRPC takes a channel's once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, cast

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

CA = "ca.pem"
CERTIFICATE = "cert.pem"
PRIVATE_KEY = "key.pem"

_log = logging.getLogger(__name__)


class TlsError(ValueError):
    """A folder's files cannot be read or do not belong together; the process must not start."""


class _Files(NamedTuple):
    """What the folder holds.

    Attributes:
        ca: who may sign the other side's certificate; None where the other side needs none.
    """

    certificate: bytes
    private_key: bytes
    ca: bytes | None


class Tls:
    """What a process proves itself with, and whom it believes."""

    def __init__(self, folder: Path, *, mutual: bool = True) -> None:
        """Reads the files.

        Args:
            mutual: whether clients need a certificate; a server that anyone may call needs no `ca.pem`.

        Raises:
            TlsError: they cannot be read, or the key is not the certificate's.
        """
        self._folder = folder
        self._mutual = mutual
        self._stamp = self._stamped()
        try:
            self._files = self._read()
        except (OSError, ValueError) as error:
            raise TlsError(f"TLS cannot be set up from {folder}: {error}") from error

    def server_credentials(self) -> grpc.ServerCredentials:
        """A server's credentials; each connection looks whether the files have changed."""
        return grpc.dynamic_ssl_server_credentials(
            _configuration(self._files),
            # The stubs leave out that None means "no change" (grpc.dynamic_ssl_server_credentials).
            cast("Callable[[], grpc.ServerCertificateConfiguration]", self._renewed),
            require_client_authentication=self._mutual,
        )

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """The credentials of a channel to another process of the suite."""
        return grpc.ssl_channel_credentials(
            root_certificates=self._files.ca,
            private_key=self._files.private_key,
            certificate_chain=self._files.certificate,
        )

    def _renewed(self) -> grpc.ServerCertificateConfiguration | None:
        """What the files hold by now, or None where that is what is served already.

        Files that are half replaced are left for the next connection: what was good goes on.
        """
        stamp = self._stamped()
        if stamp == self._stamp:
            return None
        try:
            self._files = self._read()
        except (OSError, ValueError) as error:
            _log.warning("the renewed certificate in %s is not served yet: %s", self._folder, error)
            return None
        self._stamp = stamp
        return _configuration(self._files)

    def _read(self) -> _Files:
        files = _Files(
            certificate=(self._folder / CERTIFICATE).read_bytes(),
            private_key=(self._folder / PRIVATE_KEY).read_bytes(),
            ca=(self._folder / CA).read_bytes() if self._mutual else None,
        )
        certificate = x509.load_pem_x509_certificate(files.certificate)
        key = serialization.load_pem_private_key(files.private_key, password=None)
        if _public(certificate.public_key()) != _public(key.public_key()):
            raise ValueError(f"{PRIVATE_KEY} is not the key of {CERTIFICATE}")
        if files.ca is not None:
            x509.load_pem_x509_certificates(files.ca)
        return files

    def _stamped(self) -> tuple[int, ...]:
        """What changes when a file is replaced."""
        stamps = []
        for name in (CERTIFICATE, PRIVATE_KEY, CA):
            try:
                status = (self._folder / name).stat()
            except OSError:
                stamps.append(0)
            else:
                stamps += [status.st_mtime_ns, status.st_ino]
        return tuple(stamps)


def load_tls(folder: Path | None, *, mutual: bool = True) -> Tls | None:
    """TLS from a folder, or None where there is no folder and the network is this machine's own.

    Raises:
        TlsError: the files cannot be read, or the key is not the certificate's.
    """
    return None if folder is None else Tls(folder, mutual=mutual)


def _configuration(files: _Files) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(files.private_key, files.certificate)], root_certificates=files.ca
    )


def _public(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
