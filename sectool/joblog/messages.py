"""What the job log knows of every message, and how it is found again.

Inside a walk each stored copy claims one row: by place and hint where nothing
changed, else by identity. Matching is by multiset, so that the same
ciphertext in two folders is two messages.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence

from sectool.errors import JobLogDamaged
from sectool.joblog.changes import Changes
from sectool.joblog.copies import CopyTable
from sectool.joblog.parts import PartTable
from sectool.joblog.records import (
    LISTING_COLUMNS,
    MESSAGE_COLUMNS,
    NOTICED,
    ON_TRIAL,
    Examination,
    MessageRecord,
    NewCopy,
    StoredCopy,
    listing_of,
    now,
    number_of,
)
from sectool.joblog.schema import LEGAL_STEPS
from sectool.joblog.table import Table
from sectool.message import Listing, MessageRef
from sectool.outcome import Identity, MessageDigest, Proof, State, blotted

REPLACED = frozenset({State.REENCRYPTED, State.REWRAPPED, State.VERIFIED})
"""States of a message whose stored copy is one that sectool wrote."""

KEPT = REPLACED | {State.CHECKPOINTED}
"""States that a further examination with other keys never takes back."""

PAGE = 256
"""Rows read at a time while the table is being changed."""

_NONE_LEFT = 1 << 62
"""Larger than the number of any row."""

_SEARCHES = 50_000
"""Searches whose end is remembered; forgetting one costs time only."""


class MessageTable(Table):
    """The message rows of a job log; all writing happens inside ``JobLog.group``."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection)
        self.parts = PartTable(connection)
        self.copies = CopyTable(connection, self)
        self._unseen = "gone"
        self._passed: dict[tuple[str, ...], int] = {}
        self.changes = Changes(connection)

    # --- the one function through which every state changes ---------------------

    def advance(
        self,
        message: int,
        state: State,
        *,
        reason: str = "",
        proof: Proof | None = None,
        step: str = "",
    ) -> None:
        """Takes a message to ``state`` and writes the step down.

        Args:
            message: number of the row.
            state: where to; must be a legal step from where it is.
            reason: why it is not done; empty where it is.
            proof: of a replacement.
            step: name of the step; the state's own word when empty.

        Raises:
            JobLogDamaged: the row is not there, or the step is not legal from its state.
        """
        self._check_legal([message], state)
        self._connection.execute(
            "UPDATE message SET state = ?, reason = ?, proof = ? WHERE message = ?",
            (state, blotted(reason), proof or "", message),
        )
        self.note_steps([message], step or state)
        self.changes.note([message])

    def replace_copies(self, copies: Sequence[NewCopy], state: State, proof: Proof | None) -> None:
        """As ``advance``, for messages of which other copies lie in the mailbox from now on.

        Args:
            copies: one for each message.
            state: where all of them come.
            proof: of the copies.

        Raises:
            JobLogDamaged: as ``advance``.
        """
        messages = [copy.message for copy in copies]
        self._check_legal(messages, state)
        # A row in one of the places can only be this very copy, met by a walk that did not know it.
        self._displace([("gone", *copy.columns[:2], copy.message) for copy in copies])
        self._connection.executemany(
            "UPDATE message SET folder = ?1, key = ?2, hint = ?3, size = ?4, presence = 'present',"
            " stored_copy = ?5, identity = ?6,"
            " plaintext_identity = iif(?5 = 'plaintext', ?6, plaintext_identity),"
            " state = ?7, reason = '', proof = ?8 WHERE message = ?9",
            [(*copy.columns, state, proof or "", copy.message) for copy in copies],
        )
        self._connection.execute(
            "INSERT OR IGNORE INTO temp.seen SELECT value FROM json_each(?)",
            (json.dumps(messages),),
        )
        self.note_steps(messages, state)
        self.changes.note(messages)

    def _check_legal(self, messages: Sequence[int], state: State) -> None:
        rows = self._connection.execute(
            "SELECT message, state FROM message WHERE message IN (SELECT value FROM json_each(?))",
            (json.dumps(messages),),
        )
        known = dict(rows.fetchall())
        for message in messages:
            before = known.get(message)
            if before is None or state not in LEGAL_STEPS[State(before)]:
                raise JobLogDamaged(
                    f"message {message} of the job log cannot go from {before} to {state}"
                )

    def note_steps(self, messages: Iterable[int], step: str) -> None:
        """Writes down that a step was taken on each of some messages."""
        moment = now()
        self._connection.executemany(
            "INSERT INTO step (at, message, name) VALUES (?, ?, ?)",
            [(moment, message, step) for message in messages],
        )

    # --- a walk ---------------------------------------------------------------

    def begin_walk(self, *, unseen: str = "gone") -> None:
        """Forgets which messages were seen; kept in memory, not in the file.

        Args:
            unseen: presence of a message at whose place the walk finds another,
                until it turns up elsewhere: ``gone`` or ``lost``.
        """
        self._unseen = unseen
        self._connection.execute(
            "CREATE TEMP TABLE IF NOT EXISTS seen (message INTEGER PRIMARY KEY)"
        )
        self._connection.execute("DELETE FROM temp.seen")
        self._passed.clear()
        self.copies.begin_walk()

    def changed_at(self, ref: MessageRef) -> int | None:
        """The replaced message whose copy at this place was changed by somebody."""
        row = self._row(
            "SELECT message FROM message"
            " WHERE folder = ? AND key = ? AND presence = 'changed' AND replaced",
            *(ref.folder, ref.key),
        )
        return None if row is None else int(row[0])

    def see(self, message: int) -> None:
        """The walk found this message."""
        self._connection.execute("INSERT OR IGNORE INTO temp.seen VALUES (?)", (message,))

    def is_seen(self, message: int) -> bool:
        """Whether the walk found this message."""
        return self._has("SELECT 1 FROM temp.seen WHERE message = ?", message)

    def unsee(self, message: int) -> None:
        """A message that the walk found has gone since."""
        self._connection.execute("DELETE FROM temp.seen WHERE message = ?", (message,))

    def look_again(
        self, messages: Iterable[int], takes: Callable[[Listing], bool]
    ) -> list[Listing]:
        """Where messages lie that are to be examined once more in this walk.

        The walk forgets having seen them.

        Args:
            messages: rows; those that the walk did not find or that sectool replaced are left.
            takes: whether one is to be.
        """
        rows = self._connection.execute(
            f"SELECT message, {LISTING_COLUMNS} FROM message JOIN temp.seen USING (message)"
            " WHERE message IN (SELECT value FROM json_each(?)) AND presence = 'present'"
            " AND stored_copy = 'found' ORDER BY message",
            (json.dumps(sorted(messages)),),
        ).fetchall()
        taken = []
        for message, *columns in rows:
            listing = listing_of(*columns)
            if takes(listing):
                self.unsee(message)
                taken.append(listing)
        self._passed.clear()
        return taken

    def set_tried(self, digest: str, messages: Iterable[int]) -> None:
        """Messages that were on trial have been tried with these keys now."""
        self._connection.executemany(
            "UPDATE message SET tried_with = ? WHERE message = ? AND tried_with = ?",
            [(digest, message, ON_TRIAL) for message in messages],
        )

    def set_tried_instead(self, digest: str, former: str, *, but: Iterable[int]) -> None:
        """What was tried with the former keys is as if tried with these, but for some rows."""
        self._connection.execute(
            "UPDATE message SET tried_with = ? WHERE tried_with = ?"
            " AND message NOT IN (SELECT value FROM json_each(?))",
            (digest, former, json.dumps(sorted(but))),
        )

    def at(self, ref: MessageRef) -> MessageRecord | None:
        """The message that was last seen at this place."""
        row = self._row(
            f"SELECT {MESSAGE_COLUMNS} FROM message"
            " WHERE folder = ? AND key = ? AND presence = 'present'",
            ref.folder,
            ref.key,
        )
        return None if row is None else MessageRecord.of_row(row)

    def claim_examined(self, examination: Examination) -> MessageRecord | None:
        """As ``claim``, by whatever the copy that was examined may be known by.

        What reads like a plaintext copy of the job, and is none that it knows byte for byte,
        waits for all others (``CopyTable``).
        """
        read_like = self.copies.read_like(examination)
        return self.claim(
            examination.listing, examination.in_clear if read_like else examination.identity
        )

    def claim(self, listing: Listing, identity: Identity) -> MessageRecord | None:
        """The row of the stored copy at ``listing``, found by identity and moved to its place.

        A row at this very place comes first, then one with the same name in
        another folder, then one whose copy was there at the last walk, then any
        that the walk has not seen. The row is marked as seen. None: no message
        of the job is left that this copy could be.

        Args:
            listing: of the stored copy.
            identity: what it is known by.
        """
        ref = listing.ref
        present = "identity = ? AND presence = 'present'"
        # Most mail is new, and then this is the only question.
        anywhere = self.first_unseen("identity = ?", identity)
        if anywhere is None:
            return None
        # "+": by the index of the key, which few copies share, not of the folder.
        here = "identity = ? AND key = ? AND +folder = ?"
        found = (
            self.first_unseen(here, identity, ref.key, ref.folder)
            or self.first_unseen("identity = ? AND key = ?", identity, ref.key)
            or self.first_unseen(f"{present} AND folder = ?", identity, ref.folder)
            or self.first_unseen(present, identity)
            or anywhere
        )
        record = MessageRecord.of_row(found)
        self.take_place(record.message, listing)
        return record

    def take_place(self, message: int, listing: Listing) -> None:
        """The walk found this message at ``listing``."""
        self.relocate(message, listing, displaced=self._unseen)
        self._note_found(message)

    def _note_found(self, message: int) -> None:
        self.see(message)
        self.copies.note_there(message)

    def first_unseen(self, condition: str, *values: str) -> tuple[object, ...] | None:
        """The first row that meets a condition and that the walk has not seen.

        No message becomes unseen during a walk, so that each search goes on where
        the same one ended: thousands of mails with the same body would be looked
        through for each of them otherwise.
        """
        search = (condition, *values)
        row: tuple[object, ...] | None = self._row(
            f"SELECT {MESSAGE_COLUMNS} FROM message WHERE {condition} AND message >= ?"
            " AND NOT EXISTS (SELECT 1 FROM temp.seen WHERE seen.message = message.message)"
            " ORDER BY message LIMIT 1",
            *values,
            self._passed.get(search, 0),
        )
        if len(self._passed) >= _SEARCHES:
            self._passed.clear()
        self._passed[search] = _NONE_LEFT if row is None else int(str(row[0]))
        return row

    def stays(self, ref: MessageRef) -> MessageRecord | None:
        """The message of the job that is at ``ref``, where no copy elsewhere claimed it.

        It is marked as seen. For a copy that cannot be read now, after all
        others have had their claim: what it is, only its place can tell.
        """
        known = self.at(ref)
        if known is not None:
            self.see(known.message)
        return known

    def claim_returned(self, listing: Listing, original_identity: Identity) -> MessageRecord | None:
        """A replaced message whose new copy the walk did not find, but whose old copy is back.

        Happens when a mailbox is restored from a backup. The row becomes
        ``checkpointed`` again, unless its checkpoint is purged, or ``readable``
        where no checkpoint was ever kept, or ``clear``. Only after all copies have had their claim.
        """
        row = self.first_unseen(
            "original_identity = ? AND replaced AND NOT purged", original_identity
        )
        if row is None:
            return None
        record = MessageRecord.of_row(row)
        self.set_copy(record.message, StoredCopy.FOUND, record.original_identity)
        self.take_place(record.message, listing)
        state = State.CHECKPOINTED if self.parts.are_stored(record.message) else State.READABLE
        if not self.parts.were_encrypted(record.message):
            state = State.CLEAR
        self.advance(record.message, state, step="returned")
        return record

    def relocate(self, message: int, listing: Listing, *, displaced: str) -> None:
        """The message lies at ``listing`` now; what was noted there before gets ``displaced``.

        A copy that could not be read before, and can be now, leaves no trace.
        """
        place = (listing.ref.folder, listing.ref.key)
        self._displace([(displaced, *place, message)])
        self._connection.execute(
            "UPDATE message SET folder = ?, key = ?, hint = ?, size = ?, presence = 'present'"
            " WHERE message = ?",
            (*place, listing.hint, listing.size, message),
        )

    def _displace(self, places: Sequence[tuple[str, str, str, int]]) -> None:
        """Presence that others get, folder and key that they give up, and to which message."""
        self._connection.executemany(
            "UPDATE message SET presence = iif(stored_copy = 'unread', 'gone', ?)"
            " WHERE folder = ? AND key = ? AND presence = 'present' AND message <> ?",
            places,
        )

    def set_copy(self, message: int, copy: StoredCopy, identity: Identity) -> None:
        """Such a copy lies in the mailbox from now on, and is known by this identity."""
        self._connection.execute(
            "UPDATE message SET stored_copy = ?1, identity = ?2,"
            " plaintext_identity = iif(?1 = 'plaintext', ?2, plaintext_identity)"
            " WHERE message = ?3",
            (copy, identity, message),
        )

    def mark_changed(
        self, listing: Listing, message_id: str, *, only_replaced: bool = False
    ) -> bool:
        """Whether the copy at ``listing`` stands where a message of the job was, with its name.

        Only after all copies have had their claim: then its content is not that
        of the message any more, and the message is ``changed`` until a copy with
        its content turns up.
        """
        row = self._row(
            "SELECT message FROM message WHERE folder = ? AND key = ? AND message_id = ?"
            " AND message_id <> '' AND state NOT IN ('not-in-job', 'old-key')"
            " AND presence <> 'gone'"
            " AND (NOT ? OR replaced)"
            " AND NOT EXISTS (SELECT 1 FROM temp.seen WHERE seen.message = message.message)",
            listing.ref.folder,
            listing.ref.key,
            message_id,
            only_replaced,
        )
        if row is not None:
            self.set_changed(int(row[0]))
        return row is not None

    def set_changed(self, message: int) -> None:
        """The copy at the place of this message is not it any more; its state waits."""
        self._connection.execute(
            "UPDATE message SET presence = 'changed' WHERE message = ?", (message,)
        )
        self.see(message)

    def end_walk(self, *, unseen: str, forgives_clear: bool = False) -> None:
        """Gives the messages that a complete walk did not find a presence, ``gone`` or ``lost``.

        Mail that never was of the job cannot be lost to it. With ``forgives_clear`` mail in clear
        can only have been deleted by its owner.
        """
        self._connection.execute(
            "UPDATE message SET presence = iif(state IN (?, ?) OR (? AND state IN (?, ?)),"
            "   'gone', ?)"
            " WHERE presence IN ('present', 'changed')"
            " AND NOT EXISTS (SELECT 1 FROM temp.seen WHERE seen.message = message.message)",
            (State.NOT_IN_JOB, State.OLD_KEY, forgives_clear, State.CLEAR, State.SIGNED, unseen),
        )

    def forgive_losses(self, *, replaced: bool = True) -> None:
        """What was missed was deleted by its owner: it leaves the job.

        Before the move nobody else can have done it; after it a person has to say so.

        Args:
            replaced: also those whose last copy was one that sectool wrote.
        """
        self._connection.execute(
            "UPDATE message SET presence = 'gone' WHERE presence = 'lost' AND (? OR NOT replaced)",
            (replaced,),
        )

    # --- what an examination found ------------------------------------------------

    def record(
        self, examination: Examination, is_own: Callable[[MessageDigest], bool] = lambda _: False
    ) -> int:
        """Takes down what an examination found, in the row of its message or a new one.

        What is checkpointed or replaced stays so whatever this examination,
        perhaps with fewer keys, says of it.

        Args:
            examination: of the stored copy.
            is_own: as ``CopyTable.claim`` has it, for what waited for all others.

        Returns:
            Number of the row.
        """
        claimed = self.claim_examined(examination) or self.copies.claim(examination, is_own)
        self.parts.add_checkpoints(examination, claimed)
        if claimed is not None and (claimed.state in KEPT or claimed.is_own_copy):
            return claimed.message
        if claimed is None and (copy := self.copies.join(examination)):
            return copy
        message = self.insert(examination) if claimed is None else claimed.message
        self.changes.note([message])
        if claimed is not None:
            self.advance(message, examination.state, reason=examination.reason)
            self._connection.execute(
                "UPDATE message SET tried_with = ?, year = ?, message_id = ?, purged = 0"
                " WHERE message = ?",
                (examination.tried_with, examination.year, examination.message_id, message),
            )
        for content_digest in examination.released:
            self.note_steps([message], f"accepted {content_digest}")
        for defect in examination.defects:
            self.note_steps([message], f"{NOTICED}{defect}")
        self.parts.write(message, examination, is_new=claimed is None)
        return message

    def insert(self, examination: Examination, *, is_further: bool = False) -> int:
        """A new row for a copy that no row is of.

        Args:
            examination: of it.
            is_further: whether it is a further copy of a plaintext that the job put there.
        """
        if examination.state not in LEGAL_STEPS[None]:
            raise JobLogDamaged(f"no message of a job log begins as {examination.state}")
        listing = examination.listing
        date, place = listing.internal_date, (listing.ref.folder, listing.ref.key)
        self._displace([(self._unseen, *place, 0)])
        cursor = self._connection.execute(
            "INSERT INTO message (identity, original_identity, plaintext_identity, stored_copy,"
            " further, state, reason, proof, purged, folder, key, hint, size, year, internal_date,"
            " message_id, tried_with, presence) VALUES (?1, ?1, iif(?3, ?1, ''), ?2, ?3, ?4, ?5,"
            " '', 0, ?10, ?11, ?12, ?13, ?6, ?7, ?8, ?9, 'present')",
            (
                examination.identity,
                StoredCopy.FOUND if examination.is_read else StoredCopy.UNREAD,
                is_further,
                examination.state,
                blotted(examination.reason),
                examination.year,
                None if date is None else number_of(date),
                examination.message_id,
                examination.tried_with,
                *place,
                listing.hint,
                listing.size,
            ),
        )
        message = int(cursor.lastrowid or 0)
        self.copies.note_new(message)
        self._note_found(message)
        self.note_steps([message], examination.state)
        return message
