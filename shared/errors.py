"""What can go wrong, in our own words. Exceptions of libraries are translated at the edge where they appear."""


class TrackerError(Exception):
    """Base of everything this project raises on purpose."""


class ServerTrouble(TrackerError):
    """A server that we need is in trouble: `part` names it in a word that an operator knows, `reason` says why."""

    def __init__(self, part: str, reason: str) -> None:
        super().__init__(f"{part}: {reason}")
        self.part = part
        self.reason = reason


class Unavailable(ServerTrouble):
    """What was asked for has certainly not happened, and may be tried again. `supervise()` restarts a service that
    raises this."""


class OutcomeUnknown(ServerTrouble):
    """The request reached the server but no answer came back: it may have been done, or not."""


class Refused(TrackerError):
    """The caller's mistake. The text says what was wrong, what was expected and what to do."""


class NoSuchAccount(TrackerError):
    """There is no account of this ID."""

    def __init__(self, account_id: int) -> None:
        super().__init__(f"There is no account {account_id}.")
        self.account_id = account_id


class AccountNotActive(TrackerError):
    """The account exists but takes no events."""

    def __init__(self, account_id: int) -> None:
        super().__init__(f"Account {account_id} is not active.")
        self.account_id = account_id


class Misconfigured(TrackerError):
    """The program can't start, or go on, with these settings or on this machine. The text says what to change."""


def first_leaf(error: BaseException) -> BaseException:
    """The first exception in a group that is no group itself; an exception outside of any group is its own."""
    return first_leaf(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error
