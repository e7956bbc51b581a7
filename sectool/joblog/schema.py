"""The tables of the job log, what each of their values may be, and the steps that are legal.

A message row is one message of the mailbox, found again after a move by its
identity. A replacement row stands while a message has, or may have, two
copies in the mailbox; its step says which act comes next.

The tables are written in words such as ``DIGEST``, each of which stands for a type and a
constraint. They are held when a value is written, and by ``PRAGMA quick_check`` of every row when a
log is opened: a stranger, or a bad disk, can have written past them, and a digest becomes the name
of a file, a word a state, a number a sum.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import field
from enum import StrEnum

from sectool.joblog.records import (
    IN_CLEAR,
    ON_TRIAL,
    PASSED_OVER,
    UNREAD,
    Purpose,
    Storage,
    StoredCopy,
)
from sectool.outcome import Integrity, Proof, State
from sectool.values import dataclass

APPLICATION_ID = 0x5EC70001
"""Marks the SQLite file as a job log (``PRAGMA application_id``)."""

_DIGITS = 64
"""Of a SHA-256, in hexadecimal."""

_LONGEST_PATH = 1024
"""Characters of the path of a part: sixty-four levels of a few digits each."""

_CONTENTS = 8
"""Contents in each other, with more than are looked into."""

_MOMENTS = (-62_135_596_800_000_000, 253_402_300_799_999_999)
"""Microseconds from 1970 to the first and the last moment that a date can be."""

_RECENT = (0, 253_370_764_799_999_999)
"""The same of what a run notes; told in any time zone it is a date still."""

# --- the steps --------------------------------------------------------------------------------

_EXAMINED = frozenset(
    {
        State.CLEAR,
        State.SIGNED,
        State.MISSING_KEY,
        State.UNSUPPORTED,
        State.MALFORMED,
        State.UNDER_SIGNATURE,
        State.REVIEW,
        State.FAILED,
        State.CHECKPOINTED,
        State.READABLE,
        State.REFUSED,
        State.NOT_IN_JOB,
    }
)
"""What an examination of a stored message may say; of a job that exchanges recipients ``readable``
and ``refused`` in the place of ``checkpointed``, and ``not-in-job`` of mail to the new ones
already."""

_FOUND_LATER = frozenset({State.NOT_IN_JOB, State.OLD_KEY})

_ENCRYPTED = frozenset({State.REENCRYPTED, State.REWRAPPED})

_REPLACED = _ENCRYPTED | {State.VERIFIED}

_UNDOING = frozenset({State.ROLLED_BACK, State.CHANGED})
"""Where undoing a replacement may lead."""

_ANEW = frozenset({State.CHECKPOINTED, State.READABLE, State.DECRYPTED, State.FAILED, State.CLEAR})
"""Where an encryption may have to begin once more."""

LEGAL_STEPS: dict[State | None, frozenset[State]] = {
    # Decrypted: a further copy of a plaintext that lies in the mailbox.
    None: _EXAMINED | _FOUND_LATER | {State.DECRYPTED},
    **dict.fromkeys(_EXAMINED - {State.CHECKPOINTED, State.READABLE}, _EXAMINED),
    # Encrypted as well where ``--include-clear`` asks for it.
    **dict.fromkeys(
        (State.CLEAR, State.SIGNED),
        _EXAMINED | {State.REENCRYPTED, State.CHANGED},
    ),
    # It opens, and waits for its new recipients.
    State.READABLE: _EXAMINED | _ENCRYPTED | {State.CHANGED},
    **dict.fromkeys(_FOUND_LATER, _EXAMINED | _FOUND_LATER),
    # As ``clear``: it came after decrypting.
    State.NOT_IN_JOB: _EXAMINED | _FOUND_LATER | {State.REENCRYPTED, State.CHANGED},
    State.CHECKPOINTED: frozenset(
        {
            State.CHECKPOINTED,
            State.DECRYPTED,
            State.REENCRYPTED,
            State.CHANGED,
            State.FAILED,
            # Its phase was restarted, so that an original is there to be put back.
            State.ROLLED_BACK,
            # It was given up, and its checkpoint is purged.
            State.READABLE,
        }
    ),
    # Its plaintext lies in the mailbox; back to ``checkpointed`` as from ``reencrypted``.
    State.DECRYPTED: _UNDOING
    | {State.DECRYPTED, State.REENCRYPTED, State.CHECKPOINTED, State.FAILED},
    State.FAILED: _EXAMINED | _REPLACED | _UNDOING | {State.DECRYPTED},
    # What someone changed meanwhile is looked at afresh.
    State.CHANGED: _EXAMINED | _REPLACED | _UNDOING | {State.DECRYPTED},
    # Back to ``checkpointed`` when the mailbox shows the old copy again, as
    # after a restored backup.
    **dict.fromkeys(_REPLACED, _REPLACED | _UNDOING | _ANEW),
    # The old copy is back, so it is looked at like any other.
    State.ROLLED_BACK: _EXAMINED | _UNDOING,
}
"""For each state of a message the states one step may lead to; None: no row yet."""


# --- what a value may be, in SQL ----------------------------------------------------------------


def _digest(column: str) -> str:
    # Two lengths: what SQLite calls the length of a text ends before a NUL, and so does GLOB.
    return (
        f"(length({column}) = {_DIGITS} AND length(CAST({column} AS BLOB)) = {_DIGITS}"
        f" AND {column} NOT GLOB '*[^0-9a-f]*')"
    )


def _behind(prefix: str, condition: Callable[[str], str]) -> Callable[[str], str]:
    return lambda column: (
        f"({column} GLOB '{prefix}*' AND {condition(f'substr({column}, {len(prefix) + 1})')})"
    )


def _three_digests(column: str) -> str:
    length, digits = 3 * _DIGITS + 2, 3 * _DIGITS
    return (
        f"(length({column}) = {length} AND length(CAST({column} AS BLOB)) = {length}"
        f" AND {column} NOT GLOB '*[^0-9a-f:]*' AND length(replace({column}, ':', '')) = {digits}"
        f" AND substr({column}, {_DIGITS + 1}, 1) = ':'"
        f" AND substr({column}, {2 * _DIGITS + 2}, 1) = ':')"
    )


def _any_of(*conditions: Callable[[str], str]) -> Callable[[str], str]:
    return lambda column: f"({' OR '.join(condition(column) for condition in conditions)})"


def _none(column: str) -> str:
    return f"{column} = ''"


def _of(characters: str, longest: int, shortest: int = 0) -> Callable[[str], str]:
    return lambda column: (
        f"(length({column}) = length(CAST({column} AS BLOB))"
        f" AND length({column}) BETWEEN {shortest} AND {longest}"
        f" AND {column} NOT GLOB '*[^{characters}]*')"
    )


def _limited_trial(column: str) -> str:
    return (
        f"({_digest(f'substr({column}, 1, {_DIGITS})')}"
        f" AND substr({column}, {_DIGITS + 1}, 1) = ':'"
        f" AND {_of('0-9', 4, 1)(f'substr({column}, {_DIGITS + 2})')})"
    )


def _object_identifier(column: str) -> str:
    # X.660: three roots, of which two have forty arcs.
    return (
        f"({_of('0-9.', 1000, 3)(column)} AND {column} GLOB '[0-2].[0-9]*'"
        f" AND {column} NOT GLOB '*..*' AND {column} NOT GLOB '*.'"
        f" AND ({column} GLOB '2*' OR CAST(substr({column}, 3) AS INTEGER) < 40))"
    )


def _one_of(*words: str | StrEnum) -> Callable[[str], str]:
    listed = ", ".join(f"'{word}'" for word in words)
    return lambda column: f"{column} IN ({listed})"


def _between(least: int, most: int) -> Callable[[str], str]:
    return lambda column: f"{column} BETWEEN {least} AND {most}"


_identity = _any_of(
    _digest,
    _behind(IN_CLEAR, _three_digests),
    _behind(UNREAD, _digest),
)

FORMS: dict[str, tuple[str, Callable[[str], str]]] = {
    "DIGEST": ("TEXT", _digest),
    "DIGEST_OR_NONE": ("TEXT", _any_of(_none, _digest)),
    "IDENTITY": ("TEXT", _identity),
    "IDENTITY_OR_NONE": ("TEXT", _any_of(_none, _identity)),
    "NAMED_IDENTITY": ("TEXT", _any_of(_identity, _behind(PASSED_OVER, _digest))),
    "TRIED": ("TEXT", _any_of(_one_of("", ON_TRIAL), _digest, _limited_trial)),
    "OBJECT_IDENTIFIER": ("TEXT", _object_identifier),
    "YEAR": ("TEXT", _of("0-9", 5)),
    "PART": ("TEXT", _of("0-9.", _LONGEST_PATH)),
    # Of what exists only decoded: each "~" leads into a content, such as an opaque signature's.
    "POSITION": ("TEXT", _of("0-9.~", _CONTENTS * _LONGEST_PATH)),
    "PLACEMENT": ("TEXT", _of("a-z-", 32)),
    "STATE": ("TEXT", _one_of(*sorted(state for state in LEGAL_STEPS if state is not None))),
    "STATE_OR_NONE": ("TEXT", _one_of("", *sorted(State))),
    "PROOF": ("TEXT", _one_of("", *Proof)),
    "INTEGRITY": ("TEXT", _one_of(*Integrity)),
    "INTEGRITY_OR_NONE": ("TEXT", _one_of("", *Integrity)),
    "STORAGE": ("TEXT", _one_of(*Storage)),
    "PURPOSE": ("TEXT", _one_of(*Purpose)),
    "STORED_COPY": ("TEXT", _one_of(*StoredCopy)),
    "PRESENCE": ("TEXT", _one_of("present", "changed", "gone", "lost")),
    "PHASE_STATE": ("TEXT", _one_of("begun", "finished")),
    "REPLACEMENT_STEP": ("TEXT", _one_of("intended", "placed")),
    "REMOVAL_STEP": ("TEXT", _one_of("intended", "removed")),
    "FILE_KIND": ("TEXT", _one_of("checkpoint", "original")),
    "ROW": ("INTEGER", _between(1, (1 << 62) - 1)),
    "SIZE": ("INTEGER", _between(0, (1 << 63) - 1)),
    "FLAG": ("INTEGER", _between(0, 1)),
    "MOMENT": ("INTEGER", _between(*_MOMENTS)),
    "RECENT": ("INTEGER", _between(*_RECENT)),
}
"""What the words of ``TABLES`` stand for: a type, and what a value of it must be. A mere ``TEXT``
is any: mail and certificates decide on it, and on its characters."""


def _spelled_out(tables: str) -> str:
    """Tables in the words of SQLite."""

    def spell(found: re.Match[str]) -> str:
        name, form = found.groups()
        kind, condition = FORMS[form]
        return f'    {name} {kind} CONSTRAINT "{name}" CHECK ({condition(name)})'

    return re.sub(rf"^    (\w+) ({'|'.join(FORMS)})\b", spell, tables, flags=re.MULTILINE)


# --- the tables -----------------------------------------------------------------------------------

TABLES = _spelled_out("""
CREATE TABLE job (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE phase (
    name TEXT PRIMARY KEY,
    state PHASE_STATE NOT NULL,
    options TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE message (
    message ROW PRIMARY KEY,
    identity IDENTITY NOT NULL,
    original_identity IDENTITY NOT NULL,
    plaintext_identity IDENTITY_OR_NONE NOT NULL,
    stored_copy STORED_COPY NOT NULL,
    further FLAG NOT NULL,
    state STATE NOT NULL,
    reason TEXT NOT NULL,
    proof PROOF NOT NULL,
    purged FLAG NOT NULL,
    folder TEXT NOT NULL,
    key TEXT NOT NULL,
    hint TEXT NOT NULL,
    size SIZE NOT NULL,
    internal_date MOMENT,
    year YEAR NOT NULL,
    message_id TEXT NOT NULL,
    tried_with TRIED NOT NULL,
    presence PRESENCE NOT NULL,
    replaced INTEGER AS (stored_copy IN ('plaintext', 'encrypted')),
    in_clear INTEGER AS (stored_copy = 'plaintext' OR (stored_copy = 'found' AND further))
) STRICT;
CREATE UNIQUE INDEX message_by_place ON message (folder, key) WHERE presence = 'present';
CREATE INDEX message_by_last_place ON message (folder, key);
CREATE INDEX message_by_identity ON message (identity);
CREATE INDEX message_by_key ON message (identity, key);
CREATE INDEX message_by_folder ON message (identity, folder);
CREATE INDEX message_by_original_identity ON message (original_identity);
CREATE INDEX message_by_plaintext_identity ON message (plaintext_identity);
CREATE INDEX message_by_state ON message (state);

CREATE VIEW counted AS
    SELECT *,
        CASE WHEN presence IN ('lost', 'changed') THEN presence ELSE state END AS word,
        CASE presence
            WHEN 'lost' THEN 'it is not in the mailbox'
            WHEN 'changed' THEN 'its content was changed by someone else'
            ELSE reason
        END AS told
    FROM message WHERE presence <> 'gone';

CREATE TABLE part (
    message ROW NOT NULL REFERENCES message ON DELETE CASCADE,
    path PART NOT NULL,
    content_digest DIGEST NOT NULL,
    content_encryption_algorithm TEXT NOT NULL,
    integrity INTEGRITY_OR_NONE NOT NULL,
    signer DIGEST_OR_NONE NOT NULL,
    voids_signature FLAG NOT NULL,
    opens_to DIGEST_OR_NONE NOT NULL,
    placement PLACEMENT NOT NULL,
    PRIMARY KEY (message, path)
) STRICT, WITHOUT ROWID;
CREATE INDEX part_by_content_digest ON part (content_digest);

CREATE TABLE recipient (
    recipient ROW PRIMARY KEY,
    issuer TEXT NOT NULL,
    serial_number TEXT NOT NULL,
    subject_key_identifier TEXT NOT NULL,
    in_history FLAG NOT NULL,
    UNIQUE (issuer, serial_number, subject_key_identifier)
) STRICT;

CREATE TABLE message_recipient (
    message ROW NOT NULL REFERENCES message ON DELETE CASCADE,
    recipient ROW NOT NULL REFERENCES recipient,
    PRIMARY KEY (message, recipient)
) STRICT, WITHOUT ROWID;

CREATE TABLE layer (
    message ROW NOT NULL REFERENCES message ON DELETE CASCADE,
    part POSITION NOT NULL,
    path TEXT NOT NULL,
    content_digest DIGEST_OR_NONE NOT NULL,
    reason TEXT NOT NULL,
    hides_recipients FLAG NOT NULL,
    PRIMARY KEY (message, part, path)
) STRICT, WITHOUT ROWID;
CREATE INDEX layer_by_content_digest ON layer (content_digest);

CREATE TABLE layer_recipient (
    message ROW NOT NULL,
    part POSITION NOT NULL,
    path TEXT NOT NULL,
    recipient ROW NOT NULL REFERENCES recipient,
    PRIMARY KEY (message, part, path, recipient),
    FOREIGN KEY (message, part, path) REFERENCES layer ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE VIEW held AS
    SELECT message, content_digest, 0 AS is_kept FROM part
    UNION SELECT message, content_digest, reason <> '' FROM layer WHERE content_digest <> '';

CREATE TABLE checkpoint (
    content_digest DIGEST PRIMARY KEY,
    inner_sha256 DIGEST NOT NULL,
    inner_size SIZE NOT NULL,
    content_type OBJECT_IDENTIFIER NOT NULL,
    integrity INTEGRITY NOT NULL,
    storage STORAGE NOT NULL,
    written RECENT NOT NULL,
    header_sha256 DIGEST
) STRICT, WITHOUT ROWID;

CREATE TABLE original (
    message ROW PRIMARY KEY REFERENCES message,
    digest DIGEST NOT NULL
) STRICT;
CREATE INDEX original_by_digest ON original (digest);

CREATE TABLE replacement (
    message ROW PRIMARY KEY REFERENCES message,
    purpose PURPOSE NOT NULL,
    step REPLACEMENT_STEP NOT NULL,
    old_folder TEXT NOT NULL,
    old_key TEXT NOT NULL,
    old_revision TEXT NOT NULL,
    intended_folder TEXT NOT NULL,
    intended_where TEXT NOT NULL,
    new_folder TEXT,
    new_key TEXT,
    new_digest DIGEST NOT NULL,
    new_size SIZE NOT NULL,
    new_identity IDENTITY NOT NULL,
    flags TEXT NOT NULL,
    told TEXT,
    store TEXT NOT NULL,
    CHECK ((new_folder IS NULL) = (new_key IS NULL))
) STRICT;
CREATE INDEX replacement_by_identity ON replacement (new_identity);

CREATE TABLE replacement_part (
    message ROW NOT NULL REFERENCES replacement ON DELETE CASCADE,
    path PART NOT NULL,
    opens_to DIGEST NOT NULL,
    PRIMARY KEY (message, path)
) STRICT, WITHOUT ROWID;

CREATE TABLE abandoned (
    abandoned ROW PRIMARY KEY,
    message ROW NOT NULL REFERENCES message ON DELETE CASCADE,
    purpose PURPOSE NOT NULL,
    is_superseded FLAG NOT NULL,
    old_folder TEXT NOT NULL,
    old_key TEXT NOT NULL,
    old_revision TEXT NOT NULL,
    intended_folder TEXT NOT NULL,
    intended_where TEXT NOT NULL,
    new_folder TEXT,
    new_key TEXT,
    new_digest DIGEST NOT NULL,
    new_size SIZE NOT NULL,
    new_identity IDENTITY NOT NULL,
    flags TEXT NOT NULL,
    told TEXT,
    store TEXT NOT NULL,
    CHECK ((new_folder IS NULL) = (new_key IS NULL))
) STRICT;

CREATE TABLE abandoned_part (
    abandoned ROW NOT NULL REFERENCES abandoned ON DELETE CASCADE,
    path PART NOT NULL,
    opens_to DIGEST NOT NULL,
    PRIMARY KEY (abandoned, path)
) STRICT, WITHOUT ROWID;

CREATE TABLE purging (
    message ROW PRIMARY KEY REFERENCES message
) STRICT;

CREATE TABLE restarted (
    message ROW PRIMARY KEY REFERENCES message
) STRICT;

CREATE TABLE tombstone (
    kind FILE_KIND NOT NULL,
    digest DIGEST NOT NULL,
    step REMOVAL_STEP NOT NULL,
    PRIMARY KEY (kind, digest)
) STRICT, WITHOUT ROWID;

CREATE TABLE acknowledgement (
    identity NAMED_IDENTITY NOT NULL,
    state STATE_OR_NONE NOT NULL,
    PRIMARY KEY (identity, state)
) STRICT, WITHOUT ROWID;

CREATE TABLE reader (
    content_digest DIGEST NOT NULL,
    address DIGEST NOT NULL,
    PRIMARY KEY (content_digest, address)
) STRICT, WITHOUT ROWID;

CREATE TABLE binding (
    issuer TEXT NOT NULL,
    serial_number TEXT NOT NULL,
    subject_key_identifier TEXT NOT NULL,
    public_key DIGEST NOT NULL,
    at RECENT NOT NULL,
    PRIMARY KEY (issuer, serial_number, subject_key_identifier, public_key)
) STRICT, WITHOUT ROWID;

CREATE TABLE give_up (
    identity NAMED_IDENTITY NOT NULL,
    public_key DIGEST NOT NULL,
    reason TEXT NOT NULL,
    by_whom TEXT NOT NULL,
    at RECENT NOT NULL,
    PRIMARY KEY (identity, public_key)
) STRICT, WITHOUT ROWID;

CREATE TABLE step (
    step ROW PRIMARY KEY,
    at RECENT NOT NULL,
    message ROW NOT NULL,
    name TEXT NOT NULL
) STRICT;
""")


@dataclass(frozen=True, slots=True)
class Schema:
    """The tables of one version of the job log, and what came before them."""

    version: int
    """``PRAGMA user_version``; a newer one is refused, an older one migrated or refused."""
    tables: str
    older: Mapping[int, str] = field(default_factory=dict)
    """Digests of the schemas that are migrated, as ``schema_digest`` names them, by version."""
    defaults: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """SQL for what a row of an older log has in a column that it lacks, by table and column."""


SCHEMA = Schema(4, TABLES)

MIGRATED_VERSIONS = tuple(SCHEMA.older)
"""Versions of which a copy may lie beside the log."""
