"""How the messages of a job stand: how many in which state, and what lies where; reads only."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sectool.joblog.layers import IS_ACKNOWLEDGED, LayerTable
from sectool.joblog.parts import STANDING
from sectool.joblog.records import NOTICED, RECIPIENT_COLUMNS, Storage, moment_of
from sectool.outcome import NOT_DONE, Integrity, RecipientKey, State
from sectool.summary import Lying, NotDone, Summary


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
        (summary.job_data_removed,) = execute(
            "SELECT count(*) FROM counted WHERE purged"
        ).fetchone()
        self._summarise_defects(summary)
        self._summarise_integrity(summary)
        (summary.documents,) = execute(
            "SELECT count(*) FROM part JOIN counted USING (message) WHERE placement = 'document'"
        ).fetchone()
        (summary.voided_signatures,) = execute(
            "SELECT count(DISTINCT message) FROM counted JOIN part USING (message)"
            " WHERE voids_signature AND replaced"
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
            f"SELECT {RECIPIENT_COLUMNS}, in_history, count(*)"
            " FROM recipient JOIN"
            "   (SELECT message, recipient FROM message_recipient"
            "     UNION SELECT message, recipient FROM layer_recipient) USING (recipient)"
            " JOIN counted USING (message) GROUP BY recipient"
        )
        for *names, in_history, count in rows:
            key = RecipientKey(*names)
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


_IN_CLEAR = "in_clear AND presence IN ('present', 'changed')"
"""Condition on a message: its plaintext lies in the mailbox."""


class PlaintextTable:
    """Answers what of the mail lies where in clear, as the log knows it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def checkpoints(self, storage: Storage) -> Lying:
        """The checkpoints that stand and are kept in this way."""
        count, size, since = self._connection.execute(
            "SELECT count(*), total(inner_size), min(written) FROM checkpoint"
            f" WHERE storage = ? AND {STANDING}",
            (storage,),
        ).fetchone()
        return Lying(count, int(size), None if since is None else moment_of(since))

    def in_mailbox(self) -> Lying:
        """The messages that were decrypted in place, and were not encrypted since."""
        count, size = self._connection.execute(
            f"SELECT count(*), total(size) FROM message WHERE {_IN_CLEAR}"
        ).fetchone()
        (since,) = self._connection.execute(
            "WITH undone AS (SELECT message, max(step) AS last FROM step"
            "   WHERE name IN ('reencrypted', 'rewrapped', 'rolled-back', 'returned')"
            "   GROUP BY message)"
            " SELECT min(at) FROM step JOIN message USING (message)"
            "   LEFT JOIN undone USING (message)"
            f" WHERE name = 'decrypted' AND step.step > coalesce(undone.last, 0) AND {_IN_CLEAR}"
        ).fetchone()
        return Lying(count, int(size), None if since is None else moment_of(since))


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
            f"SELECT recipient, {RECIPIENT_COLUMNS} FROM recipient WHERE in_history"
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
            " AND NOT replaced AND state IN (SELECT value FROM json_each(?))",
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
