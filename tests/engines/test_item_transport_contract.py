"""Items out of a table and into another, on a DynamoDB-protocol engine."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.contract.test_item_transport")

from tests.contract.test_item_transport import *  # noqa: E402, F403 - the suite's tests run here again
from tests.engines.test_table_contract import calls, clock, table  # noqa: E402, F401 - on this engine
