"""Runs the gateway: `python -m gateway`."""

from boundary.server import run
from gateway.bootstrap import build
from gateway.settings import GatewaySettings


def main() -> None:
    """Serves until the process is told to stop."""
    settings = GatewaySettings()
    run(lambda: build(settings), log_level=settings.log_level)


if __name__ == "__main__":
    main()
