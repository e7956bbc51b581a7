"""Any store, with a crash point and a fault at every call of the seam."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, TypeVar

from sectool.crashpoints import crashpoint
from sectool.errors import MessageError
from sectool.mailbox import (
    Add,
    Intent,
    Mailbox,
    Note,
    Placed,
    Replace,
    Whereabouts,
    Written,
    note_nothing,
)
from sectool.message import Content, Listing, MessageRef, StoredMessage

Entry = TypeVar("Entry")
Answer = TypeVar("Answer")


class Moment(StrEnum):
    """When a call fails."""

    BEFORE = "before"
    HALFWAY = "halfway"
    """One half of a batch, or of a walk, is done."""
    AFTER = "after"
    """All of it is done, and the answer lost."""


Fault = Callable[[str, Moment], None]
"""Called with the name of a call, at each of its moments; may raise."""


class Failing(Mailbox):
    """A store of which every call passes its fault.

    Args:
        store: does what is asked.
        fault: decides what fails.
    """

    def __init__(self, store: Mailbox, fault: Fault) -> None:
        self.specification = store.specification
        self.capabilities = store.capabilities
        self._store = store
        self._fault = fault

    def _call(self, name: str, act: Callable[[], Answer]) -> Answer:
        crashpoint(f"seam.{name}.before")
        self._fault(name, Moment.BEFORE)
        answer = act()
        crashpoint(f"seam.{name}.after")
        self._fault(name, Moment.AFTER)
        return answer

    def _batch(
        self, name: str, act: Callable[[Sequence[Entry]], list[Answer]], entries: Sequence[Entry]
    ) -> list[Answer]:
        def halves() -> list[Answer]:
            half = (len(entries) + 1) // 2
            first = act(entries[:half])
            crashpoint(f"seam.{name}.halfway")
            self._fault(name, Moment.HALFWAY)
            return first + act(entries[half:])

        return self._call(name, halves)

    def lock(self) -> AbstractContextManager[object]:
        return self._store.lock()

    def is_in_use(self) -> bool:
        return self._store.is_in_use()

    def folders(self) -> Iterator[str]:
        yield from self._call("folders", lambda: list(self._store.folders()))

    def walk(self, folder: str) -> Iterator[Listing]:
        listings = self._call("walk", lambda: list(self._store.walk(folder)))
        half = len(listings) // 2
        yield from listings[:half]
        self._fault("walk", Moment.HALFWAY)
        yield from listings[half:]

    def fetch(self, ref: MessageRef) -> StoredMessage:
        return self._call("fetch", lambda: self._store.fetch(ref))

    @property
    def passed_over(self) -> Sequence[str]:
        return self._store.passed_over

    def open_file(self, ref: MessageRef) -> BinaryIO | None:
        return self._store.open_file(ref)

    def free_bytes(self) -> int | None:
        return self._call("free_bytes", self._store.free_bytes)

    def overlaps(self, path: Path) -> bool:
        return self._store.overlaps(path)

    def intend(self, changes: Sequence[Replace | Add]) -> list[Intent]:
        return self._call("intend", lambda: self._store.intend(changes))

    def write(self, intended: Sequence[tuple[Intent, Content]]) -> list[Written | MessageError]:
        return self._batch("write", self._store.write, intended)

    def place(self, written: Sequence[Written]) -> list[Placed | MessageError]:
        return self._batch("place", self._store.place, written)

    def retire(
        self, placed: Sequence[Placed], note: Note = note_nothing
    ) -> list[Placed | MessageError]:
        return self._batch("retire", lambda part: self._store.retire(part, note), placed)

    def find(self, intents: Sequence[Intent]) -> list[Whereabouts]:
        return self._batch("find", self._store.find, intents)

    def settle(self, intents: Sequence[Intent]) -> None:
        self._call("settle", lambda: self._store.settle(intents))

    def abandon(self, intents: Sequence[Intent]) -> None:
        self._call("abandon", lambda: self._store.abandon(intents))

    def close(self) -> None:
        self._store.close()
