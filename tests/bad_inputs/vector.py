"""What a bad input is made from, and what must become of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sectool.errors import (
    DecryptionFailed,
    LimitExceeded,
    MalformedMessage,
    MessageError,
    MissingKey,
    NotAccepted,
    UnsupportedMessage,
)
from sectool.outcome import State

if TYPE_CHECKING:
    from tests.bad_inputs.people import Forger

CONTENT = b"Content-Type: text/plain\r\n\r\nThe plans are in the blue folder.\r\n"
"""What most vectors were made from."""

OPENS = None
"""Instead of a class of failure."""

STATES: dict[type[MessageError] | None, State] = {
    OPENS: State.CHECKPOINTED,
    MalformedMessage: State.MALFORMED,
    LimitExceeded: State.UNSUPPORTED,
    DecryptionFailed: State.MALFORMED,
    UnsupportedMessage: State.UNSUPPORTED,
    MissingKey: State.MISSING_KEY,
    NotAccepted: State.REVIEW,
}


@dataclass(frozen=True)
class Envelope:
    """A CMS envelope; as a message it is the body of honest mail."""

    number: str
    """In the list of bad inputs; empty: nothing is wrong with it."""
    name: str
    """Who can read it, its layers from the inside out, and what is special."""
    make: Callable[[Forger], bytes]
    fails: type[MessageError] | None
    """The class of failure when the CMS is opened; OPENS: none."""
    content: bytes | None = CONTENT
    """What it opens to; None: damage that no reader can notice is in it."""
    state: State | None = None
    """Of the message, where it does not follow from the class of failure."""
    effort: float = 25
    """How much work it may be: see ``tests.support.effort``."""

    @property
    def message_state(self) -> State:
        """What a job says of it."""
        return self.state or STATES[self.fails]


@dataclass(frozen=True)
class Message:
    """A whole stored message."""

    number: str
    name: str
    make: Callable[[Forger], bytes]
    message_state: State
    """What a job says of it."""
    reason: str = ""
    """Words of the reason a person is told; empty for what needs none."""
    effort: float = 25
    """How much work it may be: see ``tests.support.effort``."""
