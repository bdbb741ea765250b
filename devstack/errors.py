"""Why a suite cannot be started, in words for its user."""


class StackError(Exception):
    """The suite cannot start; the text says why and what to do about it."""


class AddressError(StackError):
    """An address is malformed or taken; the text names the variable that sets it."""


class HomeBusy(StackError):
    """Another suite runs on this home."""


class ProcessError(StackError):
    """A process cannot start or is not ready in time; the text shows the end of its log."""


class OnboardingError(StackError):
    """The tenants cannot be onboarded."""
