"""Runs the search service: `python -m services.search`."""

from boundary.server import run
from services.search.bootstrap import build
from services.search.settings import SearchSettings


def main() -> None:
    """Serves until the process is told to stop."""
    settings = SearchSettings()
    run(lambda: build(settings), log_level=settings.log_level)


if __name__ == "__main__":
    main()
