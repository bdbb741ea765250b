"""Write sharding: a counter that is written more often than one item can be, spread over several.

An item takes about 1,000 writes a second on DynamoDB (developer guide, "Best practices for designing and
using partition keys"). Shard 0 of a counter is the counter's own item, and the others follow it in key
order; so shards may be added at any time, and reads find and add up whatever shards there are.
"""

from __future__ import annotations

import hashlib

SEPARATOR = "#"

MAX_SHARDS = 64


def shard_of(token: str, shards: int) -> int:
    """The shard that a write with this idempotency token goes to: the same for a retry.

    Raises:
        ValueError: the number of shards is not between 1 and MAX_SHARDS.
    """
    if not 1 <= shards <= MAX_SHARDS:
        raise ValueError(f"a counter has 1 to {MAX_SHARDS} shards")
    if shards == 1:
        return 0
    digest = hashlib.blake2b(token.encode(), digest_size=8).digest()
    return int.from_bytes(digest) % shards


def shard_key(key: str, shard: int) -> str:
    """The key of a counter's shard. With a prefix of the counter's key it is read with it."""
    return key if shard == 0 else f"{key}{SEPARATOR}{shard}"
