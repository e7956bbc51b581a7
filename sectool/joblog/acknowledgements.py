"""Messages that a person knows cannot be done: they stay counted, and fail no run.

An acknowledgement names a message by the identity it was first found with,
which a move does not change, and is good for the states it was given for: what
was acknowledged as ``missing-key`` and is ``lost`` now is reported again.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from sectool.outcome import NOT_DONE, State

HAPPENED = frozenset({State.LOST, State.CHANGED})
"""States that come of what someone did: only acknowledged where they are named."""

IS_ACKNOWLEDGED = (
    "EXISTS (SELECT 1 FROM acknowledgement AS a WHERE a.identity = original_identity"
    " AND (a.state = word OR (a.state = '' AND word NOT IN ('lost', 'changed'))))"
)
"""Condition on a row of ``counted``."""


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """One message that a person knows cannot be done."""

    identity: str
    """As ``NotDone`` tells it."""
    state: State | None = None
    """The only state it is good for; None: any but those of ``HAPPENED``."""


class AcknowledgementTable:
    """What a person acknowledged; all writing happens inside ``JobLog.group``."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def add(self, acknowledgements: Iterable[Acknowledgement]) -> None:
        """Later commands of the job honour these, too."""
        self._connection.executemany(
            "INSERT OR IGNORE INTO acknowledgement VALUES (?, ?)",
            [(one.identity, one.state or "") for one in acknowledgements],
        )

    def is_matched(self, acknowledgement: Acknowledgement) -> bool:
        """Whether a message of the job is not done, or needs an old key, and is the one meant."""
        states = NOT_DONE - HAPPENED if acknowledgement.state is None else {acknowledgement.state}
        row = self._connection.execute(
            "SELECT 1 FROM counted WHERE original_identity = ?"
            " AND (word IN (SELECT value FROM json_each(?)) OR (? AND EXISTS"
            "   (SELECT 1 FROM layer WHERE layer.message = counted.message"
            "     AND layer.reason <> ''))) LIMIT 1",
            (
                acknowledgement.identity,
                json.dumps(sorted(states & NOT_DONE)),
                acknowledgement.state is None,
            ),
        ).fetchone()
        return row is not None
