"""The port of objects' lifecycle rules: one suite over every adapter."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from boundary.errors import InvalidArgument
from boundary.scope import ObjectPrefix
from services.storage.files import FileObjects
from services.storage.rules import ObjectRules, Rule, etag_of
from tests.contexts import make_context

EXPORTS = Rule(name="exports", under="exports/", expire_days=7)
BACKUPS = Rule(name="backups", under="backups/", expire_days=30, noncurrent_days=3)


class Stale(Exception):
    """Raised by a change that is not to be made."""


@pytest.fixture
async def rules(tmp_path: Path) -> AsyncIterator[ObjectRules]:
    files = FileObjects(tmp_path)
    files.open()
    yield files.rules()
    await files.settle()
    await asyncio.to_thread(files.close)


def prefix_of(tenant: str) -> ObjectPrefix:
    return make_context(tenant, audience="storage").objects


async def replace(rules: ObjectRules, tenant: str, *wanted: Rule) -> Sequence[Rule]:
    return await rules.change(prefix_of(tenant), lambda _: wanted)


class TestRules:
    """What holds of the rules wherever they stand."""

    async def test_they_come_back_by_name_and_go(self, rules: ObjectRules) -> None:
        assert list(await rules.read(prefix_of("a"))) == []
        assert list(await replace(rules, "a", EXPORTS, BACKUPS)) == [BACKUPS, EXPORTS]
        assert list(await rules.read(prefix_of("a"))) == [BACKUPS, EXPORTS]
        assert list(await replace(rules, "a", EXPORTS)) == [EXPORTS]
        await replace(rules, "a")
        assert list(await rules.read(prefix_of("a"))) == []

    async def test_a_change_sees_what_is_there(self, rules: ObjectRules) -> None:
        await replace(rules, "a", EXPORTS)
        seen: list[Sequence[Rule]] = []

        def add(present: Sequence[Rule]) -> Sequence[Rule]:
            seen.append(list(present))
            return [*present, BACKUPS]

        await rules.change(prefix_of("a"), add)
        assert seen[0] == [EXPORTS]
        assert list(await rules.read(prefix_of("a"))) == [BACKUPS, EXPORTS]

    async def test_a_change_that_refuses_changes_nothing(self, rules: ObjectRules) -> None:
        await replace(rules, "a", EXPORTS)

        def refuse(_: Sequence[Rule]) -> Sequence[Rule]:
            raise Stale

        with pytest.raises(Stale):
            await rules.change(prefix_of("a"), refuse)
        assert list(await rules.read(prefix_of("a"))) == [EXPORTS]

    async def test_neighbours_keep_theirs(self, rules: ObjectRules) -> None:
        for tenant in ("a", "ab", "a-b"):
            await replace(rules, tenant, EXPORTS)
        await replace(rules, "a")
        await replace(rules, "ab", BACKUPS)
        assert list(await rules.read(prefix_of("a"))) == []
        assert list(await rules.read(prefix_of("ab"))) == [BACKUPS]
        assert list(await rules.read(prefix_of("a-b"))) == [EXPORTS]

    async def test_changes_at_once_all_count(self, rules: ObjectRules) -> None:
        def adding(number: int) -> object:
            rule = Rule(name=f"r{number}", under=f"f{number}/", expire_days=1)
            return rules.change(prefix_of("a"), lambda present: [*present, rule])

        await asyncio.gather(*(adding(number) for number in range(4)))  # type: ignore[arg-type]
        names = [rule.name for rule in await rules.read(prefix_of("a"))]
        assert names == ["r0", "r1", "r2", "r3"]

    @pytest.mark.parametrize(
        "wrong",
        [
            [Rule(name="UP", under="a/", expire_days=1)],
            [Rule(name="a", under="../b/", expire_days=1)],
            [Rule(name="a", under="a/")],
            [Rule(name="a", under="a/", expire_days=36_501)],
            [Rule(name="a", under="a/", expire_days=5, archive_days=5)],
            [Rule(name=f"r{number}", under="a/", expire_days=1) for number in range(11)],
        ],
    )
    async def test_rules_out_of_order_are_refused(
        self, rules: ObjectRules, wrong: list[Rule]
    ) -> None:
        await replace(rules, "a", EXPORTS)
        with pytest.raises(InvalidArgument):
            await replace(rules, "a", *wrong)
        assert list(await rules.read(prefix_of("a"))) == [EXPORTS]

    async def test_an_etag_is_the_rules(self, rules: ObjectRules) -> None:
        empty = etag_of(await rules.read(prefix_of("a")))
        one = etag_of(await replace(rules, "a", EXPORTS))
        assert etag_of(await rules.read(prefix_of("a"))) == one != empty
        await replace(rules, "a")
        assert etag_of(await rules.read(prefix_of("a"))) == empty
