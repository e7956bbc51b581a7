"""Messages in clear that are to be encrypted as well: what waits, and what was made of it.

Of such a message no checkpoint is kept: its original holds all of it. Its part
says what the new copy opens to, so that it can be proven like any other.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from sectool.joblog.messages import PAGE
from sectool.joblog.parts import PartTable
from sectool.joblog.records import UNREAD, SealableMessage, SealablePart
from sectool.message import MessageRef

NO_ALGORITHM = ""
"""Content encryption algorithm of a part that was not encrypted."""

_NEVER_ENCRYPTED = (
    "NOT EXISTS (SELECT 1 FROM part WHERE part.message = message.message"
    f" AND part.content_encryption_algorithm <> '{NO_ALGORITHM}')"
)


class ClearTable:
    """Answers which messages in clear wait; all writing happens inside ``JobLog.group``."""

    def __init__(self, connection: sqlite3.Connection, parts: PartTable) -> None:
        self._connection = connection
        self._parts = parts

    def waiting(self) -> Iterator[SealableMessage]:
        """Messages that were never encrypted, seen by the walk, in the order of their rows.

        Those that failed or changed before are among them, and what came after
        decrypting: whether it is in clear, its bytes have to say. Without parts;
        rows may be changed while this runs.
        """
        after = 0
        while True:
            rows = self._connection.execute(
                "SELECT message, identity, folder, key, size, internal_date FROM message"
                " WHERE message > ?"
                " AND state IN ('clear', 'signed', 'not-in-job', 'failed', 'changed')"
                " AND identity = original_identity AND substr(identity, 1, ?) <> ?"
                " AND presence = 'present'"
                " AND EXISTS (SELECT 1 FROM temp.seen WHERE seen.message = message.message)"
                " AND NOT EXISTS"
                "   (SELECT 1 FROM replacement WHERE replacement.message = message.message)"
                f" AND {_NEVER_ENCRYPTED} ORDER BY message LIMIT ?",
                (after, len(UNREAD), UNREAD, PAGE),
            ).fetchall()
            for message, identity, folder, key, size, date in rows:
                ref = MessageRef(folder, key)
                yield SealableMessage(message, identity, identity, ref, size, date, ())
            if len(rows) < PAGE:
                return
            after = rows[-1][0]

    def take(self, message: int, part: SealablePart) -> None:
        """A new copy of a message in clear is about to be put into the mailbox.

        Args:
            message: number of its row.
            part: what the copy opens to.
        """
        self._parts.add_checkpoint(part.checkpoint)
        self._connection.execute(
            "INSERT OR REPLACE INTO part (message, path, content_digest,"
            " content_encryption_algorithm, integrity, signer, voids_signature, opens_to,"
            " placement) VALUES (?, ?, ?, ?, '', '', 0, '', '')",
            (message, part.path, part.checkpoint.content_digest, NO_ALGORITHM),
        )
