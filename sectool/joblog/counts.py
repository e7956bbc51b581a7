"""How the messages of a job stand: how many in which state, and what lies where; reads only."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta

from sectool.joblog.layers import IS_ACKNOWLEDGED, LayerTable
from sectool.joblog.parts import STANDING
from sectool.joblog.records import NOTICED, RECIPIENT_COLUMNS, Storage, moment_of
from sectool.joblog.table import Table
from sectool.outcome import NOT_DONE, Integrity, RecipientKey, State
from sectool.plaintext import Lying
from sectool.summary import LONGEST_REASON, NotDone, Summary
from sectool.values import dataclass

_UNFINISHED = "(word IN (SELECT value FROM json_each(?)) OR (word = ? AND told <> ''))"
_UNFINISHED_VALUES = (json.dumps(sorted(NOT_DONE)), State.CHECKPOINTED)
"""Of a checkpointed message a reason says why it did not go into the mailbox in clear."""

_REASONS = 32 * 1024 * 1024
"""Characters of different reasons that are kept whole of all messages together."""

_REASON_IN_SHORT = 100
"""Characters of each further one."""

_NO_COPY = "it never was encrypted and is not in the mailbox; sectool has no copy of it"


_IS_LOST_IN_CLEAR = "(presence = 'lost' AND state IN ('clear', 'signed'))"
"""Condition on a message: it is missed, and was in clear, so that nothing of it was kept."""


@dataclass(frozen=True, slots=True)
class UnfinishedMessage:
    """One message that was not done, as a list of many has it."""

    folder: str
    ref: str
    """What the store calls it there."""
    date: datetime | None
    """When the store received it; None: not known."""
    size: int
    """Bytes as stored."""
    state: State
    reason: str
    """The beginning of it, where it is long."""
    acknowledged: bool
    keys: tuple[RecipientKey, ...]
    """Those that it names, as far as they are known."""


class Counts(Table):
    """Answers how many messages of a job are in which state, folder and year."""

    def found(self) -> tuple[int, int]:
        """How many messages the job has, and how many of them the walk has seen."""
        condition, *later = "state NOT IN (?, ?)", State.NOT_IN_JOB, State.OLD_KEY
        return (
            self._number(f"SELECT count(*) FROM counted WHERE {condition}", *later),
            self._number(
                f"SELECT count(*) FROM message JOIN temp.seen USING (message) WHERE {condition}",
                *later,
            ),
        )

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
        summary.folders.update(
            dict(execute("SELECT folder, count(*) FROM counted GROUP BY folder").fetchall())
        )
        years = execute("SELECT year, count(*) FROM counted WHERE year <> '' GROUP BY year")
        summary.years.update(dict(years.fetchall()))
        algorithms = execute(
            "SELECT content_encryption_algorithm, count(*) FROM part JOIN counted USING (message)"
            " WHERE content_encryption_algorithm <> '' GROUP BY content_encryption_algorithm"
        )
        summary.content_encryption_algorithms.update(dict(algorithms.fetchall()))
        summary.job_data_removed = self._number("SELECT count(*) FROM counted WHERE purged")
        self._summarise_defects(summary)
        self._summarise_integrity(summary)
        summary.documents = self._number(
            "SELECT count(*) FROM part JOIN counted USING (message) WHERE placement = 'document'"
        )
        summary.voided_signatures = self._number(
            "SELECT count(DISTINCT message) FROM counted JOIN part USING (message)"
            " WHERE voids_signature AND replaced"
        )
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

    def unfinished(self) -> Iterator[UnfinishedMessage]:
        """Each message that is not done, one after the other; reads only."""
        keys = {
            str(number): RecipientKey(*names)
            for number, *names in self._connection.execute(
                f"SELECT recipient, {RECIPIENT_COLUMNS} FROM recipient"
            )
        }
        rows = self._connection.execute(
            "SELECT folder, key, internal_date, size, word,"
            f" iif({_IS_LOST_IN_CLEAR}, ?, substr(told, 1, ?)),"
            f" {IS_ACKNOWLEDGED}, (SELECT group_concat(recipient) FROM message_recipient"
            "   WHERE message_recipient.message = counted.message)"
            f" FROM counted WHERE {_UNFINISHED} ORDER BY folder, message",
            (_NO_COPY, LONGEST_REASON, *_UNFINISHED_VALUES),
        )
        for folder, key, date, size, word, reason, acknowledged, named in rows:
            yield UnfinishedMessage(
                folder,
                key,
                None if date is None else moment_of(date),
                size,
                State(word),
                reason,
                bool(acknowledged),
                tuple(keys[number] for number in (named or "").split(",") if number),
            )

    def _summarise_not_done(self, summary: Summary) -> None:
        rows = self._connection.execute(
            "SELECT folder, key, message_id, word, substr(told, 1, ?), original_identity,"
            f" {IS_ACKNOWLEDGED}, {_IS_LOST_IN_CLEAR}"
            f" FROM counted WHERE {_UNFINISHED} ORDER BY folder, message",
            (LONGEST_REASON, *_UNFINISHED_VALUES),
        )
        reasons = _Reasons()
        for folder, key, message_id, word, told, identity, acknowledged, has_no_copy in rows:
            reason = _NO_COPY if has_no_copy else reasons.kept(told)
            entry = NotDone(
                folder, key, message_id, State(word), reason, identity, bool(acknowledged)
            )
            summary.list_not_done(entry)
            summary.lost_in_clear += has_no_copy and not acknowledged
            if entry.acknowledged:
                summary.acknowledged[entry.state] += 1


class _Reasons:
    """Reasons of any number of messages, each kept once, in bounded memory.

    Strangers' mail decides on the words of a reason and on how many differ.
    """

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        self._room = _REASONS

    def kept(self, reason: str) -> str:
        """The same text, or its beginning once so many others are kept."""
        known = self._known.get(reason)
        if known is not None:
            return known
        if len(reason) > self._room:
            short = f"{reason[:_REASON_IN_SHORT]}…"
            return reason if len(reason) <= _REASON_IN_SHORT else short
        self._room -= len(reason)
        return self._known.setdefault(reason, reason)


@dataclass(frozen=True, slots=True)
class FormerPlaintext:
    """Plaintext that lay somewhere, and does not any more."""

    count: int = 0
    since: datetime | None = None
    """When the first of it came there; None: there was none."""
    longest: timedelta = timedelta()
    """How long one of them lay there, at most, as the clock of the machine had it."""


_IN_CLEAR = "in_clear AND presence IN ('present', 'changed')"
"""Condition on a message: its plaintext lies in the mailbox."""


_ENDS_PLAINTEXT = "('reencrypted', 'rewrapped', 'rolled-back', 'returned')"
"""Steps after which a message that was decrypted in place is none any more."""


class PlaintextTable(Table):
    """Answers what of the mail lies where in clear, as the log knows it."""

    def checkpoints(self, storage: Storage) -> Lying:
        """The checkpoints that stand and are kept in this way."""
        count, size, since = self._row(
            "SELECT count(*), total(inner_size), min(written) FROM checkpoint"
            f" WHERE storage = ? AND {STANDING}",
            storage,
        )
        return Lying(count, int(size), None if since is None else moment_of(since))

    def in_mailbox(self) -> Lying:
        """The messages that were decrypted in place, and were not encrypted since."""
        count, size = self._row(f"SELECT count(*), total(size) FROM message WHERE {_IN_CLEAR}")
        (since,) = self._row(
            "WITH undone AS (SELECT message, max(step) AS last FROM step"
            f"   WHERE name IN {_ENDS_PLAINTEXT}"
            "   GROUP BY message)"
            " SELECT min(at) FROM step JOIN message USING (message)"
            "   LEFT JOIN undone USING (message)"
            f" WHERE name = 'decrypted' AND step.step > coalesce(undone.last, 0) AND {_IN_CLEAR}"
        )
        return Lying(count, int(size), None if since is None else moment_of(since))

    def originals(self) -> int:
        """How many originals of messages were kept and not purged."""
        return self._number(
            "SELECT count(DISTINCT digest) FROM original WHERE NOT EXISTS (SELECT 1 FROM tombstone"
            " WHERE kind = 'original' AND tombstone.digest = original.digest)"
        )

    def former_checkpoints(self) -> FormerPlaintext:
        """The checkpoints in clear that were purged, for as long as the log knows of them."""
        return _former(
            *self._row(
                "WITH ended AS (SELECT content_digest, max(at) AS at FROM part"
                "   JOIN step USING (message) WHERE name = 'purged' GROUP BY content_digest)"
                " SELECT count(*), min(written), max(ended.at - written) FROM checkpoint"
                "   JOIN tombstone ON digest = content_digest LEFT JOIN ended"
                "   USING (content_digest)"
                " WHERE kind = 'checkpoint' AND tombstone.step = 'removed' AND storage = ?",
                Storage.PLAIN,
            )
        )

    def formerly_in_mailbox(self) -> FormerPlaintext:
        """The messages that lay in the mailbox in clear, and how long; each time counts."""
        return _former(
            *self._row(
                "WITH acts AS (SELECT message, name, at,"
                "   count(*) FILTER (WHERE name <> 'decrypted') OVER (PARTITION BY message"
                "     ORDER BY step ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS turn"
                f"   FROM step WHERE name = 'decrypted' OR name IN {_ENDS_PLAINTEXT}),"
                " times AS (SELECT min(at) FILTER (WHERE name = 'decrypted') AS begun,"
                "   max(at) FILTER (WHERE name <> 'decrypted') AS ended"
                "   FROM acts GROUP BY message, turn)"
                " SELECT count(*), min(begun), max(ended - begun) FROM times"
                " WHERE begun IS NOT NULL AND ended IS NOT NULL"
            )
        )


def _former(count: int, since: int | None, longest: int | None) -> FormerPlaintext:
    moment = None if since is None else moment_of(since)
    return FormerPlaintext(count, moment, timedelta(microseconds=max(0, longest or 0)))


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


class Standings(Table):
    """Answers how far the messages of a job have come."""

    def folders(self) -> list[str]:
        """Names of the folders in which messages of the job are, as far as is known."""
        rows = self._connection.execute(
            "SELECT DISTINCT folder FROM message WHERE presence = 'present' ORDER BY folder"
        )
        return [str(folder) for (folder,) in rows]

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
        keys = self._keys()
        rows = self._connection.execute(
            f"SELECT folder, state, keys, count(*) FROM (SELECT folder, state, {_NAMED} AS keys"
            "   FROM message WHERE presence = 'present'"
            "   AND state IN (SELECT value FROM json_each(?1)) AND (?2 IS NULL OR tried_with = ?2))"
            " GROUP BY folder, state, keys",
            (json.dumps(sorted(states)), tried_with),
        ).fetchall()
        for folder, state, named, messages in rows:
            yield MessagesAlike(folder, State(state), _those_in(named, keys), messages)

    def opened(self) -> Iterator[frozenset[RecipientKey]]:
        """The keys at hand that messages name which were opened, each such set once."""
        keys = self._keys()
        rows = self._connection.execute(
            f"SELECT DISTINCT {_NAMED} FROM message WHERE EXISTS (SELECT 1 FROM part"
            " WHERE part.message = message.message AND integrity <> ''"
            " AND content_encryption_algorithm <> '')"
        ).fetchall()
        for (named,) in rows:
            yield _those_in(named, keys)

    def _keys(self) -> dict[str, RecipientKey]:
        rows = self._connection.execute(
            f"SELECT recipient, {RECIPIENT_COLUMNS} FROM recipient WHERE in_history"
        )
        return {str(number): RecipientKey(*names) for number, *names in rows}

    def of(self, messages: Iterable[int]) -> dict[int, State]:
        """The states of these rows."""
        rows = self._connection.execute(
            "SELECT message, state FROM message WHERE message IN (SELECT value FROM json_each(?))",
            (json.dumps(list(messages)),),
        )
        return {int(message): State(state) for message, state in rows}


def _those_in(numbers: str, keys: Mapping[str, RecipientKey]) -> frozenset[RecipientKey]:
    return frozenset(keys[number] for number in numbers.split(",") if number)
