"""silo.storage.v1.ObjectLifecycleService: messages to operations and back."""

from __future__ import annotations

from collections.abc import Sequence

from boundary.interceptors.call import Call
from boundary.masks import mask_fields
from services.storage.rule_operations import NAME, ObjectLifecycles
from services.storage.rules import Rule, etag_of
from silo.storage.v1 import object_lifecycle_pb2

SERVICE = object_lifecycle_pb2.DESCRIPTOR.services_by_name["ObjectLifecycleService"].full_name


class ObjectLifecycleServicer:
    """Serves the RPCs behind the chain."""

    def __init__(self, lifecycles: ObjectLifecycles) -> None:
        self._lifecycles = lifecycles

    async def get_object_lifecycle(
        self, _request: object_lifecycle_pb2.GetObjectLifecycleRequest, call: Call
    ) -> object_lifecycle_pb2.GetObjectLifecycleResponse:
        """GetObjectLifecycle."""
        rules = await self._lifecycles.get(call.tenant)
        return object_lifecycle_pb2.GetObjectLifecycleResponse(
            object_lifecycle=rules_message(rules)
        )

    async def update_object_lifecycle(
        self, request: object_lifecycle_pb2.UpdateObjectLifecycleRequest, call: Call
    ) -> object_lifecycle_pb2.UpdateObjectLifecycleResponse:
        """UpdateObjectLifecycle."""
        asked = request.object_lifecycle
        mask = mask_fields(
            request.update_mask.paths,
            settable=("rules",),
            populated=("rules",) if asked.rules else (),
            fixed=("name", "etag"),
        )
        rules = await self._lifecycles.update(
            call.tenant,
            name=asked.name,
            rules=[rule_of(each) for each in asked.rules] if mask else None,
            etag=asked.etag,
        )
        return object_lifecycle_pb2.UpdateObjectLifecycleResponse(
            object_lifecycle=rules_message(rules)
        )


def rule_of(message: object_lifecycle_pb2.ObjectLifecycleRule) -> Rule:
    """The rule in a message."""
    return Rule(
        name=message.rule_id,
        under=message.folder,
        expire_days=message.expire_days,
        archive_days=message.archive_days,
        noncurrent_days=message.noncurrent_days,
    )


def rules_message(rules: Sequence[Rule]) -> object_lifecycle_pb2.ObjectLifecycle:
    """The message that tells of a tenant's rules."""
    return object_lifecycle_pb2.ObjectLifecycle(
        name=NAME,
        rules=[
            object_lifecycle_pb2.ObjectLifecycleRule(
                rule_id=rule.name,
                folder=rule.under,
                expire_days=rule.expire_days,
                archive_days=rule.archive_days,
                noncurrent_days=rule.noncurrent_days,
            )
            for rule in rules
        ],
        etag=etag_of(rules),
    )
