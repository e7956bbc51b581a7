"""What it means that a replacement is finished, or that it failed."""

from __future__ import annotations

from sectool.errors import MessageChanged, MessageError, MessageVanished
from sectool.joblog import Purpose
from sectool.outcome import Proof, State
from sectool.values import dataclass


@dataclass(frozen=True, slots=True)
class Meaning:
    """What it means that a replacement is finished."""

    state: State
    proof: Proof | None
    keeps_original: bool
    """Whether the copy that is replaced must be kept first."""


MEANINGS = {
    Purpose.ENCRYPT: Meaning(State.REENCRYPTED, Proof.STRUCTURAL, keeps_original=True),
    Purpose.REWRAP: Meaning(State.REWRAPPED, Proof.STRUCTURAL, keeps_original=True),
    Purpose.ROLLBACK: Meaning(State.ROLLED_BACK, None, keeps_original=False),
    Purpose.DECRYPT: Meaning(State.DECRYPTED, None, keeps_original=True),
    Purpose.BRING_BACK: Meaning(State.REENCRYPTED, Proof.STRUCTURAL, keeps_original=False),
}


def state_after(error: MessageError) -> State:
    """Changed, where somebody did something to the message meanwhile; else failed."""
    return State.CHANGED if isinstance(error, (MessageChanged, MessageVanished)) else State.FAILED
