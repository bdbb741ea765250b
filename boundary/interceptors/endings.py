"""Why a call ended otherwise than well, over gRPC and over HTTP alike."""

from __future__ import annotations

import asyncio
import logging
import time

from boundary.errors import Cancelled, DeadlineExceeded, Internal, SiloError, Unavailable
from boundary.interceptors.call import Call

_log = logging.getLogger(__name__)


def why_ended(call: Call) -> SiloError:
    """Why the task of a call was cancelled: its tenant's state changed, its time is up, or the caller went."""
    if call.refusal is not None:
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()
        return call.refusal
    if call.deadline is not None and time.monotonic() >= call.deadline:
        return Cancelled("DEADLINE_PASSED", "the caller's deadline passed")
    return Cancelled("CALLER_GONE", "the caller cancelled the call")


def why_failed(call: Call, raised: Exception) -> SiloError:
    """What the caller is told of an exception; one that is a defect of ours is logged in full."""
    if call.refusal is not None:
        return call.refusal
    if isinstance(raised, SiloError):
        return raised
    if isinstance(raised, TimeoutError):
        if call.deadline is not None and time.monotonic() >= call.deadline:
            return DeadlineExceeded("DEADLINE_PASSED", "the caller's deadline passed")
        return Unavailable("TIMED_OUT", "something that is needed does not answer in time")
    _log.error("%s failed, request %s", call.method.name, call.request_id, exc_info=raised)
    return Internal()
