"""The seam between the engine and every store of mail.

Terminology. A *mailbox* is the whole store of one person, a *folder* one list
of messages in it. A *copy* is one message as it lies there. A *revision* is
the compare-and-swap token of one copy.

Reading is ``folders``, ``walk`` and ``fetch``; none of them changes anything.

Writing is one intent and three acts, each on a batch, and the engine writes
its job log between them:

1. ``intend`` chooses where the new copies will come. Nothing is written to the
   mailbox; the engine logs the answer.
2. ``write`` writes the new copies where no mail program sees them.
3. ``place`` makes them durable, reads them back past the page cache, compares
   them, and places them in their folders, durably.
4. ``retire`` looks again that each old copy is still there, unchanged and not
   newly deleted, carries its flags over, and removes it, durably.

Where a new copy can only take the old one's place (``Retirement.RENAME``), it
lies durably beside once it is placed, and comes in by the act that retires.

A message that takes no other's place is added: an intent that replaces
nothing, for which there is nothing to retire.

After a crash ``find`` tells for intents which of these happened, and
``abandon`` removes what was written and never placed.

Batch calls answer one value per entry, in order: the result, or the
``MessageError`` that cost this message. An error that concerns the whole
batch (a full disk, a failed sync) is raised, and then nothing of the batch
may be relied on. ``errors.Again`` grades it: one that is for now is gone on with
by the code that runs after a crash.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from sectool.errors import MessageChanged, MessageError, ReadOnlyMailbox
from sectool.mailbox.access import Access, Ahead, MailboxSpecification, MessageHead, MessageSource
from sectool.message import Content, Flags, Intent, Listing, MessageRef, StoredMessage
from sectool.sight import Sight
from sectool.values import dataclass


class Unit(Enum):
    """What changes by one act."""

    MESSAGE = "message"
    FOLDER = "folder"
    """Retiring writes a whole folder anew, so it is asked once for all of one."""


class Retirement(Enum):
    """How the old copy goes."""

    UNLINK = "unlink"
    """For a moment there are two copies: the old one is removed after the new one was placed."""
    RENAME = "rename"
    """There is never a second copy: ``place`` answers what lies durably beside, and it comes
    into the mailbox as the old one goes. An addition is there once it is placed."""


class Keeps(Enum):
    """What comes back of what was written."""

    EXACT = "exact"
    """Its bytes: ``place`` and ``find`` hold it against the digest."""
    REWRITTEN = "rewritten"
    """The same mail, perhaps in other bytes; the engine looks what each copy is."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a store can do; the engine branches on these, never on its kind."""

    writable: bool
    read_only_because: str = ""
    """Why it is not, where the store does not write mailboxes of this kind."""
    read_only_hint: str = "check its owner, mode and mount options"
    """What to do about it."""
    unit: Unit = Unit.MESSAGE
    retirement: Retirement = Retirement.UNLINK
    keeps: Keeps = Keeps.EXACT
    connections: int | None = None
    """So many processes may have it open at once, the run's own among them; None: any number.
    Where it is the run alone, workers are given what ``fetch_ahead`` fetched."""
    spool_directory: Path | None = None
    """A directory on the mailbox's file system from which ``write`` can take a
    file over by renaming it; None: ``write`` copies."""


@dataclass(frozen=True, slots=True)
class Replace:
    """New bytes for one stored copy."""

    ref: MessageRef
    """The copy to be replaced."""
    content: Content
    revision: str
    """Of the copy the new bytes were made from."""
    sight: Sight | None = None
    """As ``StoredMessage`` had it."""


@dataclass(frozen=True, slots=True)
class Add:
    """A message that comes into the mailbox and takes no other's place."""

    folder: str
    """ASCII letters and digits where it is not there yet; it is made with the message."""
    content: Content
    internal_date: datetime


