"""Plays a cluster with the security plugin: it enforces the roles, users and mappings that it was given."""

from __future__ import annotations

import base64
import fnmatch
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.unit.search.test_opensearch import Answer, Engine

API = "/_plugins/_security/api"
IMPERSONATE = "opendistro_security_impersonate_as"
SERVICE = "silo-search"
PASSWORD = "the service's own"
IMPERSONATED = "silo-tenant-*"
"""As whom the service's user may act: plugins.security.authcz.rest_impersonation_user."""

_KINDS = ("roles", "internalusers", "rolesmapping")
_PIT = "pit of "


@dataclass
class SecuredEngine(Engine):
    """A request is refused unless a role of its user allows its action on the index that it reaches."""

    documents: dict[str, dict[str, Any]] = field(default_factory=lambda: {k: {} for k in _KINDS})
    refused: list[tuple[str, str, str]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answers as the plugin does in front of the cluster."""
        user = self._user(request)
        if user is None:
            return self._refusal(401, request, "nobody")
        if request.path.startswith(API):
            if user != SERVICE:
                return self._refusal(403, request, user)
            return await self._administer(request)
        body = await request.text()
        if user != SERVICE and not self._allows(user, request, body):
            return self._refusal(403, request, user)
        return await super().handle(request)

    def answer(self, request: web.Request, body: str) -> Answer:
        """As the cluster; a point in time names its index, as real ones do."""
        if request.path.endswith("/point_in_time") and request.method == "POST":
            return 200, {"pit_id": _PIT + request.path.split("/")[1]}
        return super().answer(request, body)

    def _user(self, request: web.Request) -> str | None:
        scheme, _, pair = request.headers.get("authorization", "").partition(" ")
        if scheme != "Basic":
            return None
        name, _, password = base64.b64decode(pair).decode().partition(":")
        own = self.documents["internalusers"].get(name, {}).get("password")
        if (name, password) != (SERVICE, PASSWORD) and (own is None or password != own):
            return None
        other = request.headers.get(IMPERSONATE)
        if other is None:
            return name
        known = other in self.documents["internalusers"]
        allowed = name == SERVICE and fnmatch.fnmatchcase(other, IMPERSONATED)
        return other if known and allowed else None

    async def _administer(self, request: web.Request) -> web.StreamResponse:
        kind, name = request.path.removeprefix(API + "/").split("/")
        known = self.documents[kind]
        self.requests.append((request.method, request.path, await request.text()))
        if request.method == "PUT":
            known[name] = await request.json()
        elif name not in known:
            return web.json_response({"status": "NOT_FOUND"}, status=404)
        elif request.method == "DELETE":
            del known[name]
        return web.json_response({"status": "OK", name: known.get(name)})

    def _allows(self, user: str, request: web.Request, body: str) -> bool:
        action, cluster_wide = _action(request)
        roles = list(self._roles(user))
        if cluster_wide and not _matches(
            action, [each for role in roles for each in role["cluster_permissions"]]
        ):
            return False
        return all(
            any(
                _matches(index, permission["index_patterns"])
                and _matches(action, permission["allowed_actions"])
                for role in roles
                for permission in role["index_permissions"]
            )
            for index in _indexes(request, body)
        )

    def _roles(self, user: str) -> Iterable[dict[str, Any]]:
        held = set(self.documents["internalusers"][user].get("backend_roles", ()))
        for name, mapping in self.documents["rolesmapping"].items():
            mapped = user in mapping.get("users", ()) or held & set(
                mapping.get("backend_roles", ())
            )
            if mapped and name in self.documents["roles"]:
                yield self.documents["roles"][name]

    def _refusal(self, status: int, request: web.Request, user: str) -> web.Response:
        self.refused.append((user, request.method, request.path))
        error = {"type": "security_exception", "reason": "no permissions"}
        return web.json_response({"error": {"root_cause": [error], **error}}, status=status)


def _action(request: web.Request) -> tuple[str, bool]:
    """The transport action of a request, and whether it is asked for as a whole as well."""
    method, path = request.method, request.path
    if path.endswith("/_bulk"):
        return "indices:data/write/bulk", True
    if path.endswith("/_search/point_in_time"):
        done = "delete" if method == "DELETE" else "create"
        return f"indices:data/read/point_in_time/{done}", False
    if path.endswith("/_search"):
        return "indices:data/read/search", False
    if path.endswith("/_refresh"):
        return "indices:admin/refresh", False
    if path.endswith("/_mapping"):
        return "indices:admin/mappings/get", False
    return f"indices:admin/{method}", False


def _indexes(request: web.Request, body: str) -> list[str]:
    """What a request reaches: by its path, by its lines, or by the points in time that it names."""
    name = request.path.split("/")[1]
    if request.path.endswith("/_bulk"):
        named = [
            each["_index"]
            for line in body.splitlines()[::2]
            for each in json.loads(line).values()
            if "_index" in each
        ]
        return [_concrete(name), *map(_concrete, named)]
    if not name.startswith("_"):
        return [_concrete(name)]
    fields = json.loads(body)
    ids = fields["pit_id"] if "pit_id" in fields else [fields["pit"]["id"]]
    return [each.removeprefix(_PIT) for each in ids]


def _concrete(name: str) -> str:
    """The index of an alias: the plugin decides on what a name stands for."""
    if name.startswith("email-tenant-"):
        return "email-analytics-tenant-" + name.removeprefix("email-tenant-")
    return name


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
