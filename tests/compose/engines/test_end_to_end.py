"""The suite in containers on engines, used as a person would."""

# The same tests with this folder's stack.
from tests.compose.test_end_to_end import *  # noqa: F403
