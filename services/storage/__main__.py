"""Runs the storage service: `python -m services.storage`."""

from boundary.server import run
from services.storage.bootstrap import build
from services.storage.settings import StorageSettings


def main() -> None:
    """Serves until the process is told to stop."""
    settings = StorageSettings()
    run(lambda: build(settings), log_level=settings.log_level)


if __name__ == "__main__":
    main()
