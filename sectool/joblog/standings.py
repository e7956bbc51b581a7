"""Which messages of a job stand in which states, for choosing what to work on; reads only."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sectool.outcome import RecipientKey, State

_NAMED = (
    "(SELECT coalesce(group_concat(recipient), '') FROM"
    " (SELECT recipient FROM message_recipient JOIN recipient USING (recipient)"
    " WHERE message_recipient.message = message.message AND in_history ORDER BY recipient))"
)
"""Numbers of the recipients of a message whose keys are, or were, at hand."""


@dataclass(frozen=True, slots=True)
class MessagesAlike:
    """Messages of one folder that stand alike."""

    folder: str
    state: State
    keys: frozenset[RecipientKey]
    """Those at hand that each of them names."""
    messages: int


class _Keys:
    """The recipients of the job by their numbers."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        rows = connection.execute(
            "SELECT recipient, issuer, serial_number, subject_key_identifier FROM recipient"
            " WHERE in_history"
        )
        self._keys = {str(number): RecipientKey(*names) for number, *names in rows}

    def of(self, numbers: str) -> frozenset[RecipientKey]:
        return frozenset(self._keys[number] for number in numbers.split(",") if number)


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

    def of_all(
        self, states: frozenset[State], *, tried_with: str | None = None
    ) -> Iterator[MessagesAlike]:
        """How many messages of each folder are in each of these states, and name which keys.

        Args:
            states: which.
            tried_with: digest of a key history; only those that were tried with it last.
        """
        keys = _Keys(self._connection)
        rows = self._connection.execute(
            f"SELECT folder, state, keys, count(*) FROM (SELECT folder, state, {_NAMED} AS keys"
            "   FROM message WHERE presence = 'present'"
            "   AND state IN (SELECT value FROM json_each(?1)) AND (?2 IS NULL OR tried_with = ?2))"
            " GROUP BY folder, state, keys",
            (json.dumps(sorted(states)), tried_with),
        ).fetchall()
        for folder, state, named, messages in rows:
            yield MessagesAlike(folder, State(state), keys.of(named), messages)

    def opened(self) -> Iterator[frozenset[RecipientKey]]:
        """The keys at hand that messages name which were opened, each such set once."""
        keys = _Keys(self._connection)
        rows = self._connection.execute(
            f"SELECT DISTINCT {_NAMED} FROM message WHERE EXISTS (SELECT 1 FROM part"
            " WHERE part.message = message.message AND integrity <> ''"
            " AND content_encryption_algorithm <> '')"
        ).fetchall()
        for (named,) in rows:
            yield keys.of(named)

    def of(self, messages: Iterable[int]) -> dict[int, State]:
        """The states of these rows."""
        rows = self._connection.execute(
            "SELECT message, state FROM message WHERE message IN (SELECT value FROM json_each(?))",
            (json.dumps(list(messages)),),
        )
        return {int(message): State(state) for message, state in rows}
