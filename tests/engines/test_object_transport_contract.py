"""Objects into archives and out of them, against a real S3 server."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.contract.test_object_transport")

from tests.contract.test_object_transport import *  # noqa: E402, F403 - the suite's tests run here again
from tests.engines.test_objects_contract import bucket, objects  # noqa: E402, F401 - on this engine
