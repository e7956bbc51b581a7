"""What persons decided: messages that cannot be done, and those given up for old keys.

An acknowledgement names a message by the identity it was first found with,
which a move does not change, and is good for the states it was given for: what
was acknowledged as ``missing-key`` and is ``lost`` now is reported again. An acknowledged message
stays counted, and fails no run.

A message is given up for one key, named by its public half, and counts against that key no more.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from sectool.joblog.layers import IS_ACKNOWLEDGED, IS_KEPT
from sectool.joblog.records import LISTING_COLUMNS, RECIPIENT_COLUMNS, listing_of, moment_of, now
from sectool.joblog.table import Table, ValueTable
from sectool.message import Listing, MessageRef
from sectool.outcome import (
    NOT_DONE,
    Identity,
    Proof,
    PublicKeyDigest,
    RecipientKey,
    State,
    blotted,
)
from sectool.retirement import GivenUp, LookedAt
from sectool.summary import RetiredKey
from sectool.values import dataclass

HAPPENED = frozenset({State.LOST, State.CHANGED})
"""States that come of what someone did: only acknowledged where they are named."""


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """One message that a person knows cannot be done."""

    identity: Identity
    """As ``NotDone`` tells it."""
    state: State | None = None
    """The only state it is good for; None: any but those of ``HAPPENED``."""


class AcknowledgementTable(Table):
    """What a person acknowledged; all writing happens inside ``JobLog.group``."""

    def add(self, acknowledgements: Iterable[Acknowledgement]) -> None:
        """Later commands of the job honour these, too."""
        self._connection.executemany(
            "INSERT OR IGNORE INTO acknowledgement VALUES (?, ?)",
            [(one.identity, one.state or "") for one in acknowledgements],
        )

    def is_matched(self, acknowledgement: Acknowledgement) -> bool:
        """Whether a message of the job is not done, or needs an old key, and is the one meant."""
        states = NOT_DONE - HAPPENED if acknowledgement.state is None else {acknowledgement.state}
        return self._has(
            "SELECT 1 FROM counted WHERE original_identity = ?"
            " AND (word IN (SELECT value FROM json_each(?)) OR (? AND EXISTS"
            "   (SELECT 1 FROM layer WHERE layer.message = counted.message"
            "     AND layer.reason <> ''))) LIMIT 1",
            acknowledgement.identity,
            json.dumps(sorted(states & NOT_DONE)),
            acknowledgement.state is None,
        )


# --- given up for old keys ----------------------------------------------------------------------

_LAST = "old-keys"
"""Value of the job: what the last answer was, as JSON; empty since a run acted on the mailbox."""

_NAMES = "old-key-names"
"""Value of the job: what mail may call each key by that something was given up for, as JSON."""

_COLUMNS = f"{LISTING_COLUMNS}, original_identity, message_id, {IS_ACKNOWLEDGED}"

_HELD_KEPT_LAYER = (
    f"EXISTS (SELECT 1 FROM layer WHERE layer.message = counted.message AND {IS_KEPT})"
)

_NEVER_REPLACED = (
    "NOT replaced AND (state NOT IN ('clear', 'signed')"
    "   OR EXISTS (SELECT 1 FROM message_recipient AS named"
    "     WHERE named.message = counted.message))"
)


@dataclass(frozen=True, slots=True)
class Standing:
    """What the log knows of a message that speaks for keeping an old key."""

    listing: Listing
    """Where it was seen last."""
    identity: Identity
    """It was first found with."""
    message_id: str
    acknowledged: bool


class GiveUpTable(ValueTable):
    """The give_up rows of a job log and its last answers; written inside ``JobLog.group``."""

    # --- which messages ------------------------------------------------------------------

    def at(self, ref: MessageRef) -> Standing | None:
        """The message that is at this place; None where the log knows of none."""
        found = self._standings(
            "folder = ? AND key = ? AND presence IN ('present', 'changed')"
            " ORDER BY presence = 'present' DESC LIMIT 1",
            ref.folder,
            ref.key,
        )
        return next(found, None)

    def lost(self) -> Iterator[Standing]:
        """Messages that were not found and that have old recipients wherever they are.

        Whether they had any may not be known of one that was neither clear nor opened.
        """
        yield from self._standings(f"word = 'lost' AND (({_NEVER_REPLACED}) OR {_HELD_KEPT_LAYER})")

    def unproven(self) -> Iterator[Standing]:
        """Replaced messages in the mailbox that no new key has opened."""
        yield from self._standings(
            "presence = 'present' AND stored_copy = 'encrypted' AND proof <> ?"
            " AND EXISTS (SELECT 1 FROM temp.seen WHERE seen.message = counted.message)",
            Proof.OPENED,
        )

    def _standings(self, condition: str, *values: str) -> Iterator[Standing]:
        rows = self._connection.execute(f"SELECT {_COLUMNS} FROM counted WHERE {condition}", values)
        for *place, identity, message_id, acknowledged in rows:
            yield Standing(listing_of(*place), identity, message_id, bool(acknowledged))

    # --- giving up -----------------------------------------------------------------------

    def add(
        self,
        identity: Identity,
        public_key: PublicKeyDigest,
        reason: str,
        by_whom: str,
        names: Iterable[RecipientKey],
    ) -> None:
        """A person gives a message up for a key; what was given up before stays as it was.

        Args:
            identity: the message was first found with.
            public_key: SHA-256 of the key's SubjectPublicKeyInfo, lower-case hexadecimal.
            reason: in the person's words.
            by_whom: who they are to the system.
            names: what a recipient may call the key.
        """
        self._connection.execute(
            "INSERT OR IGNORE INTO give_up (identity, public_key, reason, by_whom, at)"
            " VALUES (?, ?, ?, ?, ?)",
            (identity, public_key, reason, by_whom, now()),
        )
        known = self._names()
        texts = [name.names for name in names]
        known[public_key] = [list(text) for text in dict.fromkeys(texts)]
        self.set_value(_NAMES, json.dumps(known))

    def of(self, public_key: PublicKeyDigest) -> dict[str, GivenUp]:
        """What was given up for a key, by the identities of the messages."""
        rows = self._connection.execute(
            "SELECT identity, reason, by_whom, at FROM give_up WHERE public_key = ?", (public_key,)
        )
        return {
            identity: GivenUp(identity, reason, by_whom, moment_of(at))
            for identity, reason, by_whom, at in rows
        }

    def settled(self) -> list[tuple[int, str]]:
        """Messages, with their identities, that need no key for which they are not given up.

        Those of which every recipient that the key history held and that stays is a key
        for which the message was given up.
        """
        names = self._names()
        rows = self._connection.execute(
            "SELECT message, identity, public_key FROM"
            " (SELECT message, original_identity AS identity FROM message) JOIN give_up"
            " USING (identity) ORDER BY message"
        ).fetchall()
        given_up: dict[tuple[int, str], set[tuple[str, ...]]] = {}
        for message, identity, public_key in rows:
            called = given_up.setdefault((message, identity), set())
            called.update(map(tuple, names.get(public_key, ())))
            called.update(self._bound_to(public_key))
        return [at for at, called in given_up.items() if self._is_covered(at[0], called)]

    def _bound_to(self, public_key: PublicKeyDigest) -> Iterator[tuple[str, ...]]:
        yield from self._connection.execute(
            f"SELECT {RECIPIENT_COLUMNS} FROM binding WHERE public_key = ?",
            (public_key,),
        )

    def _is_covered(self, message: int, called: set[tuple[str, ...]]) -> bool:
        rows = self._connection.execute(
            f"SELECT {RECIPIENT_COLUMNS} FROM recipient"
            " WHERE in_history AND recipient IN"
            "   (SELECT recipient FROM layer JOIN layer_recipient USING (message, part, path)"
            f"     WHERE message = ?1 AND {IS_KEPT}"
            "   UNION SELECT recipient FROM message_recipient JOIN message USING (message)"
            "     WHERE message = ?1 AND NOT replaced)",
            (message,),
        ).fetchall()
        return bool(rows) and called.issuperset(rows)

    def _names(self) -> dict[str, list[list[str]]]:
        return dict(json.loads(self.value(_NAMES) or "{}"))

    # --- the last answer -----------------------------------------------------------------

    def note_answers(self, keys: Iterable[RetiredKey]) -> None:
        """Takes down what was answered of each key; of the messages their numbers only."""
        self.set_value(_LAST, json.dumps([_noted(key) for key in keys]))

    def forget_answers(self) -> None:
        """The mailbox is about to change, so that no answer of before is true of it."""
        if self.value(_LAST):
            self.set_value(_LAST, "")

    def last_answers(self) -> list[RetiredKey] | None:
        """What ``note_answers`` took down; None where nobody asked since the mailbox changed."""
        value = self.value(_LAST)
        return [self._read(noted) for noted in json.loads(value)] if value else None

    def _read(self, noted: dict[str, Any]) -> RetiredKey:
        known = self.of(noted["public_key"])
        return RetiredKey(
            key=RecipientKey(*noted["key"]),
            file=noted["file"],
            public_key=noted["public_key"],
            needed=noted["needed"],
            unclear=noted["unclear"],
            given_up=tuple(known[identity] for identity in noted["given_up"] if identity in known),
            looked_at=LookedAt(
                noted["mailbox"],
                noted["messages"],
                noted["folders"],
                datetime.fromisoformat(noted["at"]),
            ),
        )


def _noted(key: RetiredKey) -> dict[str, Any]:
    return {
        "key": key.key.names,
        "file": blotted(key.file),
        "public_key": key.public_key,
        "needed": key.needed,
        "unclear": key.unclear,
        "given_up": [one.identity for one in key.given_up],
        "mailbox": key.looked_at.mailbox,
        "messages": key.looked_at.messages,
        "folders": key.looked_at.folders,
        "at": key.looked_at.at.isoformat(),
    }
