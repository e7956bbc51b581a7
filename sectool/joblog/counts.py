"""Counts the messages of a job; reads only."""

from __future__ import annotations

import json
import sqlite3

from sectool.joblog.acknowledgements import IS_ACKNOWLEDGED
from sectool.joblog.layers import LayerTable
from sectool.joblog.records import NOTICED
from sectool.outcome import NOT_DONE, Integrity, RecipientKey, State
from sectool.summary import NotDone, Summary


class Counts:
    """Answers how many messages of a job are in which state, folder and year."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def found(self) -> tuple[int, int]:
        """How many messages the job has, and how many of them the walk has seen."""
        execute = self._connection.execute
        found_later = (State.NOT_IN_JOB, State.OLD_KEY)
        (messages,) = execute(
            "SELECT count(*) FROM counted WHERE state NOT IN (?, ?)", found_later
        ).fetchone()
        (seen,) = execute(
            "SELECT count(*) FROM message JOIN temp.seen USING (message) WHERE state NOT IN (?, ?)",
            found_later,
        ).fetchone()
        return int(messages), int(seen)

    def summarise(self, summary: Summary) -> None:
        """Adds the counts of all messages of the job to ``summary``."""
        execute = self._connection.execute
        for word, count, size in execute(
            "SELECT word, count(*), total(size) FROM counted GROUP BY word"
        ):
            summary.counts[State(word)] += count
            summary.messages += count
            # Not sum(): a sparse file says that it has any number of bytes.
            summary.bytes += int(size)
        for folder, count in execute("SELECT folder, count(*) FROM counted GROUP BY folder"):
            summary.folders[folder] += count
        for year, count in execute(
            "SELECT year, count(*) FROM counted WHERE year <> '' GROUP BY year"
        ):
            summary.years[year] += count
        for algorithm, count in execute(
            "SELECT content_encryption_algorithm, count(*) FROM part JOIN counted USING (message)"
            " WHERE content_encryption_algorithm <> '' GROUP BY content_encryption_algorithm"
        ):
            summary.content_encryption_algorithms[algorithm] += count
        self._summarise_defects(summary)
        self._summarise_integrity(summary)
        (summary.documents,) = execute(
            "SELECT count(*) FROM part JOIN counted USING (message) WHERE placement = 'document'"
        ).fetchone()
        (summary.voided_signatures,) = execute(
            "SELECT count(DISTINCT message) FROM counted JOIN part USING (message)"
            " WHERE voids_signature AND identity <> original_identity"
        ).fetchone()
        self._summarise_recipients(summary)
        self._summarise_not_done(summary)
        layers = LayerTable(self._connection)
        summary.needs_old_keys.extend(layers.needing_old_keys())
        summary.left_parts.extend(layers.left_parts())

    def _summarise_defects(self, summary: Summary) -> None:
        rows = self._connection.execute(
            "SELECT substr(name, length(?1) + 1), count(DISTINCT message)"
            " FROM step JOIN counted USING (message)"
            " WHERE substr(name, 1, length(?1)) = ?1 GROUP BY name",
            (NOTICED,),
        )
        for defect, count in rows:
            summary.count_defect(defect, count)

    def _summarise_integrity(self, summary: Summary) -> None:
        rows = self._connection.execute(
            "SELECT integrity, signer, count(*) FROM part JOIN counted USING (message)"
            " WHERE integrity <> '' GROUP BY integrity, signer"
        )
        for integrity, signer, count in rows:
            summary.integrity[Integrity(integrity), signer] += count

    def _summarise_recipients(self, summary: Summary) -> None:
        rows = self._connection.execute(
            "SELECT issuer, serial_number, subject_key_identifier, in_history, count(*)"
            " FROM recipient JOIN"
            "   (SELECT message, recipient FROM message_recipient"
            "     UNION SELECT message, recipient FROM layer_recipient) USING (recipient)"
            " JOIN counted USING (message) GROUP BY recipient"
        )
        for issuer, serial_number, subject_key_identifier, in_history, count in rows:
            key = RecipientKey(issuer, serial_number, subject_key_identifier)
            summary.keys[key] = count
            if in_history:
                summary.keys_in_history.add(key)

    def _summarise_not_done(self, summary: Summary) -> None:
        rows = self._connection.execute(
            "SELECT folder, key, message_id, word, told, original_identity,"
            f" {IS_ACKNOWLEDGED} FROM counted"
            " WHERE word IN (SELECT value FROM json_each(?)) OR (word = ? AND told <> '')"
            " ORDER BY folder, message",
            # A reason there says why the message did not go into the mailbox in clear.
            (json.dumps(sorted(NOT_DONE)), State.CHECKPOINTED),
        )
        for folder, key, message_id, word, reason, identity, acknowledged in rows:
            entry = NotDone(
                folder, key, message_id, State(word), reason, identity, bool(acknowledged)
            )
            summary.not_done.append(entry)
            if entry.acknowledged:
                summary.acknowledged[entry.state] += 1
