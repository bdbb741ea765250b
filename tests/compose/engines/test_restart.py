"""On engines too, nothing acknowledged is lost when services are restarted under load, or all is taken down."""

# The same tests with this folder's stack.
from tests.compose.test_restart import *  # noqa: F403
