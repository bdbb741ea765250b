"""On engines too, nothing acknowledged is lost: services restarted under load, engines killed, all taken down."""

from __future__ import annotations

import time

from devstack.onboarding import onboard
from tests.compose.suite import ComposeSuite

# The same tests with this folder's stack.
from tests.compose.test_restart import *  # noqa: F403
from tests.compose.test_restart import Load, verify
from tests.e2e.test_kill import Client

ENGINES = ("dynamodb", "s3", "opensearch")
OF_AN_OUTAGE = ("StatusCode.DEADLINE_EXCEEDED", "StatusCode.RESOURCE_EXHAUSTED")
"""What a caller may be told besides UNAVAILABLE."""


def test_nothing_is_lost_when_the_engines_are_killed_under_load(stack: ComposeSuite) -> None:
    onboard(stack.gateway, token=stack.operator_token(), tenants=("outage",))
    client = Client(stack, "outage")
    load = Load(client)
    with load.running():
        time.sleep(1)
        stack.compose("kill", "-s", "SIGKILL", *ENGINES)
        time.sleep(1)
        stack.compose("up", "-d", "--no-build", timeout=180)
    print(f"acknowledged {load.acknowledged_counts()}, unknown {load.unknown}")
    others = [each for each in load.unexpected if each.split()[1] not in OF_AN_OUTAGE]
    assert not others, others[:5]
    verify(client, load)
    client.close()
