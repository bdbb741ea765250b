"""The data service's process: `python -m services.data`."""

from __future__ import annotations

from boundary.server import run
from services.data.bootstrap import build
from services.data.settings import DataSettings

if __name__ == "__main__":
    settings = DataSettings()
    run(lambda: build(settings), log_level=settings.log_level)
