"""A role for each tenant where the cluster has OpenSearch's security plugin: it refuses a foreign index itself.

A tenant's role, user and mapping are all named `silo-tenant-{slug}`. The role reaches exactly the tenant's index
and alias, and on them nothing but what the adapter does there: it makes and drops no index and changes no mapping.
The service's own user, with which the client was made, does these (and needs the security API for it); every
search and every write is a request of the tenant's user. Points in time are covered too: the plugin asks for the
permission on every index that one reaches into.

Two ways to be the tenant's user:

- `Impersonation`: the service's user may act as the tenants' users, and nobody knows their passwords. The
  cluster's configuration allows it:
  `plugins.security.authcz.rest_impersonation_user: {silo-search: ["silo-tenant-*"]}`.
- `Passwords`: for managed clusters whose configuration is out of reach. A secret source knows the passwords.

Not yet run against the plugin: the node that the engine tests start has none, because the package registries do
not serve it for that version. The tests run the adapter against a stand-in that enforces the documents that it was
given (documentation: docs.opensearch.org, "Access control API", "User impersonation", "Permissions").
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from boundary.errors import Internal
from boundary.scope import SearchIndex
from services.search.opensearch_cluster import Cluster
from services.search.opensearch_errors import ResourceMissing

_API = "/_plugins/_security/api"
_ROLE_PREFIX = "silo-tenant-"
_ALIAS_PREFIX = "email-tenant-"
_KINDS = ("rolesmapping", "internalusers", "roles")
_NOBODY = _ROLE_PREFIX + "-"
"""A name in the tenants' form that no tenant has: slugs begin with a letter or a digit."""

CLUSTER_PERMISSIONS = ("indices:data/write/bulk",)
"""A bulk request is asked for as a whole first, and then for each shard that it writes to."""

INDEX_PERMISSIONS = (
    "indices:admin/refresh*",
    "indices:data/read/point_in_time/create",
    "indices:data/read/point_in_time/delete",
    "indices:data/read/search",
    "indices:data/write/bulk*",
    "indices:data/write/index",
)


class SignIn(Protocol):
    """How a request becomes one of a tenant's user."""

    async def password(self, index: SearchIndex) -> str:
        """What the user's password is set to."""

    async def headers(self, index: SearchIndex) -> Mapping[str, str]:
        """What the request carries."""


class Impersonation:
    """The service signs in as itself and acts as the tenant's user."""

    async def password(self, index: SearchIndex) -> str:
        """One that nobody will know."""
        return secrets.token_urlsafe(48)

    async def headers(self, index: SearchIndex) -> Mapping[str, str]:
        """The header that names the user."""
        return {"opendistro_security_impersonate_as": role_name(index)}


class Passwords:
    """Requests sign in as the tenant's user, with a password from a secret source."""

    def __init__(self, source: Callable[[SearchIndex], Awaitable[str]]) -> None:
        """Takes what knows the password of a tenant's user; it caches what it should."""
        self._source = source

    async def password(self, index: SearchIndex) -> str:
        """The source's."""
        return await self._source(index)

    async def headers(self, index: SearchIndex) -> Mapping[str, str]:
        """Basic credentials (RFC 7617), in place of the client's own."""
        pair = f"{role_name(index)}:{await self._source(index)}".encode()
        return {"authorization": "Basic " + base64.b64encode(pair).decode()}


class TenantRoles:
    """Keeps a role, a user and the mapping between them for each tenant; an opensearch.Access."""

    def __init__(self, sign_in: SignIn) -> None:
        self._sign_in = sign_in

    async def prepare(self, cluster: Cluster, index: SearchIndex) -> None:
        """Puts the role, then the user, then the mapping. Repeatable: each put replaces what is there."""
        name = role_name(index)
        user = {"password": await self._sign_in.password(index), "backend_roles": []}
        await cluster.change("PUT", f"{_API}/roles/{name}", role(index), headers={})
        await cluster.change("PUT", f"{_API}/internalusers/{name}", user, headers={})
        await cluster.change("PUT", f"{_API}/rolesmapping/{name}", {"users": [name]}, headers={})

    async def headers(self, index: SearchIndex) -> Mapping[str, str]:
        """What a request of the tenant's user carries."""
        return await self._sign_in.headers(index)

    async def forget(self, cluster: Cluster, index: SearchIndex) -> None:
        """Deletes them, the mapping first: from then on the user can do nothing. Repeatable."""
        for kind in _KINDS:
            try:
                await cluster.change("DELETE", f"{_API}/{kind}/{role_name(index)}", headers={})
            except ResourceMissing:
                continue  # an earlier call got this far

    async def count(self, cluster: Cluster, index: SearchIndex) -> int:
        """How many of the three there are."""
        found = 0
        for kind in _KINDS:
            try:
                await cluster.read("GET", f"{_API}/{kind}/{role_name(index)}", headers={})
            except ResourceMissing:
                continue
            found += 1
        return found


async def drift(cluster: Cluster) -> list[str]:
    """What keeps roles from working, in words; nothing where the service's user may ask the plugin for them.

    Whether that user may act as the tenants' users cannot be seen before there is one.

    Raises:
        Unavailable, ResourceExhausted: the cluster does not answer, or does not let the user ask.
    """
    try:
        await cluster.read("GET", f"{_API}/roles/{_NOBODY}", headers={})
    except ResourceMissing:
        return []  # as the plugin answers for a role that is not there
    except Internal:
        return ["the security plugin does not answer"]
    return [f"there is a role {_NOBODY}, which is none of ours"]


def role_name(index: SearchIndex) -> str:
    """`silo-tenant-{slug}`: the name of a tenant's role and of its user."""
    return _ROLE_PREFIX + index.alias.removeprefix(_ALIAS_PREFIX)


def role(index: SearchIndex) -> dict[str, Any]:
    """The tenant's role. Index and alias stand by their full names; no pattern could fit a neighbour's."""
    return {
        "description": "One tenant's events: made and kept by Silo",
        "cluster_permissions": list(CLUSTER_PERMISSIONS),
        "index_permissions": [
            {
                "index_patterns": [index.name, index.alias],
                "allowed_actions": list(INDEX_PERMISSIONS),
            }
        ],
    }
