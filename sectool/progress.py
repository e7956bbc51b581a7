"""How an operation tells what it is doing, without knowing who looks."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives what a run is doing; every call returns quickly and never raises."""

    @property
    def shows_totals(self) -> bool:
        """Whether counting ahead is worth its time."""

    def begin(self, stage: str, total: int | None) -> None:
        """A stage starts; ``total`` counts its messages, None while unknown."""

    def advance(self, messages: int = 1) -> None:
        """``messages`` more are done in the current stage."""

    def end(self) -> None:
        """The current stage is over."""

    def note(self, text: str) -> None:
        """One line worth telling a person who asked for details (``-v``)."""

    def warn(self, text: str, *, hint: str = "") -> None:
        """One line that a person should see: the run goes on, but something is amiss."""


class NoProgress:
    """A ``Progress`` that does nothing: the default of every operation."""

    shows_totals = False

    def begin(self, stage: str, total: int | None) -> None:
        pass

    def advance(self, messages: int = 1) -> None:
        pass

    def end(self) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def warn(self, text: str, *, hint: str = "") -> None:
        pass
