"""Who may issue tokens, as read from the list."""

import json

import pytest

from boundary.issuers import DEV_ISSUER, IssuersError, load_issuers
from boundary.settings import ProcessSettings

FULL = {
    "issuer": "https://login.example.com",
    "audiences": ["silo"],
    "algorithms": ["ES256"],
    "jwks": "keys.json",
}
POOL = {
    "cognito_user_pool": "eu-central-1_AbC123",
    "region": "eu-central-1",
    "client_ids": ["client"],
}


def settings(tmp_path, entries=None, **more):
    if entries is not None:
        path = tmp_path / "issuers.json"
        path.write_text(entries if isinstance(entries, str) else json.dumps(entries))
        more["issuers"] = path
    return ProcessSettings(home=tmp_path, **{"environment": "development", **more})


def test_development_trusts_the_development_issuer_alone(tmp_path):
    (issuer,) = load_issuers(settings(tmp_path))
    assert (issuer.issuer, issuer.audiences, issuer.algorithms) == (
        DEV_ISSUER,
        ("silo",),
        ("ES256",),
    )


def test_listed_issuers_and_cognito_pools(tmp_path):
    full, pool, dev = load_issuers(settings(tmp_path, [FULL, POOL]))
    assert full.issuer == "https://login.example.com"
    assert pool.issuer == "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbC123"
    assert (pool.audiences, pool.algorithms) == (("client",), ("RS256",))
    assert dev.issuer == DEV_ISSUER


def test_production_trusts_what_is_listed_and_nothing_else(tmp_path):
    (issuer,) = load_issuers(settings(tmp_path, [FULL], environment="production"))
    assert issuer.issuer == "https://login.example.com"


@pytest.mark.parametrize(
    "entries",
    [
        None,
        [],
        [FULL | {"issuer": DEV_ISSUER}],
        [FULL, FULL],
        [FULL | {"jwks": "http://login.example.com/jwks.json"}],
        [FULL | {"algorithms": ["HS256"]}],
        [FULL | {"algorithms": ["none"]}],
        [FULL | {"audiences": []}],
        [FULL | {"unknown": 1}],
        [POOL | {"region": "nowhere"}],
        {"issuers": []},
        "not json",
    ],
)
def test_production_does_not_start_on(tmp_path, entries):
    with pytest.raises(IssuersError):
        load_issuers(settings(tmp_path, entries, environment="production"))


def test_a_missing_list_does_not_start(tmp_path):
    with pytest.raises(IssuersError):
        load_issuers(ProcessSettings(home=tmp_path, issuers=tmp_path / "none.json"))
