"""The exceptions of the fleet. Its callers import them too."""


class Declined(Exception):
    """A bank refuses a payment."""

    def __init__(self, reason, code):
        super().__init__(reason, code)
        self.reason, self.code = reason, code


class InsufficientFunds(Exception):
    """An account lacks an amount."""


class Unavailable(Exception):
    """A service does not answer."""
