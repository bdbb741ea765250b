"""What containers are given before they start: each process its own, and the same again at the next start."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from cryptography import x509

from boundary.errors import Unauthenticated
from boundary.peers import PEERS, PeerVerifier
from boundary.tls import CA, CERTIFICATE, PRIVATE_KEY, Tls
from devstack.addresses import PROCESSES
from devstack.certificates import Authority, ensure_certificates
from devstack.containers import OPERATOR, lay_out, main


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_each_process_has_its_own_and_nothing_else(tmp_path: Path) -> None:
    assert main(["secrets", str(tmp_path)]) == 0
    for name in PROCESSES:
        seen = {path for path in contents(tmp_path / name) if "private.pem" not in path}
        tokens = PEERS if name == "resolver" else (name,)
        expected = {f"tls/{file}" for file in (CA, CERTIFICATE, PRIVATE_KEY)}
        expected |= {f"peers/{token}.token" for token in tokens}
        if name == "storage":
            expected |= {f"peers/{peer}.digest" for peer in PEERS}
        if name in ("gateway", "resolver"):
            expected.add("dev-issuer/jwks.json")
        assert seen == expected == set(contents(tmp_path / name))
        Tls(tmp_path / name / "tls")
    for verifying in ("resolver", "storage"):
        verifier = PeerVerifier(tmp_path / verifying / "peers")
        for name in PEERS:
            token = (tmp_path / name / "peers" / f"{name}.token").read_text().strip()
            assert verifier.verify(token) == name
            digest = (tmp_path / "storage" / "peers" / f"{name}.digest").read_text().strip()
            for forged in (digest, f"{name}.{digest}", f"{name}.", name):
                with pytest.raises(Unauthenticated):
                    verifier.verify(forged)
    assert "dev-issuer/private.pem" in contents(tmp_path / OPERATOR)


def test_private_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    lay_out(tmp_path)
    private = [
        path
        for path in tmp_path.rglob("*")
        if path.name in (PRIVATE_KEY, "private.pem") or path.suffix == ".token"
    ]
    assert len(private) > 10
    assert {path.stat().st_mode & 0o777 for path in private} == {0o600}


def test_the_next_start_changes_nothing(tmp_path: Path) -> None:
    lay_out(tmp_path)
    before = contents(tmp_path)
    lay_out(tmp_path)
    assert contents(tmp_path) == before


def test_a_certificate_names_its_process(tmp_path: Path) -> None:
    lay_out(tmp_path)
    shown = x509.load_pem_x509_certificate((tmp_path / "data" / "tls" / CERTIFICATE).read_bytes())
    names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["data"]


def test_what_is_about_to_expire_or_broken_is_made_anew(tmp_path: Path) -> None:
    names = ("gateway", "data", "storage", "search")
    assert ensure_certificates(tmp_path, *names) == names
    authority = Authority.load(tmp_path / "ca")
    authority.issue(tmp_path / "gateway" / "tls", "gateway", life=datetime.timedelta(days=30))
    (tmp_path / "data" / "tls" / PRIVATE_KEY).unlink()
    Authority.new().issue(tmp_path / "storage" / "tls", "storage")
    assert ensure_certificates(tmp_path, *names) == ("gateway", "data", "storage")
    assert ensure_certificates(tmp_path, *names) == ()


def test_other_arguments_are_explained(capsys) -> None:
    assert main(["what"]) == 2
    assert "onboard GRPC URL" in capsys.readouterr().err
