"""silo.storage.v1.LifecycleService: messages to operations and back."""

from __future__ import annotations

from collections.abc import AsyncIterator

from boundary.interceptors.call import Call
from boundary.subjects import DataSubject
from services.storage.lifecycle import ObjectLifecycle
from services.storage.ports import Contents
from silo.storage.v1 import lifecycle_pb2


class LifecycleServicer:
    """Serves the RPCs behind the chain, which lets the platform's own work through alone."""

    def __init__(self, lifecycle: ObjectLifecycle) -> None:
        self._lifecycle = lifecycle

    async def prepare_objects(
        self, _: lifecycle_pb2.PrepareObjectsRequest, call: Call
    ) -> lifecycle_pb2.PrepareObjectsResponse:
        """PrepareObjects."""
        return lifecycle_pb2.PrepareObjectsResponse(
            empty=await self._lifecycle.prepare(call.tenant)
        )

    async def purge_objects(
        self, _: lifecycle_pb2.PurgeObjectsRequest, call: Call
    ) -> AsyncIterator[lifecycle_pb2.PurgeObjectsResponse]:
        """PurgeObjects."""
        async for deleted in self._lifecycle.purge(call.tenant):
            yield lifecycle_pb2.PurgeObjectsResponse(
                deleted=_counts(deleted), complete=deleted.complete
            )

    async def survey_objects(
        self, _: lifecycle_pb2.SurveyObjectsRequest, call: Call
    ) -> AsyncIterator[lifecycle_pb2.SurveyObjectsResponse]:
        """SurveyObjects."""
        async for found in self._lifecycle.survey(call.tenant):
            yield lifecycle_pb2.SurveyObjectsResponse(found=_counts(found), complete=found.complete)

    async def erase_subject(
        self, request: lifecycle_pb2.EraseSubjectRequest, call: Call
    ) -> AsyncIterator[lifecycle_pb2.EraseSubjectResponse]:
        """EraseSubject."""
        subject = DataSubject.parse(request.email, field="email")
        async for done in self._lifecycle.erase(call.tenant, subject):
            yield lifecycle_pb2.EraseSubjectResponse(
                examined_count=done.examined,
                objects_changed_count=done.objects,
                versions_deleted_count=done.versions,
                complete=done.complete,
            )

    async def survey_subject(
        self, request: lifecycle_pb2.SurveySubjectRequest, call: Call
    ) -> AsyncIterator[lifecycle_pb2.SurveySubjectResponse]:
        """SurveySubject."""
        subject = DataSubject.parse(request.email, field="email")
        async for traces in self._lifecycle.trace(call.tenant, subject):
            yield lifecycle_pb2.SurveySubjectResponse(
                examined_count=traces.examined,
                metadata_count=traces.metadata,
                path_count=traces.paths,
                complete=traces.complete,
            )


def _counts(contents: Contents) -> lifecycle_pb2.ObjectCounts:
    return lifecycle_pb2.ObjectCounts(
        objects=contents.objects,
        noncurrent_versions=contents.noncurrent,
        delete_markers=contents.markers,
        uploads=contents.uploads,
        records=contents.records,
    )
