"""A store that fails for a moment is asked again, where asking changes nothing.

What writes is not repeated: it may have been done although it failed, so whoever asked for it
finds out first what came of it (``jobs/replacing/replacer.py``).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import BinaryIO, TypeVar

from sectool.errors import Again, MessageError, SectoolError, ServerUnavailable
from sectool.mailbox.access import Ahead, MessageHead
from sectool.mailbox.base import (
    Add,
    Mailbox,
    Note,
    Placed,
    Replace,
    Whereabouts,
    Written,
    note_nothing,
)
from sectool.message import Content, Intent, Listing, MessageRef, StoredMessage

WAITS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before each further try; after the last of them the error stands."""

JITTER = 1.25
"""A wait is longer by up to that factor, by chance."""

STEP = 0.1
"""Seconds of a wait between two questions whether the run is to stop."""

Answer = TypeVar("Answer")

PATIENCE = 1800.0
"""Seconds that are waited where a server says for how long."""

_check: ContextVar[Callable[[], object]] = ContextVar("check", default=lambda: None)
_patience: ContextVar[float] = ContextVar("patience", default=PATIENCE)


@contextmanager
def stopped_by(check: Callable[[], object], patience: float = PATIENCE) -> Iterator[None]:
    """Asks ``check`` throughout each wait of this process meanwhile; it raises to end it.

    A worker process needs none: whoever started it stops it.

    Args:
        check: asked.
        patience: seconds that one thing is waited for where a server says for how long.
    """
    token, other = _check.set(check), _patience.set(patience)
    try:
        yield
    finally:
        _check.reset(token)
        _patience.reset(other)


def check_stopped() -> None:
    """Asked by whoever waits.

    Raises:
        Interrupted: the run is to stop.
    """
    _check.get()()


def patience() -> float:
    """Seconds that one thing is waited for where a server says for how long."""
    return _patience.get()


class Tries:
    """The tries of one thing that may fail for a moment."""

    def __init__(self) -> None:
        self._waits = iter(WAITS)
        self._patience = patience()

    def wait_after(self, error: SectoolError) -> None:
        """Waits longer after each failure, or as long as the server asks.

        Raises:
            SectoolError: ``error`` itself, where it is not for now or there were tries enough.
            Interrupted: the run is to stop.
        """
        wait = self._wait(error) if error.again is Again.NOW else None
        if wait is None:
            raise error
        until = time.monotonic() + wait
        while (left := until - time.monotonic()) > 0:
            check_stopped()
            time.sleep(min(left, STEP))
        check_stopped()

    def _wait(self, error: SectoolError) -> float | None:
        """Seconds; None: there were tries enough."""
        if isinstance(error, ServerUnavailable):
            if error.has_progressed:
                self._waits = iter(WAITS)
            if error.wait is not None:
                self._patience -= error.wait
                return error.wait if self._patience >= 0 else None
        wait = next(self._waits, None)
        # Not all runs that lost one server come back to it at once.
        return None if wait is None else wait * random.uniform(1, JITTER)  # noqa: S311


def _repeat(act: Callable[[], Answer]) -> Answer:
    tries = Tries()
    while True:
        try:
            return act()
        except SectoolError as error:
            tries.wait_after(error)


class Retrying(Mailbox):
    """A store whose reading outlasts an error that is graded ``Again.NOW``.

    Args:
        store: the store itself.
    """

    def __init__(self, store: Mailbox) -> None:
        self.specification = store.specification
        self.capabilities = store.capabilities
        self.passed_over_kind = store.passed_over_kind
        self.passed_over_hint = store.passed_over_hint
        self._store = store

    def lock(self) -> AbstractContextManager[object]:
        return self._store.lock()

    def is_in_use(self) -> bool:
        return self._store.is_in_use()

    # --- reading -------------------------------------------------------------------

    def folders(self) -> Iterator[str]:
        yield from _repeat(lambda: list(self._store.folders()))

    def walk(self, folder: str) -> Iterator[Listing]:
        told: set[MessageRef] = set()
        tries = Tries()
        while True:
            try:
                for listing in self._store.walk(folder):
                    if listing.ref not in told:
                        told.add(listing.ref)
                        tries = Tries()
                        yield listing
            except SectoolError as error:
                tries.wait_after(error)
            else:
                return

    def fetch(self, ref: MessageRef) -> StoredMessage:
        return _repeat(lambda: self._store.fetch(ref))

    def head(self, ref: MessageRef, most: int) -> MessageHead:
        return _repeat(lambda: self._store.head(ref, most))

    def fetch_ahead(self, refs: Sequence[MessageRef], most: int | None = None) -> Ahead:
        return _repeat(lambda: self._store.fetch_ahead(refs, most))

    @property
    def fetchers(self) -> Sequence[Mailbox]:
        return self._store.fetchers  # what one of them fails at is asked for here again

    def withheld(self, known: Sequence[str], *, has_moved: bool) -> list[str]:
        return _repeat(lambda: self._store.withheld(known, has_moved=has_moved))

    @property
    def passed_over(self) -> Sequence[str]:
        return self._store.passed_over

    def open_file(self, ref: MessageRef) -> BinaryIO | None:
        return self._store.open_file(ref)

    def free_bytes(self) -> int | None:
        return _repeat(self._store.free_bytes)

    def overlaps(self, path: Path) -> bool:
        return self._store.overlaps(path)

    # --- writing -------------------------------------------------------------------

    def require_writable(self) -> None:
        _repeat(self._store.require_writable)

    def intend(self, changes: Sequence[Replace | Add]) -> list[Intent]:
        return _repeat(lambda: self._store.intend(changes))

    def write(self, intended: Sequence[tuple[Intent, Content]]) -> list[Written | MessageError]:
        return self._store.write(intended)

    def place(self, written: Sequence[Written]) -> list[Placed | MessageError]:
        return self._store.place(written)

    def retire(
        self, placed: Sequence[Placed], note: Note = note_nothing
    ) -> list[Placed | MessageError]:
        return self._store.retire(placed, note)

    def check_removed(self) -> None:
        _repeat(self._store.check_removed)

    def find(self, intents: Sequence[Intent]) -> list[Whereabouts]:
        return _repeat(lambda: self._store.find(intents))

    def settle(self, intents: Sequence[Intent]) -> None:
        _repeat(lambda: self._store.settle(intents))

    def abandon(self, intents: Sequence[Intent]) -> None:
        self._store.abandon(intents)

    def close(self) -> None:
        self._store.close()
