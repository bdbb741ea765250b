"""What fields may hold."""

import pytest

from boundary.errors import InvalidArgument
from services.data import rules
from services.data.resources import email_key
from silo.data.v1.recipient_list_pb2 import Recipient


def refused(rule, value):
    with pytest.raises(InvalidArgument) as caught:
        rule(value, "thing.field")
    assert caught.value.field.startswith("thing.field")
    return caught.value


@pytest.mark.parametrize(
    "address",
    [
        "",
        "a@b.co",
        "first.last+tag@mail.example.com",
        "o'neil@x-y.io",
        "a#b@c.de",
        "x" * 64 + "@a.b",
    ],
)
def test_addresses(address):
    rules.email(address, "email")


@pytest.mark.parametrize(
    "address",
    [
        "a",
        "a@b",
        "@b.co",
        "a@",
        "a b@c.de",
        "a@b..co",
        ".a@b.co",
        "a.@b.co",
        "a..b@c.de",
        "a@-b.co",
        "a@b-.co",
        "a@b.co\n",
        "a@b.co\r\nBcc: x@y.zz",
        "ä@b.co",
        "a@bücher.de",
        "a@b.co, c@d.ee",
        "x" * 65 + "@a.b",
        "a@" + ".".join(["x" * 60] * 5),
    ],
)
def test_what_is_no_address(address):
    refused(rules.email, address)


def test_a_required_address():
    assert refused(rules.required_email, "").reason == "REQUIRED_FIELD"


def test_lines():
    rule = rules.line(at_least=1, at_most=5)
    rule("äöü€x", "f")
    for value in ("", "   ", "123456", "a\nb", "a\r", "a\0", "\x7f"):
        refused(rule, value)
    rules.line(at_most=5)("", "f")


def test_texts():
    rule = rules.text(at_most=10)
    rule("a\r\nb\tc", "f")
    for value in ("x" * 11, "a\0", "\x1b[0m"):
        refused(rule, value)


@pytest.mark.parametrize("name", ["", "templates/a", "templates/" + "a" * 64])
def test_references(name):
    rules.reference("templates")(name, "f")


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "templates/",
        "lists/a",
        "templates/a/b",
        "templates/../a",
        "templates/a#b",
        "templates/a\n",
    ],
)
def test_what_is_no_reference(name):
    refused(rules.reference("templates"), name)


def test_labels():
    rules.labels({"k" * 63: "v" * 255, "a": ""}, "f")
    rules.labels({str(n): "" for n in range(64)}, "f")
    for value in (
        {str(n): "" for n in range(65)},
        {"": "v"},
        {"k" * 64: "v"},
        {"k": "v" * 256},
        {"k\0": "v"},
        {"k": "a\nb"},
    ):
        refused(rules.labels, value)


def test_recipients_name_the_one_at_fault():
    good = Recipient(email="a@b.co")
    rules.recipients([good], "f")
    assert refused(rules.recipients, [good, Recipient()]).field == "thing.field[1].email"
    bad = Recipient(email="a@b.co", attributes={"": "x"})
    assert refused(rules.recipients, [bad]).field == "thing.field[0].attributes"


@pytest.mark.parametrize("zone", ["", "UTC", "Europe/Berlin", "America/Argentina/Ushuaia"])
def test_time_zones(zone):
    rules.time_zone(zone, "f")


@pytest.mark.parametrize("zone", ["Europe/Nowhere", "europe/berlin", "../etc/passwd", "+01:00"])
def test_what_is_no_time_zone(zone):
    refused(rules.time_zone, zone)


def test_addresses_as_index_keys_are_one_for_one():
    addresses = ["a#b@c.de", "a%23b@c.de", "a%b@c.de", "a%25b@c.de"]
    keys = {email_key(address) for address in addresses}
    assert len(keys) == len(addresses)
    assert not any("#" in key for key in keys)
    assert email_key("Alice@Example.COM") == email_key("alice@example.com")
