"""The encrypted parts of the job's messages, their recipients and checkpoints."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sectool.joblog.layers import IS_KEPT, LayerTable
from sectool.joblog.records import (
    RECIPIENT_COLUMNS,
    CheckpointRecord,
    Examination,
    MessageRecord,
    SealablePart,
    Storage,
    now,
)
from sectool.joblog.table import Table
from sectool.outcome import Binding, ContentDigest, Integrity, RecipientKey, State

STORED = "checkpoint.storage <> 'none'"
"""Condition on a checkpoint: there is, or was, a file of it."""

STANDING = (
    f"{STORED} AND NOT EXISTS (SELECT 1 FROM tombstone"
    " WHERE kind = 'checkpoint' AND digest = checkpoint.content_digest)"
)
"""Condition on a checkpoint: its file was not purged."""

CHECKPOINTS_STAND = (
    "NOT EXISTS (SELECT 1 FROM part LEFT JOIN checkpoint"
    f" ON checkpoint.content_digest = part.content_digest AND {STANDING}"
    " WHERE part.message = message.message AND checkpoint.content_digest IS NULL)"
)
"""Condition on a message: each of its parts has a checkpoint that was not purged."""

_AMONG = "message IN (SELECT value FROM json_each(?))"
"""Condition on a row: the number of its message is in a JSON array."""

_COLUMNS = (
    "content_digest, inner_sha256, inner_size, content_type, checkpoint.integrity, storage,"
    " header_sha256"
)

_OF_A_MESSAGE = {
    "part": "path, content_digest, content_encryption_algorithm, integrity, signer,"
    " voids_signature, opens_to, placement",
    "message_recipient": "recipient",
    "layer": "part, path, content_digest, reason, hides_recipients",
    "layer_recipient": "part, path, recipient",
}


def _record(columns: Sequence[Any]) -> CheckpointRecord:
    digest, inner_sha256, inner_size, content_type, integrity, storage, header_sha256 = columns
    return CheckpointRecord(
        digest,
        inner_sha256,
        inner_size,
        content_type,
        Integrity(integrity),
        Storage(storage),
        header_sha256,
    )


_RECIPIENTS = 1_000
"""Recipients whose rows are remembered; forgetting one costs time only."""

_NAMED = f"({RECIPIENT_COLUMNS}) = (?1, ?2, ?3)"


def _numbers(path: str) -> list[int]:
    """By which parts are in the order of their message: the tenth comes behind the ninth."""
    return [int(number) for number in path.split(".") if number]


class PartTable(Table):
    """The part, recipient and checkpoint rows of a job log; written inside ``JobLog.group``."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection)
        self.layers = LayerTable(connection)
        self._recipients: dict[tuple[RecipientKey, bool], int] = {}
        """Rows of recipients that were written; all mail of a mailbox names the same few."""

    def write(self, message: int, examination: Examination, *, is_new: bool = False) -> None:
        """Parts, layers and recipients of a message, in place of those known before.

        Args:
            message: number of the row.
            examination: of it.
            is_new: whether nothing was known before.
        """
        if not is_new:
            for table in _OF_A_MESSAGE:
                self._connection.execute(f"DELETE FROM {table} WHERE message = ?", (message,))
        self._connection.executemany(
            "INSERT INTO part (message, path, content_digest, content_encryption_algorithm,"
            " integrity, signer, voids_signature, opens_to, placement)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, '', ?)",
            [
                (
                    message,
                    part.path,
                    part.content_digest,
                    part.content_encryption_algorithm,
                    part.integrity or "",
                    part.signer,
                    part.voids_signature,
                    part.placement,
                )
                for part in examination.parts
            ],
        )
        self._write_recipients(message, examination)

    def add_checkpoints(self, examination: Examination, known: MessageRecord | None) -> None:
        """All that an examination opened lies durably in the job directory.

        Args:
            examination: of one message.
            known: its row where it has one; while it waits to be encrypted, parts and
                layers of it that were opened only now are encrypted with it. Where this
                examination opened less than the one before, that stands.
        """
        for checkpoint in examination.checkpoints:
            self.add_checkpoint(checkpoint)
        if examination.readers:
            self._connection.executemany(
                "INSERT OR IGNORE INTO reader (content_digest, address) VALUES (?, ?)",
                sorted(examination.readers),
            )
            for part in examination.parts:
                self.layers.keep_from_others(part.content_digest)
        if known is None or known.is_replaced:
            return
        kept = {(layer.part, layer.path) for layer in examination.layers if layer.reason}
        if self.layers.positions(known.message, kept=True) <= kept:
            return
        if not kept.isdisjoint(self.layers.positions(known.message, kept=False)):
            return
        if not self._paths(known.message) <= {part.path for part in examination.parts}:
            return
        if known.state is examination.state is State.CHECKPOINTED:
            self.write(known.message, examination)
            self._connection.execute(
                "UPDATE message SET tried_with = ? WHERE message = ?",
                (examination.tried_with, known.message),
            )

    def _paths(self, message: int) -> frozenset[str]:
        rows = self._connection.execute("SELECT path FROM part WHERE message = ?", (message,))
        return frozenset(path for (path,) in rows)

    def _write_recipients(self, message: int, examination: Examination) -> None:
        numbers = {
            recipient: self._add_recipient(recipient, recipient in examination.in_history)
            for recipient in dict.fromkeys(
                [
                    *examination.recipients,
                    *(key for layer in examination.layers for key in layer.recipients),
                ]
            )
        }
        self._connection.executemany(
            "INSERT OR IGNORE INTO message_recipient VALUES (?, ?)",
            [(message, numbers[recipient]) for recipient in examination.recipients],
        )
        self.layers.write(message, examination.layers, numbers.__getitem__)
        for part in examination.parts if examination.layers else ():
            self.layers.keep_from_others(part.content_digest)

    def forget_recipients(self) -> None:
        """A group was undone, and with it rows that it had made."""
        self._recipients.clear()

    def _add_recipient(self, recipient: RecipientKey, in_history: bool) -> int:
        if (known := self._recipients.get((recipient, in_history))) is not None:
            return known
        if len(self._recipients) >= _RECIPIENTS:
            self._recipients.clear()
        (number,) = self._row(
            f"INSERT INTO recipient ({RECIPIENT_COLUMNS}, in_history)"
            f" VALUES (?, ?, ?, ?) ON CONFLICT ({RECIPIENT_COLUMNS})"
            " DO UPDATE SET in_history = max(in_history, excluded.in_history)"
            " RETURNING recipient",
            *recipient.names,
            in_history,
        )
        self._recipients[recipient, in_history] = int(number)
        return int(number)

    def held_recipients(self) -> frozenset[RecipientKey]:
        """Recipients whose keys the history held when the mail was decrypted."""
        rows = self._connection.execute(
            f"SELECT {RECIPIENT_COLUMNS} FROM recipient WHERE in_history"
        )
        return frozenset(RecipientKey(*row) for row in rows)

    def strangers(self, message: int) -> list[RecipientKey]:
        """Recipients of a message, as it was found, whose keys the history did not hold."""
        rows = self._connection.execute(
            f"SELECT {RECIPIENT_COLUMNS} FROM recipient"
            " JOIN message_recipient USING (recipient) WHERE message = ? AND NOT in_history",
            (message,),
        )
        return [RecipientKey(*row) for row in rows]

    def strangers_of_replaced(self) -> Iterator[tuple[RecipientKey, str, int]]:
        """The same of all messages that are encrypted anew, with folder and number of messages."""
        rows = self._connection.execute(
            f"SELECT {RECIPIENT_COLUMNS}, folder, count(*)"
            " FROM recipient JOIN message_recipient USING (recipient)"
            " JOIN message USING (message) WHERE NOT in_history AND presence = 'present'"
            " AND state IN ('reencrypted', 'rewrapped', 'verified') AND replaced"
            " GROUP BY recipient, folder"
        )
        for *names, folder, count in rows:
            yield RecipientKey(*names), folder, count

    def copy(self, source: int, target: int) -> None:
        """Gives a message the parts, recipients and layers of another that has the same content."""
        for table, columns in _OF_A_MESSAGE.items():
            self._connection.execute(
                f"INSERT INTO {table} (message, {columns})"
                f" SELECT ?, {columns} FROM {table} WHERE message = ?",
                (target, source),
            )

    def copy_unopened(self, source: int, target: int) -> None:
        """As ``copy``, for a message that nobody opened in its place.

        What is known of its integrity is what the decryption of the other one proved.
        """
        self.copy(source, target)
        self._connection.execute(
            "UPDATE part SET opens_to = '', signer = '', integrity ="
            " (SELECT checkpoint.integrity FROM checkpoint"
            "   WHERE checkpoint.content_digest = part.content_digest) WHERE message = ?",
            (target,),
        )

    def add_checkpoint(self, checkpoint: CheckpointRecord) -> None:
        """A checkpoint lies durably in the job directory."""
        was_purged = self._connection.execute(
            "DELETE FROM tombstone WHERE kind = 'checkpoint' AND digest = ?",
            (checkpoint.content_digest,),
        ).rowcount
        self._connection.execute(
            "INSERT INTO checkpoint (content_digest, inner_sha256, inner_size, content_type,"
            " integrity, storage, written, header_sha256)"
            " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?9)"
            " ON CONFLICT (content_digest) DO UPDATE SET inner_sha256 = excluded.inner_sha256,"
            " inner_size = excluded.inner_size, content_type = excluded.content_type,"
            " integrity = excluded.integrity, storage = excluded.storage,"
            " written = iif(?8, excluded.written, written),"
            " header_sha256 = excluded.header_sha256",
            (
                checkpoint.content_digest,
                checkpoint.inner_sha256,
                checkpoint.inner_size,
                checkpoint.content_type,
                checkpoint.integrity,
                checkpoint.storage,
                now(),
                was_purged,
                checkpoint.header_sha256,
            ),
        )

    def content_digests(self, message: int) -> list[ContentDigest]:
        """Content digests of what is encrypted again of a message: its parts, and layers inside."""
        rows = self._connection.execute(
            "SELECT content_digest FROM part WHERE message = ?"
            f" UNION SELECT content_digest FROM layer WHERE message = ? AND NOT ({IS_KEPT})",
            (message, message),
        )
        return [ContentDigest(digest) for (digest,) in rows]

    def are_stored(self, message: int) -> bool:
        """Whether checkpoints were kept of a message, and not only their digests."""
        return not self._has(
            "SELECT 1 FROM part JOIN checkpoint USING (content_digest)"
            f" WHERE message = ? AND NOT ({STORED})",
            message,
        )

    def were_encrypted(self, message: int) -> bool:
        """Whether a message was found encrypted, and not in clear."""
        return self._has(
            "SELECT 1 FROM part WHERE message = ? AND content_encryption_algorithm <> ''", message
        )

    def checkpoints(
        self, content_digests: Iterable[ContentDigest]
    ) -> dict[ContentDigest, CheckpointRecord]:
        """The checkpoints of encrypted parts, of those that have one."""
        rows = self._connection.execute(
            f"SELECT {_COLUMNS} FROM checkpoint"
            f" WHERE content_digest IN (SELECT value FROM json_each(?)) AND {STANDING}",
            (json.dumps(list(content_digests)),),
        )
        return {record.content_digest: record for record in map(_record, rows)}

    def sealed(self, limit: int) -> list[ContentDigest]:
        """Content digests of sealed checkpoints that were not purged.

        Args:
            limit: so many at most.
        """
        rows = self._connection.execute(
            "SELECT content_digest FROM checkpoint"
            f" WHERE storage = 'sealed' AND {STANDING} LIMIT ?",
            (limit,),
        )
        return [ContentDigest(digest) for (digest,) in rows]

    def of(self, messages: Sequence[int]) -> dict[int, tuple[SealablePart, ...]]:
        """The encrypted parts that messages had at first, in their order, as the log knows them.

        Args:
            messages: numbers of the rows; one without parts is not in the answer.
        """
        numbers = json.dumps(messages)
        layers = self._resealed_layers(numbers)
        readers = self._readers(numbers)
        rows = self._connection.execute(
            f"SELECT message, path, placement, opens_to, {_COLUMNS}"
            f" FROM part JOIN checkpoint USING (content_digest) WHERE {_AMONG}",
            (numbers,),
        ).fetchall()
        found: dict[int, list[SealablePart]] = defaultdict(list)
        for message, path, placement, opens_to, *columns in sorted(
            rows, key=lambda row: _numbers(row[1])
        ):
            checkpoint = _record(columns)
            part = SealablePart(
                path,
                checkpoint,
                layers=layers.get((message, path), {}),
                placement=placement,
                readers=frozenset(readers.get(checkpoint.content_digest, ())),
                resealed_sha256=opens_to,
            )
            found[message].append(part)
        return {message: tuple(parts) for message, parts in found.items()}

    def _readers(self, numbers: str) -> dict[ContentDigest, list[str]]:
        rows = self._connection.execute(
            "SELECT content_digest, address FROM reader WHERE content_digest IN"
            f" (SELECT content_digest FROM part WHERE {_AMONG})",
            (numbers,),
        )
        found: dict[ContentDigest, list[str]] = defaultdict(list)
        for content_digest, address in rows:
            found[content_digest].append(address)
        return found

    def _resealed_layers(self, numbers: str) -> dict[tuple[int, str], dict[str, CheckpointRecord]]:
        rows = self._connection.execute(
            f"SELECT message, part, path, {_COLUMNS} FROM layer JOIN checkpoint"
            f" USING (content_digest) WHERE {_AMONG} AND NOT ({IS_KEPT})",
            (numbers,),
        )
        found: dict[tuple[int, str], dict[str, CheckpointRecord]] = defaultdict(dict)
        for message, part, path, *columns in rows:
            found[message, part][path] = _record(columns)
        return found

    def take_clear(self, message: int, part: SealablePart) -> None:
        """A new copy of a message in clear is about to be put into the mailbox.

        Of such a message no checkpoint is kept: its original holds all of it. Its part says
        what the new copy opens to, so that it can be proven like any other.

        Args:
            message: number of its row.
            part: what the copy opens to.
        """
        self.add_checkpoint(part.checkpoint)
        self._connection.execute(
            "INSERT OR REPLACE INTO part (message, path, content_digest,"
            " content_encryption_algorithm, integrity, signer, voids_signature, opens_to,"
            " placement) VALUES (?, ?, ?, '', '', '', 0, '', '')",
            (message, part.path, part.checkpoint.content_digest),
        )


