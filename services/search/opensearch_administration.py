"""The index template of a cluster: putting it there, and finding what differs from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.search.opensearch_cluster import Cluster
from services.search.opensearch_errors import ResourceMissing
from services.search.opensearch_template import TEMPLATE_NAME, template

_PATH = f"/_index_template/{TEMPLATE_NAME}"


async def create_template(cluster: Cluster) -> None:
    """Puts the index template, over one that is there.

    Raises:
        Unavailable, ResourceExhausted: the cluster does not take it.
    """
    await cluster.change("PUT", _PATH, template(), headers={})


async def drift(cluster: Cluster) -> list[str]:
    """How the cluster differs from what it should be, in words; nothing where it does not.

    Raises:
        Unavailable, ResourceExhausted: the cluster does not answer.
    """
    try:
        answer = await cluster.read("GET", _PATH, headers={})
    except ResourceMissing:
        return [f"there is no index template {TEMPLATE_NAME}"]
    found = answer["index_templates"][0]["index_template"]
    wanted = template()
    differences = []
    if found.get("index_patterns") != wanted["index_patterns"]:
        differences.append(f"the index template is for {found.get('index_patterns')}")
    if _fields(found) != _fields(wanted):
        differences.append("the index template's mapping is another")
    return differences


def _fields(body: Mapping[str, Any]) -> dict[str, str]:
    properties = body.get("template", {}).get("mappings", {}).get("properties", {})
    return {name: field.get("type", "object") for name, field in properties.items()}
