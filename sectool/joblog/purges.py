"""What may go from the job directory, and what has gone.

A file goes in three steps: the intent is logged, the file is removed and its
directory synced, the removal is logged. A tombstone stays, so that a missing
file is known to have been purged and not lost.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from datetime import datetime

from sectool.joblog.messages import MessageTable
from sectool.joblog.parts import STORED
from sectool.joblog.records import Removal, number_of
from sectool.joblog.table import Table
from sectool.outcome import ContentDigest, MessageDigest, State

ABANDONED = frozenset(
    {
        State.CHECKPOINTED,
        State.DECRYPTED,
        State.REENCRYPTED,
        State.REWRAPPED,
        State.VERIFIED,
        State.CHANGED,
        State.FAILED,
    }
)
"""States of messages that count as purged without their files; others only lose the files."""

_SEEN = "EXISTS (SELECT 1 FROM temp.seen WHERE seen.message = m.message)"

_IN_FLIGHT = "EXISTS (SELECT 1 FROM replacement WHERE replacement.message = m.message)"

_PURGEABLE = (
    f"m.presence = 'present' AND {_SEEN} AND NOT {_IN_FLIGHT}"
    " AND m.replaced"
    " AND (m.proof = 'opened' OR (? AND m.state IN ('reencrypted', 'rewrapped', 'verified')))"
)
"""The replacement is in the mailbox now, and proven; the value: unproven ones count too."""

_FREED = (
    "EXISTS (SELECT 1 FROM temp.freed WHERE freed.message = {held}.message"
    " AND kind = iif({held}.is_kept, 'layer', 'checkpoint'))"
)
"""The message needs this checkpoint no more; that of a layer that keeps its recipients is needed
as long as the message is."""

_ROLLED_BACK = (
    f"m.presence = 'present' AND {_SEEN} AND NOT {_IN_FLIGHT} AND m.state = 'rolled-back'"
)
"""The original lies in the mailbox again; its checkpoint has no replacement."""


_WAITING = (State.CHECKPOINTED, State.DECRYPTED, State.CHANGED, State.FAILED)
_NO_MORE_WORK = (
    f"m.message = ? AND NOT {_IN_FLIGHT} AND m.state NOT IN (?, ?, ?, ?) AND NOT m.replaced"
)
"""It was given up, was never replaced, and does not wait to be."""
_LAYERS_GO = (
    f"m.message = ? AND NOT {_IN_FLIGHT} AND (m.state NOT IN (?, ?, ?, ?) OR EXISTS"
    " (SELECT 1 FROM temp.freed WHERE freed.message = m.message AND kind = 'checkpoint'))"
)
"""Its layers were given up, and no run works on it from its checkpoints any more."""


class PurgeTable(Table):
    """The tombstones of a job log; all writing happens inside ``JobLog.group``."""

    def __init__(self, connection: sqlite3.Connection, messages: MessageTable) -> None:
        super().__init__(connection)
        self._messages = messages

    # --- what may go -----------------------------------------------------------

    def release(
        self,
        *,
        accept_unproven: bool,
        abandon: bool,
        given_up: Iterable[int] = (),
        unread: Iterable[int] = (),
    ) -> None:
        """Works out, after a walk, which messages need their files no more; kept in memory.

        Args:
            accept_unproven: a structural proof is enough.
            abandon: no message needs any file.
            given_up: messages whose layers a person does without.
            unread: messages that only their place is known of, and that need all their files.
        """
        execute = self._connection.execute
        execute(
            "CREATE TEMP TABLE IF NOT EXISTS freed"
            " (kind TEXT, message INTEGER, PRIMARY KEY (kind, message)) WITHOUT ROWID"
        )
        execute("DELETE FROM temp.freed")
        everything = "SELECT ?, m.message FROM message AS m WHERE "
        insert = f"INSERT OR IGNORE INTO temp.freed {everything}"
        for kind in ("checkpoint", "original"):
            if abandon:
                execute(f"{insert} NOT {_IN_FLIGHT}", (kind,))
            else:
                execute(f"{insert} {_PURGEABLE}", (kind, accept_unproven))
        if abandon:
            execute(f"{insert} NOT {_IN_FLIGHT}", ("layer",))
        else:
            execute(f"{insert} {_ROLLED_BACK}", ("original",))
            for message in given_up:
                execute(f"{insert} {_NO_MORE_WORK}", ("checkpoint", message, *_WAITING))
                execute(f"{insert} {_LAYERS_GO}", ("layer", message, *_WAITING))
        for message in unread:
            execute("DELETE FROM temp.freed WHERE message = ?", (message,))

    def hold_younger(self, cutoff: datetime) -> Removal:
        """Keeps for now what belongs to released messages that were worked on since a moment.

        Args:
            cutoff: a message whose last step lies before it is old enough. That the new key
                opened it is no step on it here, or a proof would make it young again.

        Returns:
            What stays for this reason alone.
        """
        rows = self._connection.execute(
            "SELECT DISTINCT freed.message FROM temp.freed AS freed JOIN step USING (message)"
            " WHERE name NOT IN ('verified', 'purged') AND at >= ? ORDER BY 1",
            (number_of(cutoff),),
        )
        young = [int(message) for (message,) in rows]
        stays = self.removal(young)
        self._connection.executemany(
            "DELETE FROM temp.freed WHERE message = ?", [(message,) for message in young]
        )
        return stays

    def released(self) -> list[int]:
        """Messages that let go of a checkpoint or an original, in order."""
        rows = self._connection.execute(
            "SELECT message FROM held JOIN checkpoint USING (content_digest)"
            f"   WHERE {_FREED.format(held='held')} AND {STORED}"
            " UNION SELECT message FROM temp.freed JOIN original USING (message)"
            "   WHERE kind = 'original' ORDER BY message"
        )
        return [int(message) for (message,) in rows]

    def removal(self, messages: Iterable[int]) -> Removal:
        """The files of these messages that no other message needs.

        A message counts when a file of it goes, or when it is not known as
        purged yet because its files went with those of another.
        """
        chosen: list[int] = []
        checkpoints: dict[ContentDigest, None] = {}
        originals: dict[MessageDigest, None] = {}
        for message in messages:
            own = self._checkpoints_of(message), self._originals_of(message)
            checkpoints.update(dict.fromkeys(own[0]))
            originals.update(dict.fromkeys(own[1]))
            if any(own) or self._counts_as_kept(message):
                chosen.append(message)
        return Removal(tuple(chosen), tuple(checkpoints), tuple(originals))

    def _counts_as_kept(self, message: int) -> bool:
        state, purged = self._row("SELECT state, purged FROM message WHERE message = ?", message)
        return not purged and State(state) in ABANDONED

    def _checkpoints_of(self, message: int) -> list[ContentDigest]:
        rows = self._connection.execute(
            "SELECT DISTINCT content_digest FROM held AS p JOIN checkpoint USING (content_digest)"
            f" WHERE p.message = ? AND {STORED} AND {_FREED.format(held='p')}"
            " AND NOT EXISTS (SELECT 1 FROM tombstone WHERE kind = 'checkpoint'"
            "   AND digest = content_digest AND step = 'removed')"
            # A message that left the job needs nothing; one that is purged has a replacement.
            " AND NOT EXISTS (SELECT 1 FROM held AS other JOIN message AS m"
            "   ON m.message = other.message WHERE other.content_digest = p.content_digest"
            "   AND m.presence <> 'gone' AND (NOT m.purged OR other.is_kept)"
            f"   AND NOT {_FREED.format(held='other')})",
            (message,),
        )
        return [ContentDigest(digest) for (digest,) in rows]

    def _originals_of(self, message: int) -> list[MessageDigest]:
        rows = self._connection.execute(
            "SELECT digest FROM original AS o WHERE o.message = ?"
            " AND EXISTS (SELECT 1 FROM temp.freed"
            "   WHERE kind = 'original' AND freed.message = o.message)"
            " AND NOT EXISTS (SELECT 1 FROM tombstone WHERE kind = 'original'"
            "   AND tombstone.digest = o.digest AND step = 'removed')"
            " AND NOT EXISTS (SELECT 1 FROM original AS other JOIN message AS m"
            "   ON m.message = other.message WHERE other.digest = o.digest"
            "   AND NOT m.purged AND NOT EXISTS"
            "     (SELECT 1 FROM temp.freed"
            "       WHERE kind = 'original' AND freed.message = m.message))",
            (message,),
        )
        return [MessageDigest(digest) for (digest,) in rows]

    def unknown(self, found: Removal) -> Removal:
        """Those of the files found that no message has, such as a kill leaves before it is logged.

        Args:
            found: checkpoints and originals that are there.
        """
        return Removal(
            checkpoints=tuple(map(ContentDigest, self._unknown("checkpoint", found.checkpoints))),
            originals=tuple(map(MessageDigest, self._unknown("original", found.originals))),
        )

    def _unknown(self, kind: str, digests: Iterable[str]) -> list[str]:
        named = "content_digest FROM checkpoint" if kind == "checkpoint" else "digest FROM original"
        rows = self._connection.execute(
            f"SELECT value FROM json_each(?1) WHERE value NOT IN (SELECT {named})"
            " OR value IN (SELECT digest FROM tombstone WHERE kind = ?2)",
            (json.dumps(list(digests)), kind),
        )
        return [digest for (digest,) in rows]

    def count_kept(self) -> int:
        """How many checkpoints and originals of the job stand."""
        return self._number(
            f"SELECT (SELECT count(*) FROM checkpoint WHERE {STORED} AND content_digest NOT IN"
            "   (SELECT digest FROM tombstone WHERE kind = 'checkpoint'))"
            " + (SELECT count(DISTINCT digest) FROM original WHERE digest NOT IN"
            "   (SELECT digest FROM tombstone WHERE kind = 'original'))"
        )

    def count_abandoned(self) -> int:
        """How many messages in the mailbox lost their checkpoint before they were replaced."""
        return self._number(
            "SELECT count(*) FROM counted WHERE purged AND presence = 'present'"
            " AND stored_copy <> 'encrypted'"
        )

    # --- the steps -----------------------------------------------------------------

    def intend(self, removal: Removal) -> None:
        """Before anything is removed: what will be."""
        execute = self._connection.executemany
        execute("INSERT OR IGNORE INTO purging VALUES (?)", [(m,) for m in removal.messages])
        tombstones: list[tuple[str, str]]
        tombstones = [("checkpoint", digest) for digest in removal.checkpoints]
        tombstones += [("original", digest) for digest in removal.originals]
        execute("INSERT OR IGNORE INTO tombstone VALUES (?, ?, 'intended')", tombstones)

    def intended(self) -> Removal:
        """What a run, this one or one that was interrupted, has set out to remove."""
        execute = self._connection.execute
        digests: dict[str, list[str]] = {"checkpoint": [], "original": []}
        for kind, digest in execute("SELECT kind, digest FROM tombstone WHERE step = 'intended'"):
            digests[kind].append(digest)
        messages = tuple(message for (message,) in execute("SELECT message FROM purging"))
        return Removal(
            messages,
            tuple(map(ContentDigest, digests["checkpoint"])),
            tuple(map(MessageDigest, digests["original"])),
        )

    def finish(self) -> None:
        """All that was intended is gone, durably."""
        execute = self._connection.execute
        rows = execute("SELECT message, state FROM message JOIN purging USING (message)").fetchall()
        for message, state in rows:
            self._messages.note_steps([message], "purged")
            if State(state) in ABANDONED:
                execute("UPDATE message SET purged = 1 WHERE message = ?", (message,))
            if State(state) is State.CHECKPOINTED:
                # It opens with its old keys, and nothing of it is kept.
                self._messages.advance(message, State.READABLE)
        execute("UPDATE tombstone SET step = 'removed'")
        execute("DELETE FROM purging")
