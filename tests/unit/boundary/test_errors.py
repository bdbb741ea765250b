from __future__ import annotations

import pytest
from google.rpc import error_details_pb2

from boundary import errors


@pytest.mark.parametrize(
    ("error", "details"),
    [
        (errors.InvalidArgument("campaign.subject", "is too long"), {"ErrorInfo", "BadRequest"}),
        (errors.NotFound("campaigns/1"), {"ErrorInfo"}),
        (errors.Unavailable("DOWN", "down", retry_after=2.5), {"ErrorInfo", "RetryInfo"}),
        (errors.ResourceExhausted("FULL", "full"), {"ErrorInfo", "QuotaFailure"}),
        (errors.tenant_unavailable(), {"ErrorInfo"}),
        (errors.Internal(), {"ErrorInfo"}),
    ],
)
def test_every_status_has_one_error_info(error: errors.SiloError, details: set[str]) -> None:
    status = errors.status_of(error, "request-1")
    names = [detail.type_url.rpartition(".")[2] for detail in status.details]
    assert sorted(names) == sorted(details)
    info = errors.error_info(status)
    assert info is not None
    assert (info.domain, info.reason) == ("silo", error.reason)
    assert info.metadata["request_id"] == "request-1"


def test_a_field_is_named_in_both_places() -> None:
    status = errors.status_of(errors.InvalidArgument("user.email", "is no address"), "r")
    info = errors.error_info(status)
    assert info is not None
    assert info.metadata["field"] == "user.email"
    bad = error_details_pb2.BadRequest()
    assert status.details[1].Unpack(bad)
    assert bad.field_violations[0].field == "user.email"


def test_missing_suspended_and_foreign_tenants_read_alike() -> None:
    first = errors.status_of(errors.tenant_unavailable(), "r")
    assert first == errors.status_of(errors.tenant_unavailable(), "r")


def test_what_a_caller_sent_cannot_make_an_error_too_large_to_arrive() -> None:
    name = "x" * 100_000
    for error in (
        errors.NotFound(name, field=name),
        errors.InvalidArgument(name, name),
        errors.ResourceExhausted("FULL", name),
    ):
        assert len(errors.status_of(error, "r").SerializeToString()) < 4096