class BindingTable(Table):
    """What was found; all writing happens inside ``JobLog.group``."""

    def add(self, bindings: Iterable[Binding]) -> None:
        """Later runs of the job use these at once."""
        self._connection.executemany(
            "INSERT OR IGNORE INTO binding VALUES (?, ?, ?, ?, ?)",
            [(*one.recipient.names, one.public_key, now()) for one in bindings],
        )

    def all(self) -> list[Binding]:
        """In the order in which they were found."""
        rows = self._connection.execute(
            f"SELECT {RECIPIENT_COLUMNS}, public_key FROM binding ORDER BY at, {RECIPIENT_COLUMNS}"
        )
        return [Binding(RecipientKey(*names), public_key) for *names, public_key in rows]

    def named_by(self, binding: Binding) -> int:
        """How many messages name the certificate."""
        return self._number(
            "SELECT count(DISTINCT message) FROM message_recipient JOIN counted USING (message)"
            f" JOIN recipient USING (recipient) WHERE {_NAMED}",
            *binding.recipient.names,
        )

    def shut_for(self, binding: Binding) -> frozenset[int]:
        """Messages that name it and are not open, or have a layer that names it and stays shut."""
        rows = self._connection.execute(
            f"WITH named AS (SELECT recipient FROM recipient WHERE {_NAMED})"
            " SELECT message FROM message_recipient JOIN message USING (message)"
            " WHERE recipient IN named AND state IN (?4, ?5)"
            " UNION SELECT message FROM layer_recipient JOIN layer USING (message, part, path)"
            f" WHERE recipient IN named AND {IS_KEPT}",
            (*binding.recipient.names, State.MISSING_KEY, State.REVIEW),
        )
        return frozenset(int(message) for (message,) in rows)
