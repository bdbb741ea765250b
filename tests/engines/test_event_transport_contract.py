"""Events out of an index and into another, on a real OpenSearch."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.contract.test_event_transport")

from tests.contract.test_event_transport import *  # noqa: E402, F403 - the suite's tests run here again
from tests.engines.test_index_contract import client, indexes  # noqa: E402, F401 - on this engine
