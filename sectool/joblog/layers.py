"""The encrypted layers of the job's messages beside their parts, and the keys they still need."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import Any

from sectool.joblog.records import RECIPIENT_COLUMNS, UNREACHED, LayerRecord
from sectool.joblog.table import Table
from sectool.outcome import ContentDigest, RecipientKey, State, blotted
from sectool.summary import LONGEST_REASON, LeftPart, NeedsOldKeys

NOT_EVERYBODYS = (
    "an encrypted layer lies inside that not everybody can read who reads what is around it"
)
"""Why a layer of a shared mailbox keeps its recipients."""

IS_KEPT = "layer.reason <> ''"
"""Condition on a layer: it keeps its recipients."""

IS_ACKNOWLEDGED = (
    "EXISTS (SELECT 1 FROM acknowledgement AS a WHERE a.identity = original_identity"
    " AND (a.state = word OR (a.state = '' AND word NOT IN ('lost', 'changed'))))"
)
"""Condition on a row of ``counted``."""

_NEEDS_OLD_KEY = (
    f"{IS_KEPT} AND (layer.hides_recipients OR EXISTS"
    " (SELECT 1 FROM layer_recipient AS named JOIN recipient AS who USING (recipient)"
    "   WHERE who.in_history AND named.message = layer.message"
    "   AND named.part = layer.part AND named.path = layer.path))"
)
"""Condition on a layer: what names strangers alone was never its owner's to read."""

_KEY = "message, part, path"


