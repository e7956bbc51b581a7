"""What lies in clear, where, and for how long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from datetime import datetime

from sectool.values import dataclass


@dataclass(frozen=True, slots=True)
class Lying:
    """Things that lie somewhere, and since when."""

    count: int = 0
    bytes: int = 0
    """Of plaintext."""
    since: datetime | None = None
    """When the oldest came there; None: there are none, or it is not known."""

    @classmethod
    def total(cls, several: Sequence[Lying]) -> Lying:
        """Those of several places together."""
        moments = [each.since for each in several if each.since is not None]
        return cls(
            sum(each.count for each in several),
            sum(each.bytes for each in several),
            min(moments, default=None),
        )


@dataclass(frozen=True, slots=True)
class Plaintext:
    """Where what was encrypted lies in clear, and for how long."""

    checkpoints: Lying
    """In the job directory, for anybody to read who can read it."""
    sealed: Lying
    """In the job directory, encrypted."""
    in_mailbox: Lying
    """Messages that were decrypted in place."""
    asked: datetime = field(compare=False)
    """When this was."""
    sealed_to: tuple[str, ...] = ()
    """SHA-256 fingerprints of the certificates that open the sealed ones."""

    @classmethod
    def total(cls, several: Sequence[Plaintext]) -> Plaintext:
        """That of several jobs, at least one, together."""
        return cls(
            checkpoints=Lying.total([each.checkpoints for each in several]),
            sealed=Lying.total([each.sealed for each in several]),
            in_mailbox=Lying.total([each.in_mailbox for each in several]),
            asked=max(each.asked for each in several),
            sealed_to=tuple(sorted({name for each in several for name in each.sealed_to})),
        )

    @property
    def since(self) -> datetime | None:
        """When the oldest came to where it lies; None: nothing lies anywhere."""
        moments = (self.checkpoints.since, self.in_mailbox.since)
        return min((moment for moment in moments if moment is not None), default=None)

    @property
    def days(self) -> int:
        """Whole days since then; 0 where there is nothing."""
        return 0 if self.since is None else self.days_since(self.since)

    def days_since(self, moment: datetime) -> int:
        """Whole days from a moment until this was asked."""
        return max(0, (self.asked - moment).days)
