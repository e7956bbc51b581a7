"""What a survey of a message found: what can be taken, and what speaks of more."""

from __future__ import annotations

from dataclasses import field

from sectool.outcome import State
from sectool.smime.parts import CoveredPart, EncryptedPart, Unreached
from sectool.values import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that decides on the state of a message."""

    state: State
    reason: str
    hides_recipients: bool = False
    """Whether S/MIME is, or may be, in it whose recipients nobody could read."""
    path: str | None = None
    """Section of the entity that it is of; None: it is told otherwise what lies there."""


@dataclass(slots=True)
class Findings:
    """What a survey found, in the order of the message."""

    parts: list[EncryptedPart] = field(default_factory=list)
    covered: list[CoveredPart] = field(default_factory=list)
    """Encrypted parts in contents that exist only decoded."""
    others: list[Finding] = field(default_factory=list)
    """All that is neither clear nor one of ``parts``."""
    unreached: list[Unreached] = field(default_factory=list)
    """Envelopes that are counted and never taken."""
    noticed: list[str] = field(default_factory=list)
    """What is odd in what is not encrypted, for a person."""
    uninspected: int = 0
    """Attached archives that cannot be looked into, and may hold mail."""
    is_signed: bool = False
    """Whether the message as a whole is signed."""
    at: str = ""
    """Section of the entity that is looked at."""

    @property
    def hidden(self) -> str:
        """Why there may be recipients that could not be read; empty where there are none."""
        return next((finding.reason for finding in self.others if finding.hides_recipients), "")

    @property
    def uncounted(self) -> str:
        """Why there may be envelopes beside those among the parts; empty where there are none."""
        return self.hidden or next((one.reason for one in self.unreached if one.sets_state), "")

    def note(self, state: State, reason: str) -> None:
        """Adds a finding."""
        self.others.append(Finding(state, reason, path=self.at))

    def note_hidden(self, reason: str, state: State = State.UNSUPPORTED) -> None:
        """Adds S/MIME whose recipients cannot be read."""
        finding = Finding(state, reason, hides_recipients=True, path=self.at)
        self.others.append(finding)
