"""The suite in containers once more, on engines: up when the tests here begin, and down when they end."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from tests.compose.engine_images import engine_images
from tests.compose.images import remove_images
from tests.compose.suite import ComposeSuite, Image
from tests.compose.world import inside_worlds
from tests.isolation.world import World

FILES = ("docker-compose.yml", "docker-compose.engines.yml")


@pytest.fixture(scope="package")
def stack(
    image: Image, docker_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ComposeSuite]:
    """The suite on engines, in the place of the one on embedded ones."""
    stand_ins = engine_images(
        docker_environment, base=image.base, folder=tmp_path_factory.mktemp("engine-images")
    )
    home = tmp_path_factory.mktemp("silo-home")
    try:
        with ComposeSuite(image, home=home, files=FILES, **stand_ins).running() as suite:
            yield suite
    finally:
        remove_images(docker_environment, list(stand_ins.values()))


@pytest.fixture(scope="package")
def gateway(stack: ComposeSuite) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(stack.gateway) as channel:
        yield channel


@pytest.fixture(scope="package")
def worlds(stack: ComposeSuite, gateway: grpc.Channel) -> tuple[World, World]:
    """The isolation suite's two tenants, neighbours by prefix."""
    return inside_worlds(stack, gateway)
