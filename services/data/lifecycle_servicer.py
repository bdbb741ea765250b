"""silo.data.v1.LifecycleService: messages to operations and back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from boundary.interceptors.call import Call
from boundary.subjects import DataSubject
from services.data.erasure import SubjectErasure
from services.data.lifecycle import ItemLifecycle
from silo.data.v1 import lifecycle_pb2


class LifecycleServicer:
    """Serves the RPCs behind the chain, which lets the platform's own work through alone."""

    def __init__(self, lifecycle: ItemLifecycle, erasure: SubjectErasure) -> None:
        self._lifecycle = lifecycle
        self._erasure = erasure

    async def purge_items(
        self, _: lifecycle_pb2.PurgeItemsRequest, call: Call
    ) -> AsyncIterator[lifecycle_pb2.PurgeItemsResponse]:
        """PurgeItems."""
        async for purged in self._lifecycle.purge(call.tenant):
            yield lifecycle_pb2.PurgeItemsResponse(
                deleted_count=purged.deleted, found_count=purged.found, complete=purged.complete
            )

    async def survey_items(
        self, _: lifecycle_pb2.SurveyItemsRequest, call: Call
    ) -> AsyncIterator[lifecycle_pb2.SurveyItemsResponse]:
        """SurveyItems."""
        async for survey in self._lifecycle.survey(call.tenant):
            yield lifecycle_pb2.SurveyItemsResponse(
                items=_counts(survey.items),
                index_entries=_counts(survey.index_entries),
                settings=survey.settings,
                complete=survey.complete,
            )

    async def erase_subject(
        self, request: lifecycle_pb2.EraseSubjectRequest, call: Call
    ) -> AsyncIterator[lifecycle_pb2.EraseSubjectResponse]:
        """EraseSubject."""
        subject = DataSubject.parse(request.email, field="email")
        async for erased in self._erasure.erase(call.tenant, subject):
            yield lifecycle_pb2.EraseSubjectResponse(
                examined_count=erased.examined,
                users_deleted_count=erased.users,
                lists_changed_count=erased.lists,
                complete=erased.complete,
            )

    async def survey_subject(
        self, request: lifecycle_pb2.SurveySubjectRequest, call: Call
    ) -> AsyncIterator[lifecycle_pb2.SurveySubjectResponse]:
        """SurveySubject."""
        subject = DataSubject.parse(request.email, field="email")
        async for traces in self._erasure.survey(call.tenant, subject):
            yield lifecycle_pb2.SurveySubjectResponse(
                examined_count=traces.examined,
                user_count=traces.users,
                list_count=traces.lists,
                mention_count=traces.mentions,
                complete=traces.complete,
            )


def _counts(counts: Mapping[str, int]) -> list[lifecycle_pb2.ItemCount]:
    """The kinds of which there are some, by name."""
    return [
        lifecycle_pb2.ItemCount(kind=kind, count=count)
        for kind, count in sorted(counts.items())
        if count
    ]
