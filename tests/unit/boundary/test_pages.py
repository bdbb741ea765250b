from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boundary import pages
from boundary.errors import InvalidArgument
from boundary.ids import TenantId
from boundary.pages import PageSealer, page_size, query_of
from silo.data.v1 import campaign_pb2

SEALER = PageSealer(b"k" * 32)
PLACE = {"tenant_id": TenantId("A"), "method": "s/List", "query": b"q"}


@given(st.binary(max_size=200))
def test_a_token_opens_in_its_own_place(position: bytes) -> None:
    assert SEALER.open(SEALER.seal(position, **PLACE), **PLACE) == position


@pytest.mark.parametrize(
    "change", [{"tenant_id": "B"}, {"tenant_id": ""}, {"method": "s/Other"}, {"query": b"other"}]
)
def test_a_token_opens_nowhere_else(change: dict[str, str]) -> None:
    token = SEALER.seal(b"position", **PLACE)
    with pytest.raises(InvalidArgument) as caught:
        SEALER.open(token, **{**PLACE, **change})
    assert (caught.value.field, caught.value.reason) == ("page_token", "INVALID_PAGE_TOKEN")


def test_parts_that_join_alike_are_not_alike() -> None:
    token = SEALER.seal(b"p", tenant_id=TenantId("A"), method="Bs/List", query=b"q")
    with pytest.raises(InvalidArgument):
        SEALER.open(token, tenant_id=TenantId("AB"), method="s/List", query=b"q")


@given(st.text(max_size=100))
def test_nothing_made_up_opens(token: str) -> None:
    with pytest.raises(InvalidArgument):
        SEALER.open(token, **PLACE)


def test_every_flipped_bit_is_noticed() -> None:
    token = SEALER.seal(b"position", **PLACE)
    for place in range(len(token)):
        flipped = "A" if token[place] != "A" else "B"
        changed = token[:place] + flipped + token[place + 1 :]
        try:
            assert SEALER.open(changed, **PLACE) == b"position"  # base64's unused last bits
            assert place == len(token) - 1
        except InvalidArgument:
            pass


def test_another_key_and_a_later_day_open_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    token = SEALER.seal(b"position", **PLACE)
    with pytest.raises(InvalidArgument):
        PageSealer(os.urandom(32)).open(token, **PLACE)
    now = pages.time.time()
    monkeypatch.setattr(pages.time, "time", lambda: now + pages.PAGE_TOKEN_LIFETIME + 1)
    with pytest.raises(InvalidArgument):
        SEALER.open(token, **PLACE)


def test_page_sizes() -> None:
    assert page_size(0, default=50, maximum=200) == 50
    assert page_size(7, default=50, maximum=200) == 7
    assert page_size(1000, default=50, maximum=200) == 200
    with pytest.raises(InvalidArgument):
        page_size(-1, default=50, maximum=200)


def test_the_query_leaves_out_the_page_alone() -> None:
    first = campaign_pb2.ListCampaignsRequest(page_size=5, order_by="id")
    second = campaign_pb2.ListCampaignsRequest(page_size=9, page_token="t", order_by="id")
    other = campaign_pb2.ListCampaignsRequest(page_size=5, order_by="id desc")
    assert query_of(first) == query_of(second) != query_of(other)
