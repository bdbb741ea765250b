"""Which shard a write goes to."""

from collections import Counter

import pytest

from services.table.sharding import MAX_SHARDS, shard_key, shard_of


def test_a_retry_goes_to_the_shard_of_before():
    for token in ("a", "ä", ""):
        assert {shard_of(token, 8) for _ in range(5)} == {shard_of(token, 8)}
        assert shard_of(token, 1) == 0


def test_writes_spread_evenly():
    spread = Counter(shard_of(f"request-{n}", 8) for n in range(8000))
    assert set(spread) == set(range(8))
    assert all(850 < count < 1150 for count in spread.values())


def test_shards_follow_the_item_itself():
    keys = [shard_key("ANALYTICS#2024-01-15#OPENS", shard) for shard in range(3)]
    assert keys[0] == "ANALYTICS#2024-01-15#OPENS"
    assert keys == sorted(keys)
    assert all(key.startswith(keys[0]) for key in keys)


@pytest.mark.parametrize("shards", [0, -1, MAX_SHARDS + 1])
def test_the_number_of_shards_is_bounded(shards: int):
    with pytest.raises(ValueError, match="shards"):
        shard_of("token", shards)
