"""The types of record that Amazon SES publishes, and what is kept of each.

The names are those of the SES developer guide, "Contents of event data that Amazon SES publishes to Amazon SNS".
"""

from __future__ import annotations

from dataclasses import dataclass

from silo.search.v1 import event_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What a type of record is called and where it keeps what it has to say.

    Attributes:
        detail: the member with the type's own object.
        recipients: that object's list of recipients, or empty where it has none.
        kept: the object's members that become metadata.
        optional: whether the object may be left out; it is always empty.
    """

    event_type: event_pb2.EventType.ValueType
    detail: str
    kept: tuple[str, ...] = ()
    recipients: str = ""
    optional: bool = False


_MTA = ("reportingMTA", "remoteMtaIp")
_CLIENT = ("ipAddress", "userAgent")
_PREFERENCES = ("contactList", "source", "newTopicPreferences", "oldTopicPreferences")
KINDS = {
    "Send": Kind(event_type=event_pb2.EVENT_TYPE_SEND, detail="send", optional=True),
    "Delivery": Kind(
        event_type=event_pb2.EVENT_TYPE_DELIVERY,
        detail="delivery",
        recipients="recipients",
        kept=("smtpResponse", "processingTimeMillis", *_MTA),
    ),
    "Open": Kind(event_type=event_pb2.EVENT_TYPE_OPEN, detail="open", kept=_CLIENT),
    "Click": Kind(
        event_type=event_pb2.EVENT_TYPE_CLICK, detail="click", kept=("link", "linkTags", *_CLIENT)
    ),
    "Bounce": Kind(
        event_type=event_pb2.EVENT_TYPE_BOUNCE,
        detail="bounce",
        recipients="bouncedRecipients",
        kept=("bounceType", "bounceSubType", "feedbackId", *_MTA),
    ),
    "Complaint": Kind(
        event_type=event_pb2.EVENT_TYPE_COMPLAINT,
        detail="complaint",
        recipients="complainedRecipients",
        kept=(
            "complaintFeedbackType",
            "complaintSubType",
            "feedbackId",
            "userAgent",
            "arrivalDate",
        ),
    ),
    "Reject": Kind(event_type=event_pb2.EVENT_TYPE_REJECT, detail="reject", kept=("reason",)),
    "Rendering Failure": Kind(
        event_type=event_pb2.EVENT_TYPE_RENDERING_FAILURE,
        detail="failure",
        kept=("errorMessage", "templateName"),
    ),
    "DeliveryDelay": Kind(
        event_type=event_pb2.EVENT_TYPE_DELIVERY_DELAY,
        detail="deliveryDelay",
        recipients="delayedRecipients",
        kept=("delayType", "expirationTime", "reportingMTA"),
    ),
    "Subscription": Kind(
        event_type=event_pb2.EVENT_TYPE_SUBSCRIPTION, detail="subscription", kept=_PREFERENCES
    ),
}
OF_RECIPIENT = ("action", "status", "diagnosticCode")
AMBIGUOUS = (event_pb2.EVENT_TYPE_OPEN, event_pb2.EVENT_TYPE_CLICK)
