"""What is said of an old key: whether the mail of one mailbox may need it, and which mail.

One mailbox is all that is ever looked at. Nothing here says of a key that it can go.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

from sectool.outcome import Identity
from sectool.values import dataclass

NOT_LOOKED_AT = ("other mailboxes", "shared folders", "backups", "holds", "files")
"""Where mail may lie that needs an old key, and where nobody looked."""


class Answer(StrEnum):
    """The one answer for an old key; the words are those of the JSON document."""

    NOT_NEEDED = "not needed here"
    UNCLEAR = "unclear"
    NEEDED = "needed"

    @classmethod
    def worst(cls, answers: Iterable[Answer]) -> Answer:
        """That which speaks most for keeping the key; of none: it is not needed."""
        order = tuple(cls)
        return max(answers, key=order.index, default=cls.NOT_NEEDED)


@dataclass(frozen=True, slots=True)
class Claim:
    """One message, as a rule, that an old key is needed for or may be."""

    answer: Answer
    """``needed`` or ``unclear``."""
    reason: str
    remedy: str
    """What would settle it."""
    folder: str = ""
    """Empty where it is no message."""
    ref: str = ""
    """Where it lies, or lay last; empty where it has no place in the mailbox."""
    message_id: str = ""
    date: str = ""
    """Of its header, else of its arrival, ISO 8601; empty where it is not known."""
    identity: Identity = Identity("")
    """What a person names it by to give it up; empty where nobody can."""
    acknowledged: bool = False
    """Whether a person said that they know of it; that settles nothing."""


@dataclass(frozen=True, slots=True)
class GivenUp:
    """What a person will do without, so that it counts against a key no more."""

    identity: Identity
    reason: str
    by_whom: str
    """User name and number."""
    at: datetime
    claim: Claim | None = None
    """What was given up, as it was found; None where only the log was asked."""


@dataclass(frozen=True, slots=True)
class LookedAt:
    """What was read before the answer was given."""

    mailbox: str
    """URL."""
    messages: int
    folders: int
    at: datetime
