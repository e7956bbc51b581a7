"""A mailbox in the memory of one process, for tests.

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
    Add,
    Capabilities,
    Mailbox,
    MailboxSpecification,
    Placed,
    Replace,
    Whereabouts,
    Written,
)
from sectool.message import (
    NOTHING,
    BytesContent,
    Content,
    Flags,
    Intent,
    Listing,
    MessageRef,
    StoredMessage,
)

KIND = "memory"

Hook = Callable[[str], None]
"""Told ``write``, ``place``, ``place.done``, ``retire.look`` and
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
    written: dict[MessageRef, StoredCopy] = field(default_factory=dict)
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

    def intend(self, changes: Sequence[Replace | Add]) -> list[Intent]:
        return [self._intent(change) for change in changes]

    def _intent(self, change: Replace | Add) -> Intent:
        where, content = str(self._store.next_number()), change.content
        if isinstance(change, Add):
            date = change.internal_date
            return Intent(NOTHING, "", change.folder, where, content.digest, content.size, date)
        folder = change.ref.folder
        return Intent(change.ref, change.revision, folder, where, content.digest, content.size)

    def write(self, intended: Sequence[tuple[Intent, Content]]) -> list[Written | MessageError]:
        self._require_writable()
        try:
            return [_answer(self._write, *entry) for entry in intended]
        except BaseException:
            self.abandon([intent for intent, _ in intended])
            raise

    def _write(self, intent: Intent, content: Content) -> Written:
        self._store.passes("write")
        with content.open() as stream:
            raw = BytesContent(stream.read())
        version = self._store.next_number()
        if intent.internal_date is None:
            copy = replace(
                self._examine(intent.replaced, intent.revision), content=raw, version=version
            )
        else:
            copy = StoredCopy(raw, Flags(), intent.internal_date, version)
        self._store.written[_ref(intent)] = copy
        return Written(intent, copy.flags)

    def place(self, written: Sequence[Written]) -> list[Placed | MessageError]:
        self._require_writable()
        return [_answer(self._place, copy) for copy in written]

    def _place(self, written: Written) -> Placed:
        self._store.passes("place")
        ref = _ref(written.intent)
        copy = self._store.written.pop(ref, None)
        if copy is None:
            raise MessageVanished("the new copy was removed while it waited")
        if copy.content.digest != written.intent.digest:
            raise MessageError("the new copy reads back otherwise than it was intended")
        folder = self._store.folders.setdefault(ref.folder, {})
        folder[ref.key] = replace(copy, flags=written.flags)
        self._store.passes("place.done")
        return self._placed(written)

    def retire(self, placed: Sequence[Placed]) -> list[Placed | MessageError]:
        self._require_writable()
        return [_answer(self._retire, copy) for copy in placed]

    def _retire(self, placed: Placed) -> Placed:
        self._store.passes("retire.look")
        written, intent = placed.written, placed.written.intent
        old = self._examine(intent.replaced, intent.revision)
        new = self._examine(placed.ref, intent.digest)
        if old.flags.deleted and not (written.flags.deleted or new.flags.deleted):
            raise MessageChanged(f"the message {intent.replaced} was marked as deleted")
        merged = new.flags.merged(base=written.flags, other=old.flags)
        self._store.set_flags(placed.ref, merged)
        self._store.remove(intent.replaced)
        self._store.passes("retire.done")
        return self._placed(written)

    def find(self, intents: Sequence[Intent]) -> list[Whereabouts]:
        return [self._find(intent) for intent in intents]

    def _find(self, intent: Intent) -> Whereabouts:
        placed = _answer(self._placed, Written(intent, Flags()))
        old = _answer(self._examine, intent.replaced, intent.revision)
        return Whereabouts(
            placed=placed if isinstance(placed, Placed) else None,
            old_present=isinstance(old, StoredCopy),
        )

    def abandon(self, intents: Sequence[Intent]) -> None:
        for intent in intents:
            self._store.written.pop(_ref(intent), None)

    def _placed(self, written: Written) -> Placed:
        copy = self._examine(_ref(written.intent), written.intent.digest)
        return Placed(written, _ref(written.intent), written.intent.digest, _hint(copy))

    def _examine(self, ref: MessageRef, expected: str) -> StoredCopy:
        copy = self._store.copy(ref)
        if copy.content.digest != expected:
            raise MessageChanged(f"the message {ref} is not the one that was read before")
        return copy

    def _require_writable(self) -> None:
        if not self._store.writable:
            raise ReadOnlyMailbox(f"the mailbox {self._store.location} cannot be written")


def _ref(intent: Intent) -> MessageRef:
    return intent.met or MessageRef(intent.folder, intent.where)


def _hint(copy: StoredCopy) -> str:
    return f"{copy.content.size}:{copy.version}"


def _answer(act: Callable[..., Answer], *arguments: object) -> Answer | MessageError:
    try:
        return act(*arguments)
    except MessageError as error:
        return error
