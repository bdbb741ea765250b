"""The proto services for settings, templates, counters and several entities at once."""

from __future__ import annotations

from google.rpc import code_pb2, status_pb2

from boundary.errors import SiloError, status_of
from boundary.interceptors.call import Call
from services.data.analytics import Analytics, Counter
from services.data.config import Configs
from services.data.entities import Batches
from services.data.operations import Entities
from services.data.resources import TEMPLATES
from services.data.servicer import listing_of
from services.data.templates import Templates
from silo.data.v1 import analytics_pb2, entity_pb2, template_pb2, tenant_config_pb2


class TenantConfigServicer:
    """silo.data.v1.TenantConfigService."""

    def __init__(self, configs: Configs) -> None:
        self._configs = configs

    async def get_tenant_config(
        self, _request: tenant_config_pb2.GetTenantConfigRequest, call: Call
    ) -> tenant_config_pb2.GetTenantConfigResponse:
        """Reads the settings."""
        config = await self._configs.get(call.tenant)
        return tenant_config_pb2.GetTenantConfigResponse(tenant_config=config)

    async def update_tenant_config(
        self, request: tenant_config_pb2.UpdateTenantConfigRequest, call: Call
    ) -> tenant_config_pb2.UpdateTenantConfigResponse:
        """Changes the settings."""
        config = await self._configs.update(
            call.tenant, message=request.tenant_config, paths=request.update_mask.paths
        )
        return tenant_config_pb2.UpdateTenantConfigResponse(tenant_config=config)


class TemplateServicer:
    """silo.data.v1.TemplateService."""

    def __init__(self, templates: Templates, entities: Entities) -> None:
        self._templates = templates
        self._entities = entities

    async def create_template(
        self, request: template_pb2.CreateTemplateRequest, call: Call
    ) -> template_pb2.CreateTemplateResponse:
        """Creates a template with its content."""
        template = await self._templates.create(
            call.tenant,
            template_id=request.template_id,
            message=request.template,
            content=request.content,
            request_id=request.request_id,
        )
        return template_pb2.CreateTemplateResponse(template=template)

    async def get_template(
        self, request: template_pb2.GetTemplateRequest, call: Call
    ) -> template_pb2.GetTemplateResponse:
        """Reads one template."""
        template = await self._templates.get(call.tenant, name=request.name)
        return template_pb2.GetTemplateResponse(template=template)

    async def list_templates(
        self, request: template_pb2.ListTemplatesRequest, call: Call
    ) -> template_pb2.ListTemplatesResponse:
        """Lists templates."""
        listed = await self._entities.list(call.tenant, TEMPLATES, listing_of(request, call))
        return template_pb2.ListTemplatesResponse(
            templates=listed.resources, next_page_token=listed.next_page_token
        )

    async def update_template(
        self, request: template_pb2.UpdateTemplateRequest, call: Call
    ) -> template_pb2.UpdateTemplateResponse:
        """Changes a template, and its content where that is set."""
        template = await self._templates.update(
            call.tenant,
            message=request.template,
            paths=request.update_mask.paths,
            content=request.content if request.HasField("content") else None,
        )
        return template_pb2.UpdateTemplateResponse(template=template)

    async def delete_template(
        self, request: template_pb2.DeleteTemplateRequest, call: Call
    ) -> template_pb2.DeleteTemplateResponse:
        """Deletes a template and its content."""
        await self._templates.delete(call.tenant, name=request.name, etag=request.etag)
        return template_pb2.DeleteTemplateResponse()

    async def get_template_content(
        self, request: template_pb2.GetTemplateContentRequest, call: Call
    ) -> template_pb2.GetTemplateContentResponse:
        """Reads a template's content."""
        content = await self._templates.read_content(call.tenant, name=request.name)
        return template_pb2.GetTemplateContentResponse(
            content=content.data, content_sha256=content.sha256
        )


class AnalyticsServicer:
    """silo.data.v1.AnalyticsService."""

    def __init__(self, analytics: Analytics) -> None:
        self._analytics = analytics

    async def increment_counters(
        self, request: analytics_pb2.IncrementCountersRequest, call: Call
    ) -> analytics_pb2.IncrementCountersResponse:
        """Adds to counters."""
        replayed = await self._analytics.increment(
            call.tenant,
            request_id=request.request_id,
            increments=[Counter(each.date, each.metric, each.delta) for each in request.increments],
        )
        return analytics_pb2.IncrementCountersResponse(replayed=replayed)

    async def get_analytics_report(
        self, request: analytics_pb2.GetAnalyticsReportRequest, call: Call
    ) -> analytics_pb2.GetAnalyticsReportResponse:
        """Reads the counters of a range of days."""
        report = await self._analytics.report(
            call.tenant,
            start=request.start_date,
            end=request.end_date,
            metrics=request.metrics,
        )
        return analytics_pb2.GetAnalyticsReportResponse(
            counters=[
                analytics_pb2.Counter(date=each.date, metric=each.metric, value=each.value)
                for each in report.counters
            ],
            totals=[
                analytics_pb2.MetricTotal(metric=metric, value=value)
                for metric, value in report.totals
            ],
        )


class EntityServicer:
    """silo.data.v1.EntityService."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    async def batch_get_entities(
        self, request: entity_pb2.BatchGetEntitiesRequest, call: Call
    ) -> entity_pb2.BatchGetEntitiesResponse:
        """Reads entities of any kind."""
        call.resources = request.names
        read = await self._batches.read(call.tenant, request.names)
        return entity_pb2.BatchGetEntitiesResponse(
            entities=read.entities, missing_names=read.missing
        )

    async def batch_write_entities(
        self, request: entity_pb2.BatchWriteEntitiesRequest, call: Call
    ) -> entity_pb2.BatchWriteEntitiesResponse:
        """Makes writes, each for itself."""
        call.resources = [_written(write) for write in request.writes]
        outcomes = await self._batches.write(call.tenant, request.writes)
        return entity_pb2.BatchWriteEntitiesResponse(
            results=[_result(outcome, call.request_id) for outcome in outcomes]
        )

    async def transact_entities(
        self, request: entity_pb2.TransactEntitiesRequest, call: Call
    ) -> entity_pb2.TransactEntitiesResponse:
        """Makes writes, all or none."""
        call.resources = [_written(write) for write in request.writes]
        entities = await self._batches.transact(call.tenant, request.writes)
        return entity_pb2.TransactEntitiesResponse(entities=entities)


def _written(write: entity_pb2.Write) -> str:
    """What a write is about, for the audit record: `delete campaigns/spring`."""
    operation = write.WhichOneof("operation")
    if operation is None:
        return ""
    if operation == "delete":
        return f"delete {write.delete.name}"
    entity = write.create.entity if operation == "create" else write.update.entity
    kind = entity.WhichOneof("entity")
    return f"{operation} {getattr(entity, kind).name if kind else ''}"


def _result(outcome: entity_pb2.Entity | SiloError, request_id: str) -> entity_pb2.WriteResult:
    if isinstance(outcome, SiloError):
        return entity_pb2.WriteResult(status=status_of(outcome, request_id))
    written = outcome if outcome.WhichOneof("entity") else None
    return entity_pb2.WriteResult(status=status_pb2.Status(code=code_pb2.OK), entity=written)