@dataclass(frozen=True, slots=True)
class Written:
    """A new copy on its way into the mailbox."""

    intent: Intent
    flags: Flags
    """Of the old copy, as far as the new one has them: the base of the later merge."""

    @classmethod
    def as_intended(cls, intent: Intent) -> Written:
        """One of which no more is known than its intent."""
        return cls(intent, intent.flags)

    def merged(self, *, old: Flags, new: Flags) -> Merge:
        """What the new copy is to have of the flags that both copies have now.

        Raises:
            MessageChanged: the old one was marked as deleted meanwhile.
        """
        told = self.intent.told
        base = self.flags if told is None else new.agreed(base=self.flags, told=told)
        if old.deleted and not (base.deleted or new.deleted):
            raise MessageChanged(f"the message {self.intent.replaced} was marked as deleted")
        return Merge(self.intent, base, old, new.merged(base=base, other=old))

    def carried(self, merge: Merge) -> Written:
        """After a merge: the new copy has all that the old one had then."""
        return replace(self, intent=replace(self.intent, told=None), flags=merge.old)


@dataclass(frozen=True, slots=True)
class Merge:
    """Flags on their way from an old copy to a new one.

    The log is told before the new copy is given any: after a kill it says which flags of the
    new copy came from the old one, so that what is cleared since is not set again.
    """

    intent: Intent
    base: Flags
    """Of the old copy, as far as the new one has them."""
    old: Flags
    """Of the old copy now."""
    new: Flags
    """What the new copy is to have."""

    @property
    def is_needed(self) -> bool:
        return self.old != self.base


Note = Callable[[Sequence[Merge]], object]
"""Told of merges before they are carried out."""


def note_nothing(_: Sequence[Merge]) -> None:
    """Where no log is kept."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A new copy that lies durably in its folder, or beside it (``Retirement.RENAME``)."""

    written: Written
    ref: MessageRef
    """Beside: of the copy whose place it will take."""
    revision: str
    hint: str
    """The listing hint the store will give for it."""


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """What ``find`` found of one intent."""

    copies: tuple[Placed, ...]
    """Whatever may be the new copy, durable: whole and with the intended digest, or
    (``Keeps.REWRITTEN``) anything that came since. One that lies beside is among them only
    as long as the old one is there, since it can come in no other way."""
    old_present: bool
    """Whether the copy to be replaced is still there with its revision."""
    unclear: MessageError | None = None
    """Why one of the two could not be looked at; the others say nothing then."""


