"""How an operation tells what it is doing, without knowing who looks."""

from __future__ import annotations

from typing import Protocol

from sectool.outcome import Outcome


class Progress(Protocol):
    """Receives what a run is doing; every call returns quickly and never raises."""

    @property
    def shows_totals(self) -> bool:
        """Whether counting ahead is worth its time."""

    @property
    def hears_outcomes(self) -> bool:
        """Whether anybody wants to know what becomes of each message."""

    def begin(self, stage: str, total: int | None) -> None:
        """A stage starts; ``total`` counts its messages, None while unknown."""

    def advance(self, messages: int = 1) -> None:
        """``messages`` more are done in the current stage."""

    def end(self) -> None:
        """The current stage is over."""

    def note(self, text: str) -> None:
        """One line worth telling a person who asked for details (``-v``)."""

    def outcome(self, outcome: Outcome) -> None:
        """What became of one message, as it happens."""

    def warn(self, text: str, *, hint: str = "") -> None:
        """One line that a person should see: the run goes on, but something is amiss."""


class NoProgress:
    """A ``Progress`` that does nothing: the default of every operation."""

    shows_totals = False
    hears_outcomes = False

    def begin(self, stage: str, total: int | None) -> None:
        pass

    def advance(self, messages: int = 1) -> None:
        pass

    def end(self) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def outcome(self, outcome: Outcome) -> None:
        pass

    def warn(self, text: str, *, hint: str = "") -> None:
        pass


def size_text(size: float) -> str:
    """Bytes in the unit a person would use: kB, MB and GB are powers of a thousand."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "bytes" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError
