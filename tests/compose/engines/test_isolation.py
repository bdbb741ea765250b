"""The isolation suite against the suite in containers on engines."""

# The same tests with this folder's stack. What begins with an underscore is not in the star.
from tests.isolation.test_tenants_attack import *  # noqa: F403
from tests.isolation.test_tenants_attack import _victims_are_unharmed  # noqa: F401
