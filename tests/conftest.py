"""What many tests share: one running suite, in processes of its own on free ports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import settings

from devstack.settings import inherited_environment
from devstack.stack import Stack

# The same examples in every run, however long each takes: a test that fails, fails for whoever looks at it.
settings.register_profile("silo", derandomize=True, deadline=None)
settings.load_profile("silo")


@pytest.fixture(scope="session")
def stack_environment(request: pytest.FixtureRequest) -> Mapping[str, str]:
    """What the processes of a suite inherit: with the plugin tests.engines.plugin, the production engines."""
    if request.config.pluginmanager.hasplugin("tests.engines.plugin"):
        environment: Mapping[str, str] = request.getfixturevalue("production_environment")
        return environment
    return inherited_environment()


@pytest.fixture(scope="session")
def stack(
    tmp_path_factory: pytest.TempPathFactory, stack_environment: Mapping[str, str]
) -> Iterator[Stack]:
    """The suite as `make run` starts it. Tests that kill or reconfigure it start one of their own."""
    home: Path = tmp_path_factory.mktemp("silo-home")
    # Tests look at the engines' files before and after; the audit trail is not archived into them meanwhile.
    environment = {**stack_environment, "SILO_AUDIT_SEGMENT_SECONDS": "3600"}
    with Stack(home=home, environment=environment, drain_seconds=1.0) as running:
        yield running
