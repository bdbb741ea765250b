"""How long items are kept, on a DynamoDB-protocol engine."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.contract.test_item_retention")

from tests.contract.test_item_retention import *  # noqa: E402, F403 - the suite's tests run here again
from tests.engines.test_table_contract import calls, clock, table  # noqa: E402, F401 - on this engine
