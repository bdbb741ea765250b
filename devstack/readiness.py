"""Whether a process of the suite is ready, asked over HTTP as an orchestrator would.

`python -m devstack.readiness HOST:PORT` exits with 0 where it is: a container's health check.
"""

from __future__ import annotations

import http.client
import sys


def is_ready(address: str, *, timeout: float = 1.0) -> bool:
    """Whether `/readyz` at `host:port` answers 200."""
    connection = http.client.HTTPConnection(address, timeout=timeout)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if is_ready(sys.argv[1]) else 1)
