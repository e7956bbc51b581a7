"""A mailbox in the memory of one process, for tests and rehearsals.

Keeps the contract of ``base`` to the letter and promises no more than a
Maildir does. Another program's acts are played by ``MemoryStore`` itself:
its methods flag, move, change and remove messages, and ``hooks`` call back
between the steps of a replacement.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar
from weakref import WeakValueDictionary

from sectool.errors import (
    MailboxError,
    MessageChanged,
    MessageError,
    MessageVanished,
    NoSuchMailbox,
    ReadOnlyMailbox,
)
from sectool.mailbox.base import (
    NOTHING,
    Addition,
    Announcement,
    Capabilities,
    Mailbox,
    MailboxSpecification,
    PlacedCopy,
    Replacement,
    StagedCopy,
    Whereabouts,
)
from sectool.message import BytesContent, Content, Flags, Listing, MessageRef, StoredMessage

KIND = "memory"

Hook = Callable[[str], None]
"""Told ``stage``, ``barrier.place``, ``barrier.done``, ``retire.look`` and
``retire.done`` as each begins or is over; may act on the store or raise."""

Answer = TypeVar("Answer")

_stores: WeakValueDictionary[str, MemoryStore] = WeakValueDictionary()


@dataclass(frozen=True, slots=True)
class StoredCopy:
    """One message as the store keeps it."""

    content: BytesContent
    flags: Flags
    internal_date: datetime
    version: int
    """Grows with every change of the bytes in the store."""


@dataclass(eq=False)
class MemoryStore:
    """What several ``MemoryMailbox`` of one process see of one mailbox.

    It lives as long as somebody holds it; a specification names it by
    ``location``.
    """

    location: str
    writable: bool = True
    hooks: list[Hook] = field(default_factory=list)
    folders: dict[str, dict[str, StoredCopy]] = field(default_factory=lambda: {"INBOX": {}})
    staged: dict[MessageRef, StoredCopy] = field(default_factory=dict)
    """What no mail program sees yet."""
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        _stores[self.location] = self

    @property
    def specification(self) -> MailboxSpecification:
        """How to open it, in this process only."""
        return MailboxSpecification(KIND, self.location)

    def next_number(self) -> int:
        """A number that was not given before."""
        return next(self._numbers)

    def passes(self, step: str) -> None:
        """Tells the hooks."""
        for hook in self.hooks:
            hook(step)

    def copy(self, ref: MessageRef) -> StoredCopy:
        """One message.

        Raises:
            MessageVanished: there is none.
        """
        found = self.folders.get(ref.folder, {}).get(ref.key)
        if found is None:
            raise MessageVanished(f"the message {ref} is no longer there")
        return found

    # --- what other programs do ----------------------------------------------------

    def deliver(
        self, folder: str, raw: bytes, *, flags: Flags | None = None, date: datetime | None = None
    ) -> MessageRef:
        """A message arrives."""
        number = self.next_number()
        copy = StoredCopy(BytesContent(raw), flags or Flags(), date or datetime.now(UTC), number)
        self.folders.setdefault(folder, {})[str(number)] = copy
        return MessageRef(folder, str(number))

    def set_flags(self, ref: MessageRef, flags: Flags) -> None:
        """A message is flagged."""
        self.folders[ref.folder][ref.key] = replace(self.copy(ref), flags=flags)

    def overwrite(self, ref: MessageRef, raw: bytes) -> None:
        """The bytes of a message change under its name."""
        self.folders[ref.folder][ref.key] = replace(
            self.copy(ref), content=BytesContent(raw), version=self.next_number()
        )

    def remove(self, ref: MessageRef) -> None:
        """A message is removed."""
        self.copy(ref)
        del self.folders[ref.folder][ref.key]

    def move(self, ref: MessageRef, folder: str) -> MessageRef:
        """A message goes to another folder, under another name."""
        copy = self.copy(ref)
        self.remove(ref)
        return self.deliver(folder, copy.content.raw, flags=copy.flags, date=copy.internal_date)


class MemoryMailbox(Mailbox):
    """A mailbox in memory.

    Args:
        specification: of kind ``memory``; its location names a living ``MemoryStore``.

    Raises:
        NoSuchMailbox: there is no such store in this process.
    """

    def __init__(self, specification: MailboxSpecification) -> None:
        store = _stores.get(specification.location)
        if store is None:
            raise NoSuchMailbox(f"no mailbox {specification.location} is in this process")
        self.specification = specification
        self._store = store
        self.capabilities = Capabilities(
            writable=store.writable,
            retire_is_atomic=False,
            keeps_flags=True,
            keeps_internal_date=True,
            stable_names=True,
            line_end=None,
        )

    def lock(self) -> AbstractContextManager[object]:
        """Nobody else can reach the store."""
        return nullcontext()

    def file_of(self, ref: MessageRef) -> Path | None:
        """No message has a file."""
        del ref
        return None

    # --- reading -------------------------------------------------------------------

    def folders(self) -> Iterator[str]:
        others = sorted(self._store.folders.keys() - {"INBOX"})
        yield from ["INBOX", *others]

    def walk(self, folder: str) -> Iterator[Listing]:
        if folder not in self._store.folders:
            raise MailboxError(f"the mailbox has no folder {folder}")
        for key in list(self._store.folders[folder]):
            copy = self._store.folders[folder].get(key)
            if copy is not None:
                ref = MessageRef(folder, key)
                yield Listing(ref, copy.content.size, copy.flags, _hint(copy), copy.internal_date)

    def fetch(self, ref: MessageRef) -> StoredMessage:
        copy = self._store.copy(ref)
        return StoredMessage(ref, copy.content, copy.flags, copy.internal_date, copy.content.digest)

    # --- writing --------------------------------------------------------------------

    def announce(self, replacements: Sequence[Replacement]) -> list[Announcement]:
        return [
            Announcement(
                replaced=replacement.ref,
                expected_revision=replacement.expected_revision,
                ref=MessageRef(replacement.ref.folder, str(self._store.next_number())),
                digest=replacement.content.digest,
                size=replacement.content.size,
            )
            for replacement in replacements
        ]

    def stage(
        self, announced: Sequence[tuple[Announcement, Content]]
    ) -> list[StagedCopy | MessageError]:
        self._require_writable()
        try:
            return [_answer(self._stage, *entry) for entry in announced]
        except BaseException:
            self.discard([announcement for announcement, _ in announced])
            raise

    def _stage(self, announcement: Announcement, content: Content) -> StagedCopy:
        self._store.passes("stage")
        old = self._examine(announcement.replaced, announcement.expected_revision)
        with content.open() as stream:
            raw = BytesContent(stream.read())
        version = self._store.next_number()
        self._store.staged[announcement.ref] = replace(old, content=raw, version=version)
        return StagedCopy(announcement, old.flags)

    def announce_additions(self, additions: Sequence[Addition]) -> list[Announcement]:
        return [
            Announcement(
                replaced=NOTHING,
                expected_revision="",
                ref=MessageRef(addition.folder, str(self._store.next_number())),
                digest=addition.content.digest,
                size=addition.content.size,
            )
            for addition in additions
        ]

    def stage_additions(
        self, announced: Sequence[tuple[Announcement, Addition]]
    ) -> list[StagedCopy | MessageError]:
        self._require_writable()
        return [self._stage_addition(*entry) for entry in announced]

    def _stage_addition(self, announcement: Announcement, addition: Addition) -> StagedCopy:
        with addition.content.open() as stream:
            raw = BytesContent(stream.read())
        copy = StoredCopy(raw, Flags(), addition.internal_date, self._store.next_number())
        self._store.staged[announcement.ref] = copy
        return StagedCopy(announcement, copy.flags)

    def barrier(self, staged: Sequence[StagedCopy]) -> list[PlacedCopy | MessageError]:
        self._require_writable()
        return [_answer(self._place, copy) for copy in staged]

    def _place(self, staged: StagedCopy) -> PlacedCopy:
        self._store.passes("barrier.place")
        announcement = staged.announcement
        copy = self._store.staged.pop(announcement.ref, None)
        if copy is not None:
            if copy.content.digest != announcement.digest:
                raise MessageError("the new copy reads back otherwise than it was announced")
            folder = self._store.folders.setdefault(announcement.ref.folder, {})
            folder[announcement.ref.key] = replace(copy, flags=staged.flags)
        self._store.passes("barrier.done")
        return self._placed(announcement)

    def retire(self, staged: Sequence[StagedCopy]) -> list[PlacedCopy | MessageError]:
        self._require_writable()
        return [_answer(self._retire, copy) for copy in staged]

    def _retire(self, staged: StagedCopy) -> PlacedCopy:
        self._store.passes("retire.look")
        announcement = staged.announcement
        old = self._examine(announcement.replaced, announcement.expected_revision)
        new = self._examine(announcement.ref, announcement.digest)
        if old.flags.deleted and not (staged.flags.deleted or new.flags.deleted):
            raise MessageChanged(f"the message {announcement.replaced} was marked as deleted")
        merged = new.flags.merged(base=staged.flags, other=old.flags)
        self._store.set_flags(announcement.ref, merged)
        self._store.remove(announcement.replaced)
        self._store.passes("retire.done")
        return self._placed(announcement)

    def locate(self, announcement: Announcement) -> Whereabouts:
        placed = _answer(self._placed, announcement)
        old = _answer(self._examine, announcement.replaced, announcement.expected_revision)
        return Whereabouts(
            placed=placed if isinstance(placed, PlacedCopy) else None,
            old_present=isinstance(old, StoredCopy),
        )

    def discard(self, announcements: Sequence[Announcement]) -> None:
        for announcement in announcements:
            self._store.staged.pop(announcement.ref, None)

    def _placed(self, announcement: Announcement) -> PlacedCopy:
        copy = self._examine(announcement.ref, announcement.digest)
        return PlacedCopy(announcement.ref, announcement.digest, _hint(copy))

    def _examine(self, ref: MessageRef, expected: str) -> StoredCopy:
        copy = self._store.copy(ref)
        if copy.content.digest != expected:
            raise MessageChanged(f"the message {ref} is not the one that was read before")
        return copy

    def _require_writable(self) -> None:
        if not self._store.writable:
            raise ReadOnlyMailbox(f"the mailbox {self._store.location} cannot be written")


def _hint(copy: StoredCopy) -> str:
    return f"{copy.content.size}:{copy.version}"


def _answer(act: Callable[..., Answer], *arguments: object) -> Answer | MessageError:
    try:
        return act(*arguments)
    except MessageError as error:
        return error
