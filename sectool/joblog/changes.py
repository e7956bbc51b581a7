"""Who wants to know hears to what state each message comes, once that is durable."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable

from sectool.joblog.table import Table
from sectool.outcome import Outcome, State


class Changes(Table):
    """The messages whose state changed in the open group."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection)
        self._watch: Callable[[Outcome], None] | None = None
        self._messages: dict[int, None] = {}

    def watch(self, watch: Callable[[Outcome], None]) -> None:
        """From now on this is told what becomes of each message."""
        self._watch = watch

    def note(self, messages: Iterable[int]) -> None:
        """The state of these rows changes; inside a group."""
        if self._watch is not None:
            self._messages.update(dict.fromkeys(messages))

    def end_group(self, *, is_kept: bool) -> None:
        """What was written in the group is durable, or undone."""
        messages, self._messages = self._messages, {}
        watch = self._watch
        if watch is None or not is_kept:
            return
        for message in messages:
            row = self._row(
                "SELECT folder, key, original_identity, state, reason FROM message"
                " WHERE message = ?",
                message,
            )
            if row is not None:
                folder, key, identity, state, reason = row
                watch(Outcome(folder, key, identity, State(state), reason))
