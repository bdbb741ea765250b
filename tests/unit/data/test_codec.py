"""Messages and items say the same."""

import pytest
from google.protobuf.wrappers_pb2 import BytesValue, DoubleValue
from hypothesis import given
from hypothesis import strategies as st

from boundary.errors import InvalidArgument
from services.data.codec import Codec
from services.data.resources import CAMPAIGNS, LISTS, TEMPLATES, USERS
from services.table import item_json
from silo.data.v1.campaign_pb2 import Campaign, CampaignStatus
from silo.data.v1.recipient_list_pb2 import RecipientList
from silo.data.v1.tenant_config_pb2 import TenantConfig

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
TIMESTAMPS = st.builds(
    dict,
    seconds=st.integers(-62_135_596_800, 253_402_300_799),
    nanos=st.integers(0, 999_999_999),
)
CAMPAIGN = st.builds(
    Campaign,
    display_name=TEXT,
    subject=TEXT,
    from_address=TEXT,
    status=st.sampled_from(CampaignStatus.values()),
    template=TEXT,
    recipient_list=TEXT,
    schedule_time=st.none() | TIMESTAMPS,
    labels=st.dictionaries(TEXT, TEXT, max_size=3),
)
LIST = st.builds(
    RecipientList,
    display_name=TEXT,
    recipients=st.lists(
        st.builds(
            dict,
            email=TEXT,
            display_name=TEXT,
            attributes=st.dictionaries(TEXT, TEXT, max_size=2),
        ),
        max_size=3,
    ),
)


@given(CAMPAIGN)
def test_a_campaign_goes_through_an_item_unchanged(campaign):
    stored = item_json.decode(item_json.encode(CAMPAIGNS.codec.encode(campaign, path="campaign")))
    campaign.name = "campaigns/x"
    assert CAMPAIGNS.codec.decode("campaigns/x", stored) == campaign


@given(LIST)
def test_a_recipient_list_goes_through_an_item_unchanged(recipient_list):
    stored = LISTS.codec.encode(recipient_list, path="recipient_list")
    assert LISTS.codec.decode("", item_json.decode(item_json.encode(stored))) == recipient_list


def test_what_an_item_looks_like():
    campaign = Campaign(
        name="campaigns/x",
        display_name="X",
        status="CAMPAIGN_STATUS_SENT",
        schedule_time={"seconds": 1, "nanos": 5},
        labels={"a": "b"},
        create_time={"seconds": 9},
        etag="e",
    )
    assert CAMPAIGNS.codec.encode(campaign, path="campaign") == {
        "display_name": "X",
        "status": "SENT",
        "schedule_time": 1_000_000_005,
        "labels": {"a": "b"},
    }


def test_what_callers_set():
    assert CAMPAIGNS.codec.settable == (
        "display_name",
        "subject",
        "from_address",
        "status",
        "template",
        "recipient_list",
        "schedule_time",
        "labels",
    )
    assert CAMPAIGNS.codec.fixed == {"name", "create_time", "update_time", "etag"}
    assert USERS.codec.fixed == {"name", "create_time", "update_time", "etag"}
    assert "recipient_count" in LISTS.codec.fixed
    assert {"content_path", "content_size", "content_sha256"} <= TEMPLATES.codec.fixed
    assert Codec(TenantConfig).fixed == {"name", "display_name", "update_time", "etag"}


def test_only_the_fields_asked_for_are_encoded():
    campaign = Campaign(display_name="X", subject="S", status=99)  # type: ignore[arg-type]
    assert CAMPAIGNS.codec.encode(campaign, path="campaign", fields=["subject"]) == {"subject": "S"}


def test_an_unknown_enum_value_is_refused():
    with pytest.raises(InvalidArgument) as refused:
        CAMPAIGNS.codec.encode(Campaign(status=99), path="campaign")  # type: ignore[arg-type]
    assert refused.value.field == "campaign.status"


@pytest.mark.parametrize(
    ("seconds", "nanos"), [(253_402_300_800, 0), (-62_135_596_801, 0), (0, -1), (0, 10**9)]
)
def test_a_timestamp_out_of_range_is_refused(seconds, nanos):
    campaign = Campaign()
    campaign.schedule_time.seconds = seconds
    campaign.schedule_time.nanos = nanos
    with pytest.raises(InvalidArgument) as refused:
        CAMPAIGNS.codec.encode(campaign, path="campaign")
    assert refused.value.field == "campaign.schedule_time"


def test_attributes_of_the_items_own_are_passed_over():
    item = {"display_name": "X", "GSI1PK": "TENANT#A#X", "pending": {"kind": "update"}}
    assert CAMPAIGNS.codec.decode("campaigns/x", item) == Campaign(
        name="campaigns/x", display_name="X"
    )


@pytest.mark.parametrize("message_type", [BytesValue, DoubleValue])
def test_a_field_that_items_do_not_hold_is_refused_at_start(message_type):
    with pytest.raises(TypeError):
        Codec(message_type)
