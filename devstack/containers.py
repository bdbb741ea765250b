"""What stands before and after the suite in containers, as docker-compose.yml runs it.

`python -m devstack.containers secrets FOLDER` makes certificates, peer tokens and the development issuer where
they are not there, and lays out for each process a folder with what it alone may have:

    FOLDER/ca/                     the CA's private key, which no process sees
    FOLDER/PROCESS/tls/            its own certificate and key
    FOLDER/PROCESS/peers/          its own peer token; for the resolver, which verifies them, all; for storage,
                                   which verifies them, too, the digests of all
    FOLDER/PROCESS/dev-issuer/     gateway and resolver: the development issuer's public keys
    FOLDER/operator/tls/           what somebody on the inside calls the services with: `silo demo`
    FOLDER/operator/dev-issuer/    the development issuer's private key, for `silo token`

With `--engines` it also makes the keys for the engines of docker-compose.engines.yml (devstack/engine_keys.py).

`python -m devstack.containers onboard GRPC URL` onboards the first tenants, and says what to type, and where the
gateway is reached from outside.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from boundary.peers import PEERS, ensure_peer_tokens, write_peer_digests
from devstack.addresses import PROCESSES
from devstack.certificates import ensure_certificates
from devstack.engine_keys import lay_out_engine_keys
from devstack.issuer import DevIssuer, ensure_dev_issuer
from devstack.settings import SuiteSettings
from devstack.stack import TENANTS

OPERATOR = "operator"
"""Who is no process of the suite but calls from the inside."""

_VERIFIERS_OF_TOKENS = ("gateway", "resolver")


def lay_out(folder: Path) -> None:
    """Makes what is not there yet; what is there stays as it is.

    Raises:
        OSError, ValueError: the files can be neither read nor made.
    """
    ensure_certificates(folder, *PROCESSES, OPERATOR)
    _lay_out_peer_tokens(folder)
    ensure_dev_issuer(folder / OPERATOR)
    for name in _VERIFIERS_OF_TOKENS:
        _copy(
            folder / OPERATOR / "dev-issuer" / "jwks.json",
            folder / name / "dev-issuer" / "jwks.json",
        )


def _lay_out_peer_tokens(folder: Path) -> None:
    everyone = folder / "resolver" / "peers"
    ensure_peer_tokens(everyone)
    for name in PEERS:
        if name == "resolver":
            continue
        _copy(everyone / f"{name}.token", folder / name / "peers" / f"{name}.token")
    write_peer_digests(folder / "storage" / "peers", of=everyone)


def _copy(source: Path, target: Path) -> None:
    """Copies a file with its mode, whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, temporary = tempfile.mkstemp(dir=target.parent)
    os.close(descriptor)
    shutil.copy(source, temporary)
    Path(temporary).replace(target)


def onboard_first_tenants(settings: SuiteSettings, *, grpc: str, url: str) -> Iterator[str]:
    """Onboards the tenants that are not there yet, and yields what a user needs next, line by line.

    Args:
        grpc: where the gateway's gRPC server is reached from outside.
        url: where its HTTP server is.

    Raises:
        OnboardingError: the gateway refuses or does not answer in time.
    """
    from devstack.onboarding import onboard  # noqa: PLC0415 - gRPC is not needed to lay out secrets

    issuer = DevIssuer.load(settings.home)
    made = onboard(settings.gateway_address, token=issuer.sign_operator(), tenants=TENANTS)
    yield f"Tenants: {', '.join(TENANTS)} ({', '.join(made) or 'none'} new)"
    yield "A token:       docker-compose run --rm silo token --tenant A"
    yield "Commands:      docker-compose run --rm silo campaigns list --tenant A"
    yield "The isolation: docker-compose run --rm silo demo"
    yield f"Silo is ready: gRPC at {grpc}, health at {url}/readyz."


def main(arguments: list[str]) -> int:
    """Does what the first argument says."""
    match arguments:
        case ["secrets", folder]:
            lay_out(Path(folder))
            return 0
        case ["secrets", folder, "--engines"]:
            lay_out(Path(folder))
            lay_out_engine_keys(Path(folder), operator=OPERATOR)
            return 0
        case ["onboard", grpc, url]:
            for line in onboard_first_tenants(SuiteSettings.load(), grpc=grpc, url=url):
                print(line, flush=True)
            return 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