class LayerTable(Table):
    """The layer rows of a job log; written inside ``JobLog.group``."""

    def write(
        self,
        message: int,
        layers: Iterable[LayerRecord],
        add_recipient: Callable[[RecipientKey], int],
    ) -> None:
        """The layers of a message, of which none are known.

        Args:
            message: number of the row.
            layers: all of them.
            add_recipient: gives the number of a recipient's row.
        """
        execute = self._connection.execute
        for layer in layers:
            position = (message, layer.part, layer.path)
            execute(
                "INSERT INTO layer (message, part, path, content_digest, reason, hides_recipients)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (*position, layer.content_digest, blotted(layer.reason), layer.hides_recipients),
            )
            for recipient in layer.recipients:
                execute(
                    "INSERT OR IGNORE INTO layer_recipient VALUES (?, ?, ?, ?)",
                    (*position, add_recipient(recipient)),
                )

    def keep_from_others(self, content_digest: ContentDigest) -> None:
        """A layer in a part keeps its recipients, where not everybody opens it who opens the part.

        Keys that came in a later run may open the part, wherever it lies, and not the layer.

        Args:
            content_digest: of the part.
        """
        self._connection.execute(
            f"UPDATE layer SET reason = ?1 WHERE path <> '' AND NOT ({IS_KEPT})"
            " AND (message, part) IN (SELECT message, path FROM part WHERE content_digest = ?2)"
            " AND EXISTS (SELECT 1 FROM reader WHERE content_digest = ?2 AND address NOT IN"
            "   (SELECT address FROM reader WHERE content_digest = layer.content_digest))",
            (NOT_EVERYBODYS, content_digest),
        )
        # What lies in one that stays can only stay.
        self._connection.execute(
            f"UPDATE layer SET reason = ?1 WHERE NOT ({IS_KEPT})"
            " AND (message, part) IN (SELECT message, path FROM part WHERE content_digest = ?2)"
            " AND EXISTS (SELECT 1 FROM layer AS around WHERE around.message = layer.message"
            "   AND around.part = layer.part AND around.path <> '' AND around.reason <> ''"
            "   AND substr(layer.path, 1, length(around.path) + 1) = around.path || '!')",
            (NOT_EVERYBODYS, content_digest),
        )

    def of_part(self, content_digest: ContentDigest) -> list[LayerRecord]:
        """The layers in the plaintext of a part, as one of the messages has them that hold it."""
        rows = self._connection.execute(
            "SELECT part, path, layer.content_digest, reason, hides_recipients FROM layer"
            " WHERE path <> '' AND (message, part) ="
            "   (SELECT message, path FROM part WHERE content_digest = ?"
            "     AND EXISTS (SELECT 1 FROM layer WHERE layer.message = part.message"
            "       AND layer.part = part.path) ORDER BY message LIMIT 1)",
            (content_digest,),
        ).fetchall()
        return [
            LayerRecord(
                part, path, digest, self._recipients(content_digest, path), reason, bool(hides)
            )
            for part, path, digest, reason, hides in rows
        ]

    def _recipients(self, content_digest: ContentDigest, path: str) -> tuple[RecipientKey, ...]:
        rows = self._connection.execute(
            f"SELECT DISTINCT {RECIPIENT_COLUMNS}"
            " FROM layer_recipient JOIN recipient USING (recipient)"
            " WHERE path = ? AND (message, part) IN"
            "   (SELECT message, path FROM part WHERE content_digest = ?)",
            (path, content_digest),
        )
        return tuple(RecipientKey(*row) for row in rows)

    def positions(self, message: int, *, kept: bool) -> frozenset[tuple[str, str]]:
        """Part and path of the layers of a message that keep their recipients, or that do not."""
        rows = self._connection.execute(
            f"SELECT part, path FROM layer WHERE message = ? AND ({IS_KEPT}) = ?", (message, kept)
        )
        return frozenset((part, path) for part, path in rows)

    def resealed(self, message: int) -> frozenset[str]:
        """Content digests of the layers of a message that are encrypted again with it.

        Not of one that stands in another place of it as well and keeps its recipients there.
        """
        rows = self._connection.execute(
            f"SELECT content_digest FROM layer WHERE message = ?1 AND NOT ({IS_KEPT})"
            f" EXCEPT SELECT content_digest FROM layer WHERE message = ?1 AND {IS_KEPT}",
            (message,),
        )
        return frozenset(digest for (digest,) in rows)

    def find_late(self, held: Iterable[RecipientKey], reason: str) -> None:
        """Notes of layers in messages that were replaced that their keys came only afterwards.

        Args:
            held: what recipients may call the keys of this run, without addresses.
            reason: why these layers keep their recipients.
        """
        execute = self._connection.execute
        for key in held:
            row = execute(
                f"SELECT recipient FROM recipient WHERE ({RECIPIENT_COLUMNS}) = (?, ?, ?)"
                " AND NOT in_history",
                key.names,
            ).fetchone()
            if row is None:
                continue
            execute(
                f"UPDATE layer SET reason = ?1 WHERE {IS_KEPT} AND NOT ({_NEEDS_OLD_KEY})"
                " AND message IN (SELECT message FROM message"
                "   WHERE state IN ('reencrypted', 'rewrapped', 'verified'))"
                f" AND ({_KEY}) IN (SELECT {_KEY} FROM layer_recipient WHERE recipient = ?2)",
                (reason, *row),
            )
            execute("UPDATE recipient SET in_history = 1 WHERE recipient = ?", row)

    def needing_old_keys(self) -> Iterator[NeedsOldKeys]:
        """Messages with a layer that keeps an old key needed, in the order of folders."""
        for _, group in groupby(self._told(_NEEDS_OLD_KEY), key=lambda row: row[0]):
            entries = list(group)
            _, _, _, folder, key, message_id, word, identity, acknowledged, reason, *_ = entries[0]
            yield NeedsOldKeys(
                folder,
                key,
                message_id,
                State(word),
                reason,
                _recipients_in(entries),
                identity,
                bool(acknowledged),
            )

    def left_parts(self) -> Iterator[LeftPart]:
        """Encrypted parts that stay as they are, in the order of folders."""
        condition = f"{IS_KEPT} AND (layer.path = '' OR substr(layer.path, 1, 1) = '{UNREACHED}')"
        for _, group in groupby(self._told(condition), key=lambda row: row[:3]):
            entries = list(group)
            _, part, _, folder, key, message_id, word, identity, _, reason, *_ = entries[0]
            yield LeftPart(
                folder,
                key,
                message_id,
                State(word),
                part,
                reason,
                _recipients_in(entries),
                identity,
            )

    def _told(self, condition: str) -> Iterator[tuple[Any, ...]]:
        """Layers that meet a condition, a row for each recipient."""
        return self._connection.execute(
            "SELECT counted.message, layer.part, layer.path, folder, key, message_id, word,"
            " original_identity,"
            f" {IS_ACKNOWLEDGED}, substr(layer.reason, 1, {LONGEST_REASON}), {RECIPIENT_COLUMNS}"
            f" FROM counted JOIN layer USING (message) LEFT JOIN layer_recipient USING ({_KEY})"
            f" LEFT JOIN recipient USING (recipient) WHERE {condition}"
            " AND word NOT IN ('lost', 'rolled-back')"
            " ORDER BY folder, counted.message, layer.part, layer.path, recipient"
        )


def _recipients_in(entries: list[tuple[Any, ...]]) -> tuple[RecipientKey, ...]:
    names = [tuple(entry[10:]) for entry in entries if entry[10] is not None]
    return tuple(RecipientKey(*name) for name in dict.fromkeys(names))
