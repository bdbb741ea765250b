"""A tiny process of a suite: `/readyz` on the port of its HTTP address, ends on SIGTERM; for tests."""

import os
import signal
import socket
import sys


def main() -> None:
    name = sys.argv[1].upper()
    if os.environ.get("FAKE_FAILS") == sys.argv[1]:
        sys.stdout.write(f"{sys.argv[1]} has no disk\n")
        sys.exit(3)
    if os.environ.get("FAKE_STUBBORN") == sys.argv[1]:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    host, _, port = os.environ[f"SILO_{name}_HTTP_LISTEN"].rpartition(":")
    with socket.create_server((host, int(port))) as server:
        sys.stdout.write("listening\n")
        while True:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


if __name__ == "__main__":
    main()
