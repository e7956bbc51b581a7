"""What a worker hands over: a new message that is written and proven, and what it replaces."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sectool.message import FileContent, MessageRef, Sight, StoredMessage
from sectool.outcome import Identity, MessageDigest


@dataclass(frozen=True, slots=True)
class NewFiles:
    """Where workers write new messages."""

    directory: Path
    prefix: str
    """Their names begin so, so that a later run knows them for this job's."""

    def of(self, message: int) -> Path:
        """The path of a file for a message, that is not there yet."""
        return self.directory / f"{self.prefix}{message}.{os.urandom(4).hex()}"


@dataclass(frozen=True, slots=True)
class WrittenMessage:
    """New bytes, unsynced and proven against what was to be written."""

    content: FileContent
    identity: Identity
    """What they will be known by."""
    opens_to: tuple[tuple[str, str], ...] = ()
    """Path of each part with the SHA-256 it opens to, where that is not what it was."""
    is_rewrapped: bool = False
    """Whether the content of a part is encrypted as it was."""


@dataclass(frozen=True, slots=True)
class ReadCopy:
    """A stored copy, as it was when a new message was made of it."""

    ref: MessageRef
    revision: str
    digest: MessageDigest = MessageDigest("")
    """SHA-256 of its bytes."""
    sight: Sight | None = None
    """As ``StoredMessage`` has it."""

    @classmethod
    def of(cls, stored: StoredMessage) -> ReadCopy:
        """What of a message stays once its bytes are gone."""
        digest = MessageDigest(stored.content.digest)
        return cls(stored.ref, stored.revision, digest, stored.sight)


@dataclass(frozen=True, slots=True)
class NewMessage:
    """New bytes for one message of the job."""

    message: int
    """Number of its row in the log."""
    old: ReadCopy
    """To be replaced."""
    written: WrittenMessage
    keeps_original: bool = True
    """Whether the copy that is replaced is kept where its purpose asks for that: a
    plaintext never is."""
    note: str = ""
    """Step to write down with it; empty: none."""

    @property
    def ref(self) -> MessageRef:
        """The stored copy to be replaced."""
        return self.old.ref
