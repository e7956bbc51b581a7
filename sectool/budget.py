"""What one message or key file may cost beyond being read: counted, and the same on every machine.

Reading, hashing and ciphers grow with the size of a message and are bounded by nothing else.
What a stranger can ask for beyond that, with a few bytes each, is spent from a budget. It is
made where the work on a message or a file begins, and whoever does such work spends from the
one that is current, wherever the message lies by then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from enum import StrEnum

from sectool.errors import BudgetExceeded, LimitExceeded

MOST_FACTOR = 1_000
"""Largest factor that the limits can be multiplied by."""


class Work(StrEnum):
    """What is counted, in the words of the reason that is given."""

    SIZE = "bytes in one message"
    PRIVATE_KEY = "private-key operations"
    DERIVATION = "key-derivation rounds"
    VERIFICATION = "signature verifications"
    READING = "bytes read again"
    DECOMPRESSION = "bytes decompressed"
    ARCHIVE = "bytes unpacked from archives"
    VALIDATION = "validations of private keys"


MESSAGE: Mapping[Work, int] = {
    Work.SIZE: 4 * 1024**3,
    Work.PRIVATE_KEY: 10_000,
    Work.DERIVATION: 10_000_000,
    Work.VERIFICATION: 5_000,
    Work.READING: 256 * 1024 * 1024,
    Work.DECOMPRESSION: 256 * 1024 * 1024,
    Work.ARCHIVE: 64 * 1024 * 1024,
}
"""The limits of one message; docs/limits.md says why each is what it is."""

READINGS = 100
"""So many times the size of a message ``Work.READING`` may be besides."""

KEY_FILE: Mapping[Work, int] = {
    Work.DERIVATION: 50_000_000,
    Work.VALIDATION: 1_000,
}
"""The limits of one key file."""


class Budget:
    """What may still be spent on one message or file.

    Args:
        limits: of each kind of work.
        factor: they are multiplied by, since a person asked for it.
    """

    def __init__(self, limits: Mapping[Work, int], factor: int = 1) -> None:
        self._factor = factor
        self._limits = {work: limit * factor for work, limit in limits.items()}
        self._left = dict(self._limits)
        self.reason = ""
        """Which limit ended the work, in words; empty where none did."""
        self.has_declined = False
        """Whether something was not begun that a larger budget would have afforded."""

    def spend(self, work: Work, amount: int = 1) -> None:
        """Counts work before it is done.

        Raises:
            BudgetExceeded: it is beyond the limit, as all that follows is.
        """
        self._left[work] -= amount
        if self._left[work] < 0:
            self.reason = self.reason or f"{self._beyond(work)}{self.remedy}"
            raise BudgetExceeded(self.reason)

    def spend_if_left(self, work: Work, amount: int) -> None:
        """As ``spend``, for work that the message does without.

        Raises:
            LimitExceeded: it is beyond the limit.
        """
        self._left[work] -= amount
        if self._left[work] < 0:
            raise LimitExceeded(self._beyond(work))

    def left(self, work: Work) -> int:
        """How much more of one kind may be spent."""
        return self._left[work]

    def decline(self) -> str:
        """Notes that something is not begun, for want of what is left; how to have it done."""
        self.has_declined = True
        return self.remedy

    def spent(self, work: Work) -> int:
        """How much of one kind was counted so far."""
        return self._limits[work] - self._left[work]

    @property
    def remedy(self) -> str:
        """How to have more done, to end a reason with; empty where nothing helps."""
        harder = min(10 * self._factor, MOST_FACTOR)
        return f"; --limit-factor {harder} tries harder" if harder > self._factor else ""

    def _beyond(self, work: Work) -> str:
        return f"beyond the limit of {self._limits[work]:,} {work.value}"


_factor: ContextVar[int] = ContextVar("limit_factor", default=1)
_current: ContextVar[Budget | None] = ContextVar("budget", default=None)


def limit_factor() -> int:
    """What the limits are multiplied by in this run."""
    return _factor.get()


def set_limit_factor(factor: int) -> None:
    """Multiplies the limits of all budgets that this process makes from now on."""
    _factor.set(factor)


@contextmanager
def limits_times(factor: int) -> Iterator[None]:
    """Multiplies the limits of all budgets that are made meanwhile."""
    token = _factor.set(factor)
    try:
        yield
    finally:
        _factor.reset(token)


def limit_of(work: Work) -> int:
    """What one message may ask for at most."""
    return MESSAGE[work] * limit_factor()


def current() -> Budget:
    """The budget of the message or file at hand; a new one for whoever works on neither."""
    return _current.get() or Budget({**MESSAGE, **KEY_FILE}, limit_factor())


@contextmanager
def spending(budget: Budget) -> Iterator[Budget]:
    """Makes a budget the current one."""
    token = _current.set(budget)
    try:
        yield budget
    finally:
        _current.reset(token)


def of_message(size: int) -> AbstractContextManager[Budget]:
    """Makes the budget of one message current while it is worked on.

    Args:
        size: bytes as stored.
    """
    reading = MESSAGE[Work.READING] + READINGS * size
    return spending(Budget({**MESSAGE, Work.READING: reading}, limit_factor()))


def of_key_file() -> AbstractContextManager[Budget]:
    """Makes the budget of one key file current while it is read."""
    return spending(Budget(KEY_FILE, limit_factor()))
