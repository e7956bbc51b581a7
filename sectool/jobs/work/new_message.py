"""What a worker hands over: a new message that is written and proven, and what it replaces."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar

from sectool import durable
from sectool.joblog import SealablePart
from sectool.jobs.work.work import MailboxContext
from sectool.mailbox import Access
from sectool.message import FileContent, Inheritable, MessageRef, StoredMessage
from sectool.outcome import Identity, MessageDigest
from sectool.sight import Sight
from sectool.values import dataclass

AnswerT = TypeVar("AnswerT")


@dataclass(frozen=True, slots=True)
class NewFiles:
    """Where workers write new messages."""

    directory: Path
    prefix: str
    """Their names begin so, so that a later run knows them for this job's."""
    is_of_mailbox: bool = False
    """Whether they come into the mailbox as they are, and are not copied."""

    def of(self, message: int) -> Path:
        """The path of a file for a message, that is not there yet."""
        return self.directory / f"{self.prefix}{message}.{os.urandom(4).hex()}"

    def finish(
        self, content: FileContent, stream: BinaryIO, inheritance: Inheritable | None
    ) -> FileContent:
        """Gives a new file all that it is to have, where it will not be copied.

        Args:
            content: the file.
            stream: the same, open, with nothing left to write.
            inheritance: as ``StoredMessage`` has it.

        Raises:
            MessageError: it cannot be given its owner.
            SectoolError: it cannot be given another thing.
        """
        if inheritance is None or not self.is_of_mailbox:
            return content
        with durable.explained("write a new message"):
            inheritance.give(stream.fileno())
        return replace(content, inherited=inheritance)


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
    taken: SealablePart | None = None
    """What was made of a message in clear; None: it was encrypted before."""

    @property
    def ref(self) -> MessageRef:
        """The stored copy to be replaced."""
        return self.old.ref

    def read_back(self, sight: Sight) -> NewMessage:
        """The same, once the disk gave back what was written."""
        content = replace(self.written.content, sight=sight)
        return replace(self, written=replace(self.written, content=content))


class _Argument(Protocol):
    @property
    def mailbox(self) -> Access:
        """How it is opened."""

    @property
    def files(self) -> NewFiles:
        """The new messages."""


class WritingContext(MailboxContext):
    """What a worker that writes new messages holds open.

    Args:
        argument: says where to.
    """

    def __init__(self, argument: _Argument) -> None:
        super().__init__(argument)
        self.files = argument.files

    def settle(self, answers: Sequence[AnswerT]) -> list[AnswerT | NewMessage]:
        """Makes the new messages of a batch durable, and tells which the disk gives back.

        The others are left to the store, which does the same and says what is wrong.

        Raises:
            SectoolError: a sync failed.
        """
        new = {
            place: answer
            for place, answer in enumerate(answers)
            if isinstance(answer, NewMessage)
            and answer.written.content.inherited is not None
            and answer.written.content.path.is_file()  # what somebody removed costs one message
        }
        files = [one.written.content.path for one in new.values()]
        with durable.explained("make the new copies durable"):
            read = durable.sync_and_read_back(files, "spool.sync")
        settled: list[AnswerT | NewMessage] = list(answers)
        for (place, one), back in zip(new.items(), read, strict=True):
            if back.sight is not None and back.digest == one.written.content.digest:
                settled[place] = one.read_back(back.sight)
        return settled
