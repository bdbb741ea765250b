"""The suite in containers, built and brought up once; for `make test-compose`, and never for `make test`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.compose.images import base_image, build_context, remove_images
from tests.compose.programs import compose_command, docker_engine
from tests.compose.suite import ComposeSuite, Image
from tests.compose.world import inside_worlds
from tests.isolation.conftest import gateway
from tests.isolation.world import World

__all__ = ["gateway"]  # the isolation suite's own, here on the suite in containers

HERE = Path(__file__).parent


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Containers are for those who ask for them: the folder or a file in it must be named."""
    named = (config.invocation_params.dir / arg.partition("::")[0] for arg in config.args)
    return None if any(path.resolve().is_relative_to(HERE) for path in named) else True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test builds the image, on a machine that has nothing yet from the packages up."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.timeout(900), append=False)


@pytest.fixture(scope="session")
def docker_environment() -> Iterator[dict[str, str]]:
    # Not under the tests' folder: a socket's path may have 107 characters.
    with docker_engine(Path(f"/tmp/silo-compose-{os.getpid()}")) as environment:
        yield environment


@pytest.fixture(scope="session")
def image(
    docker_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Image]:
    """The suite's image, built by compose."""
    context = tmp_path_factory.mktemp("context")
    build_context(context)
    base, stand_in = base_image(docker_environment)
    project = f"silo-test-{os.getpid()}"
    name = f"{project}:dev"
    made = Image(
        context=context,
        base=base,
        command=tuple(compose_command(docker_environment)),
        environment={
            **docker_environment,
            "COMPOSE_PROJECT_NAME": project,
            "SILO_IMAGE": name,
            "SILO_PYTHON_IMAGE": base,
        },
    )
    try:
        made.build()
        yield made
    finally:
        remove_images(docker_environment, [name, *([base] if stand_in else [])])


@pytest.fixture(scope="session")
def stack(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposeSuite]:
    """The suite in containers, in the place of the one in processes."""
    with ComposeSuite(image, home=tmp_path_factory.mktemp("silo-home")).running() as suite:
        yield suite


@pytest.fixture(scope="session")
def worlds(stack: ComposeSuite, gateway: grpc.Channel) -> tuple[World, World]:
    """The isolation suite's two tenants, neighbours by prefix."""
    return inside_worlds(stack, gateway)
