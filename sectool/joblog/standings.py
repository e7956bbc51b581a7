"""Which messages of a job stand in which states, for choosing what to work on; reads only."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable

from sectool.outcome import State


class Standings:
    """Answers how far the messages of a job have come."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def names_of(self, states: frozenset[State]) -> frozenset[str]:
        """Names, within whatever folder, of messages in these states that were never replaced."""
        rows = self._connection.execute(
            "SELECT DISTINCT key FROM message WHERE presence = 'present'"
            " AND identity = original_identity AND state IN (SELECT value FROM json_each(?))",
            (json.dumps(sorted(states)),),
        )
        return frozenset(str(key) for (key,) in rows)

    def by_folder(
        self, states: frozenset[State], *, tried_with: str | None = None
    ) -> dict[str, Counter[State]]:
        """How many messages of each folder are in each of these states.

        Args:
            states: which.
            tried_with: digest of a key history; only those that were tried with it last.
        """
        counts: dict[str, Counter[State]] = {}
        rows = self._connection.execute(
            "SELECT folder, state, count(*) FROM message WHERE presence = 'present'"
            " AND state IN (SELECT value FROM json_each(?1)) AND (?2 IS NULL OR tried_with = ?2)"
            " GROUP BY folder, state",
            (json.dumps(sorted(states)), tried_with),
        )
        for folder, state, count in rows:
            counts.setdefault(folder, Counter())[State(state)] = count
        return counts

    def of(self, messages: Iterable[int]) -> dict[int, State]:
        """The states of these rows."""
        rows = self._connection.execute(
            "SELECT message, state FROM message WHERE message IN (SELECT value FROM json_each(?))",
            (json.dumps(list(messages)),),
        )
        return {int(message): State(state) for message, state in rows}