class Mailbox(MessageSource):
    """One person's store. Not thread-safe; each process opens its own."""

    specification: MailboxSpecification
    capabilities: Capabilities
    access: Access
    """How another process opens it; set by ``open_mailbox``."""

    @abstractmethod
    def lock(self) -> AbstractContextManager[object]:
        """Keeps other runs of this program out of the mailbox; no mail program waits for it.

        Raises:
            Locked: on entering, when another run holds it.
        """

    def is_in_use(self) -> bool:
        """Whether another run of this program holds the lock, as far as that can be told."""
        return False

    # --- reading: changes nothing, not a time, not a flag, takes no lock ------

    @abstractmethod
    def folders(self) -> Iterator[str]:
        """Names of all folders with ``/`` between levels, ``INBOX`` first."""

    @abstractmethod
    def walk(self, folder: str) -> Iterator[Listing]:
        """Every message of a folder exactly once, without reading its bytes.

        A server may deliver, rename and remove meanwhile: a message that was
        there before and after the walk is in it; none is in it twice.
        """

    def fetch_ahead(self, refs: Sequence[MessageRef], most: int | None = None) -> Ahead:
        """Several messages for workers that may not open the mailbox.

        Args:
            refs: the messages.
            most: bytes of each that are read; None: all.
        """
        return Ahead({ref: self._fetched(ref, most) for ref in refs})

    def _fetched(
        self, ref: MessageRef, most: int | None
    ) -> StoredMessage | MessageHead | MessageError:
        try:
            return self.fetch(ref) if most is None else self.head(ref, most)
        except MessageError as error:
            return error

    @property
    def fetchers(self) -> Sequence[Mailbox]:
        """Others on the same mailbox that may ``fetch_ahead``, each in a thread of its own.

        They are closed with it, once no thread uses them.
        """
        return ()

    def withheld(
        self,
        known: Sequence[str],  # noqa: ARG002  # for servers
        *,
        has_moved: bool,  # noqa: ARG002
    ) -> list[str]:
        """Which of these folders may hold mail that a walk does not show; printable.

        Nothing may be concluded then from what it did not show.

        Args:
            known: names of folders in which there was mail.
            has_moved: that was in another mailbox, so that one may have another name here.
        """
        return []

    passed_over_kind = "links or other files that may be mail"
    passed_over_hint = "links are not followed: name what they lead to as a mailbox of its own"

    @property
    def passed_over(self) -> Sequence[str]:
        """What other programs may take for mail and the walks so far did not read; printable."""
        return ()

    def open_file(self, ref: MessageRef) -> BinaryIO | None:  # noqa: ARG002  # for stores of files
        """The file, open, that holds just the bytes of this message and may get a second name.

        None where there is no such file, or it is gone. The caller closes it.
        """
        return None

    def free_bytes(self) -> int | None:
        """How many more bytes it takes; None: nobody knows."""
        return None

    def overlaps(self, path: Path) -> bool:  # noqa: ARG002  # for stores of files
        """Whether a directory lies in what the mailbox is kept in, or the other way round."""
        return False

    # --- writing -------------------------------------------------------------

    def require_writable(self) -> None:
        """Holds that messages can be replaced here.

        Raises:
            ReadOnlyMailbox: they cannot.
        """
        able = self.capabilities
        if not able.writable:
            because = able.read_only_because and f": {able.read_only_because}"
            raise ReadOnlyMailbox(
                f"the mailbox {self.specification.location} cannot be written{because}",
                hint=able.read_only_hint,
            )

    @abstractmethod
    def intend(self, changes: Sequence[Replace | Add]) -> list[Intent]:
        """Chooses where the new copies come; writes nothing."""

    @abstractmethod
    def write(self, intended: Sequence[tuple[Intent, Content]]) -> list[Written | MessageError]:
        """Writes the new copies, unsynced.

        With the flags of the intent, date, owner and mode of the old; an addition with its own
        date, no flag, and owner and mode as its folder asks.

        Raises:
            NoSpace: disk or quota full; nothing of the batch is left behind.
            ReadOnlyMailbox: it cannot be written.
        """

    @abstractmethod
    def place(self, written: Sequence[Written]) -> list[Placed | MessageError]:
        """Makes the copies durable, reads them back, compares, places them, durably.

        Answers ``MessageVanished`` where the copy to be replaced went meanwhile, and then
        nothing comes in its place.

        Raises:
            SectoolError: a sync failed; nothing of the batch counts as durable.
        """

    @abstractmethod
    def retire(
        self, placed: Sequence[Placed], note: Note = note_nothing
    ) -> list[Placed | MessageError]:
        """Removes the old copies whose new ones were placed, durably.

        Where the flags of an old copy changed, ``note`` hears of it before the new one is
        given any; not where the new copy was seen by nobody yet (``Retirement.RENAME``).

        Answers the new copy as it lies afterwards (flags merged), or
        ``MessageChanged`` / ``MessageVanished``, and then nothing was removed.
        Where the unit is a folder, each folder of the batch is written anew.
        """

    def check_removed(self) -> None:
        """Holds that what ``retire`` removed first is gone; asked once the log knows of it.

        Raises:
            ReadOnlyMailbox: the mailbox keeps it elsewhere.
        """
        return

    @abstractmethod
    def find(self, intents: Sequence[Intent]) -> list[Whereabouts]:
        """Finds out after a crash how far each came; what it found placed is made durable.

        A copy at the place where it was ``met`` is answered whatever its bytes are, with its
        own revision: somebody may have edited it, and the engine proves what it is. An intent
        without ``where`` was another kind of store's: only where it was met is looked at.

        Raises:
            SectoolError: a sync failed; nothing of the batch counts as durable.
        """

    def settle(self, intents: Sequence[Intent]) -> None:  # noqa: ARG002  # for stores of files
        """Ends the removals of old copies that were begun before a crash; the lock is held.

        Raises:
            SectoolError: one can neither be ended nor undone.
        """
        return

    @abstractmethod
    def abandon(self, intents: Sequence[Intent]) -> None:
        """Removes what ``write`` left of copies that were never placed; no placed copy."""

    # --- life ----------------------------------------------------------------

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
