"""A certificate authority for development, and the certificates of the suite's processes.

`python -m devstack.certificates FOLDER NAME...` makes `FOLDER/ca/` and `FOLDER/NAME/tls/` where they are not
there, and renews what is about to expire. Every private key is readable by its owner alone.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from boundary.tls import CA, CERTIFICATE, PRIVATE_KEY

_CA_LIFE = datetime.timedelta(days=3650)
_LIFE = datetime.timedelta(days=397)
_RENEWED_BEFORE = datetime.timedelta(days=60)
_BACKDATED = datetime.timedelta(minutes=10)
"""Clocks differ."""

_LEAF_USAGE = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """A certificate authority.

    Attributes:
        certificate: its own certificate.
    """

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def new(cls) -> Authority:
        """A new one, with a key of its own."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _named("Silo development CA")
        builder = (
            _builder(subject=name, issuer=name, public_key=key.public_key(), life=_CA_LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
        )
        return cls(certificate=builder.sign(key, hashes.SHA256()), key=key)

    @classmethod
    def load(cls, folder: Path) -> Authority:
        """The authority that `save` has put there.

        Raises:
            OSError, ValueError: it cannot be read.
        """
        key = serialization.load_pem_private_key((folder / PRIVATE_KEY).read_bytes(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError("the authority's key is not an elliptic-curve key")
        certificate = x509.load_pem_x509_certificate((folder / CA).read_bytes())
        return cls(certificate=certificate, key=key)

    def save(self, folder: Path) -> None:
        """Writes certificate and key to a folder, the certificate last: with it the authority is whole."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write(folder / PRIVATE_KEY, _pem_of_key(self.key), mode=0o600)
        _write(folder / CA, _pem(self.certificate), mode=0o644)

    def issue(self, folder: Path, *names: str, life: datetime.timedelta = _LIFE) -> None:
        """Writes a new key, its certificate and this authority's own to a folder.

        Args:
            names: the host names or IP addresses that the certificate is for.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            _builder(
                subject=_named(names[0]),
                issuer=self.certificate.subject,
                public_key=key.public_key(),
                life=life,
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(_LEAF_USAGE), critical=False)
            .add_extension(
                x509.SubjectAlternativeName([_alternative(n) for n in names]), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
        )
        certificate = builder.sign(self.key, hashes.SHA256())
        _write(folder / CA, _pem(self.certificate), mode=0o644)
        _write(folder / PRIVATE_KEY, _pem_of_key(key), mode=0o600)
        _write(folder / CERTIFICATE, _pem(certificate), mode=0o644)


def ensure_certificates(folder: Path, *names: str) -> tuple[str, ...]:
    """The authority in `folder/ca`, and for each name its files in `folder/name/tls`, made where they are needed.

    Returns:
        The names that have got a new certificate.

    Raises:
        OSError, ValueError: the files can be neither read nor made.
    """
    home = folder / "ca"
    if not (home / CA).exists():
        Authority.new().save(home)
    authority = Authority.load(home)
    renewed = tuple(name for name in names if not _is_good(folder / name / "tls", authority))
    for name in renewed:
        authority.issue(folder / name / "tls", name)
    return renewed


def _is_good(folder: Path, authority: Authority) -> bool:
    """Whether the folder's files are whole, of this authority, and far from their end."""
    try:
        certificate = x509.load_pem_x509_certificate((folder / CERTIFICATE).read_bytes())
        key = serialization.load_pem_private_key((folder / PRIVATE_KEY).read_bytes(), password=None)
        certificate.verify_directly_issued_by(authority.certificate)
        same_ca = (folder / CA).read_bytes() == _pem(authority.certificate)
    except Exception:  # noqa: BLE001 - whatever is wrong with it, it is made anew
        return False
    left = certificate.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    return same_ca and key.public_key() == certificate.public_key() and left > _RENEWED_BEFORE


def _builder(
    *,
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    life: datetime.timedelta,
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _pem_of_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _write(path: Path, content: bytes, *, mode: int) -> None:
    """Writes a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    temporary.replace(path)


if __name__ == "__main__":
    made = ensure_certificates(Path(sys.argv[1]), *sys.argv[2:])
    print("new certificates:", ", ".join(made) or "none was needed")
