"""Runs the resolver: `python -m services.resolver`."""

from boundary.server import run
from services.resolver.bootstrap import build
from services.resolver.settings import ResolverSettings


def main() -> None:
    """Serves until the process is told to stop."""
    settings = ResolverSettings()
    run(lambda: build(settings), log_level=settings.log_level)


if __name__ == "__main__":
    main()
