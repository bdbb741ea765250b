"""One call as the chain and the handlers see it."""

from __future__ import annotations

import time
from asyncio import Future, Task
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from boundary.catalog import Called
from boundary.context import TenantContext
from boundary.errors import Internal, SiloError
from boundary.ids import PrincipalId, TenantId
from boundary.tokens import Caller

NOBODY = PrincipalId("")


@dataclass(kw_only=True, eq=False)
class Call:
    """One call.

    What is not known when it comes stands on the class until it is: a call sets a few fields, not twenty.

    Attributes:
        method: what is called, with its guard.
        metadata: the caller's metadata as it came, key and value pairs.
        deadline: when the caller stops waiting, in `time.monotonic()` seconds; None for never.
        started: when the call came, in `time.monotonic()` seconds.
        seconds: how long it took, once it has ended.
        request_id: names the call in audit, logs and errors.
        principal: who calls, as soon as it is known; empty until then.
        tenant_id: the tenant that the caller has proved to act for, by context or by JWT; None without one.
        context: the verified tenant context; None for methods that take another credential.
        caller: the verified JWT; None for methods that take another credential.
        resource: what the call is about, for the audit record.
        resources: what a call is about that is about several things.
        task: the task that serves the call.
        refusal: set where the call is ended from outside, before its task is cancelled.
        error: how the call failed, or None while it has not.
        status: the canonical status code's name with which it ended.
        admitted: whether it passed the whole chain.
        recorded_downstream: whether a service behind this one has the call, and so records it however it ends.
        peer_service: the platform service that calls, for methods that take a peer's token.
        opened: whether the beginning of a stream has been recorded.
        recorded: what is done once the call's record is durable, where its answer is to wait for that.
    """

    method: Called
    metadata: tuple[tuple[str, str | bytes], ...]
    deadline: float | None
    task: Task[Any] | None = None
    started: float = field(default_factory=time.monotonic)
    seconds: float = field(init=False, default=0.0)
    request_id: str = field(init=False, default="")
    principal: PrincipalId = field(init=False, default=NOBODY)
    tenant_id: TenantId | None = field(init=False, default=None)
    context: TenantContext | None = field(init=False, default=None)
    caller: Caller | None = field(init=False, default=None)
    resource: str = field(init=False, default="")
    resources: Sequence[str] = field(init=False, default=())
    refusal: SiloError | None = field(init=False, default=None)
    error: SiloError | None = field(init=False, default=None)
    status: str = field(init=False, default="OK")
    admitted: bool = field(init=False, default=False)
    recorded_downstream: bool = field(init=False, default=False)
    peer_service: str = field(init=False, default="")
    opened: bool = field(init=False, default=False)
    recorded: Future[None] | None = field(init=False, default=None)

    @property
    def tenant(self) -> TenantContext:
        """The verified tenant context.

        Raises:
            Internal: the method takes no context; asking for one is a defect.
        """
        if self.context is None:
            raise Internal
        return self.context

    @property
    def operator(self) -> Caller:
        """The verified JWT of a method that takes one.

        Raises:
            Internal: the method takes no JWT; asking for one is a defect.
        """
        if self.caller is None:
            raise Internal
        return self.caller

    def remaining(self, *, at_most: float) -> float:
        """Seconds until the caller stops waiting, bounded; for the deadline of a call made on its behalf."""
        if self.deadline is None:
            return at_most
        return max(0.0, min(at_most, self.deadline - time.monotonic()))
