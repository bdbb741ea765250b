"""silo.search.v1.LifecycleService: messages to operations and back."""

from __future__ import annotations

from collections.abc import AsyncIterator

from boundary.interceptors.call import Call
from boundary.subjects import DataSubject
from services.search.lifecycle import IndexLifecycle
from silo.search.v1 import lifecycle_pb2

SERVICE = lifecycle_pb2.DESCRIPTOR.services_by_name["LifecycleService"].full_name


class LifecycleServicer:
    """Serves the RPCs behind the chain, which lets the platform's own work through alone."""

    def __init__(self, lifecycle: IndexLifecycle) -> None:
        self._lifecycle = lifecycle

    async def create_index(
        self, _: lifecycle_pb2.CreateIndexRequest, call: Call
    ) -> lifecycle_pb2.CreateIndexResponse:
        """CreateIndex."""
        await self._lifecycle.create(call.tenant)
        return lifecycle_pb2.CreateIndexResponse()

    async def purge_index(
        self, _: lifecycle_pb2.PurgeIndexRequest, call: Call
    ) -> AsyncIterator[lifecycle_pb2.PurgeIndexResponse]:
        """PurgeIndex."""
        async for purged in self._lifecycle.purge(call.tenant):
            yield lifecycle_pb2.PurgeIndexResponse(
                found_count=purged.found, deleted_count=purged.deleted, complete=purged.complete
            )

    async def survey_index(
        self, _: lifecycle_pb2.SurveyIndexRequest, call: Call
    ) -> lifecycle_pb2.SurveyIndexResponse:
        """SurveyIndex."""
        survey = await self._lifecycle.survey(call.tenant)
        return lifecycle_pb2.SurveyIndexResponse(
            indexes=survey.indexes,
            aliases=survey.aliases,
            events=survey.events,
            cursors=survey.cursors,
            roles=survey.roles,
        )

    async def erase_subject(
        self, request: lifecycle_pb2.EraseSubjectRequest, call: Call
    ) -> AsyncIterator[lifecycle_pb2.EraseSubjectResponse]:
        """EraseSubject."""
        subject = DataSubject.parse(request.email, field="email")
        async for erased in self._lifecycle.erase(call.tenant, subject):
            yield lifecycle_pb2.EraseSubjectResponse(
                deleted_count=erased.deleted, complete=erased.complete
            )

    async def survey_subject(
        self, request: lifecycle_pb2.SurveySubjectRequest, call: Call
    ) -> lifecycle_pb2.SurveySubjectResponse:
        """SurveySubject."""
        subject = DataSubject.parse(request.email, field="email")
        traces = await self._lifecycle.trace(call.tenant, subject)
        return lifecycle_pb2.SurveySubjectResponse(
            event_count=traces.events, mention_count=traces.mentions
        )
