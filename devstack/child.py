"""Runs one module as a process of the suite: `python -m devstack.child services.data`.

Standard input is a pipe whose other end the suite holds. When it closes, the suite is gone, however it ended,
and the process drains and ends too: nothing is left behind that holds addresses and files.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading


def _end_with_parent() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()
    module = sys.argv[1]
    del sys.argv[0]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
