"""The tables of the job log and the steps that are legal in it.

A message row is one message of the mailbox, found again after a move by its
identity. A replacement row stands while a message has, or may have, two
copies in the mailbox; its step says which act comes next.
"""

from __future__ import annotations

import hashlib

from sectool.outcome import State

APPLICATION_ID = 0x5EC70001
"""Marks the SQLite file as a job log (``PRAGMA application_id``)."""

SCHEMA_VERSION = 3
"""``PRAGMA user_version``; a newer one is refused, an older one is migrated."""

OLDER_SCHEMAS = {
    1: "c228066acff84e7e74231eaa4cbb4af87c13d684bd55b63fc714b4df0c6f89fd",
    2: "28bc9d8851db6576257295cae8a4f9bf03f796345fbfe113b29df7a1a8f539da",
}
"""Digests of the schemas that older versions had, as ``schema_digest`` names them."""

TABLES = """
CREATE TABLE job (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE phase (
    name TEXT PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN ('begun', 'finished')),
    options TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE message (
    message INTEGER PRIMARY KEY,
    identity TEXT NOT NULL,
    original_identity TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    proof TEXT NOT NULL,
    folder TEXT NOT NULL,
    key TEXT NOT NULL,
    hint TEXT NOT NULL,
    size INTEGER NOT NULL,
    year TEXT NOT NULL,
    internal_date TEXT NOT NULL,
    message_id TEXT NOT NULL,
    tried_with TEXT NOT NULL,
    presence TEXT NOT NULL
        CHECK (presence IN ('present', 'changed', 'gone', 'lost'))
) STRICT;
CREATE UNIQUE INDEX message_by_place ON message (folder, key) WHERE presence = 'present';
CREATE INDEX message_by_last_place ON message (folder, key);
CREATE INDEX message_by_identity ON message (identity);
CREATE INDEX message_by_key ON message (identity, key);
CREATE INDEX message_by_folder ON message (identity, folder);
CREATE INDEX message_by_original_identity ON message (original_identity);
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
    message INTEGER NOT NULL REFERENCES message ON DELETE CASCADE,
    path TEXT NOT NULL,
    content_digest TEXT NOT NULL,
    content_encryption_algorithm TEXT NOT NULL,
    integrity TEXT NOT NULL,
    signer TEXT NOT NULL,
    voids_signature INTEGER NOT NULL CHECK (voids_signature IN (0, 1)),
    opens_to TEXT NOT NULL,
    placement TEXT NOT NULL,
    PRIMARY KEY (message, path)
) STRICT, WITHOUT ROWID;
CREATE INDEX part_by_content_digest ON part (content_digest);

CREATE TABLE recipient (
    recipient INTEGER PRIMARY KEY,
    issuer TEXT NOT NULL,
    serial_number TEXT NOT NULL,
    subject_key_identifier TEXT NOT NULL,
    in_history INTEGER NOT NULL CHECK (in_history IN (0, 1)),
    UNIQUE (issuer, serial_number, subject_key_identifier)
) STRICT;

CREATE TABLE message_recipient (
    message INTEGER NOT NULL REFERENCES message ON DELETE CASCADE,
    recipient INTEGER NOT NULL REFERENCES recipient,
    PRIMARY KEY (message, recipient)
) STRICT, WITHOUT ROWID;

CREATE TABLE layer (
    message INTEGER NOT NULL REFERENCES message ON DELETE CASCADE,
    part TEXT NOT NULL,
    path TEXT NOT NULL,
    content_digest TEXT NOT NULL,
    reason TEXT NOT NULL,
    hides_recipients INTEGER NOT NULL CHECK (hides_recipients IN (0, 1)),
    PRIMARY KEY (message, part, path)
) STRICT, WITHOUT ROWID;
CREATE INDEX layer_by_content_digest ON layer (content_digest);

CREATE TABLE layer_recipient (
    message INTEGER NOT NULL,
    part TEXT NOT NULL,
    path TEXT NOT NULL,
    recipient INTEGER NOT NULL REFERENCES recipient,
    PRIMARY KEY (message, part, path, recipient),
    FOREIGN KEY (message, part, path) REFERENCES layer ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE VIEW held AS
    SELECT message, content_digest, 0 AS is_kept FROM part
    UNION SELECT message, content_digest, reason <> '' FROM layer WHERE content_digest <> '';

CREATE TABLE checkpoint (
    content_digest TEXT PRIMARY KEY,
    inner_sha256 TEXT NOT NULL,
    inner_size INTEGER NOT NULL,
    content_type TEXT NOT NULL,
    integrity TEXT NOT NULL,
    storage TEXT NOT NULL CHECK (storage IN ('plain', 'sealed', 'none')),
    written TEXT NOT NULL,
    header_sha256 TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE original (
    message INTEGER PRIMARY KEY REFERENCES message,
    digest TEXT NOT NULL,
    size INTEGER NOT NULL,
    folder TEXT NOT NULL,
    internal_date TEXT NOT NULL
) STRICT;
CREATE INDEX original_by_digest ON original (digest);

CREATE TABLE replacement (
    message INTEGER PRIMARY KEY REFERENCES message,
    purpose TEXT NOT NULL
        CHECK (purpose IN ('encrypt', 'rewrap', 'rollback', 'decrypt', 'restore')),
    step TEXT NOT NULL CHECK (step IN ('announced', 'placed')),
    old_folder TEXT NOT NULL,
    old_key TEXT NOT NULL,
    old_revision TEXT NOT NULL,
    intended_folder TEXT NOT NULL,
    intended_where TEXT NOT NULL,
    new_folder TEXT,
    new_key TEXT,
    new_digest TEXT NOT NULL,
    new_size INTEGER NOT NULL,
    new_identity TEXT NOT NULL,
    new_opens_to TEXT NOT NULL
) STRICT;
CREATE INDEX replacement_by_identity ON replacement (new_identity);

CREATE TABLE abandoned (
    abandoned INTEGER PRIMARY KEY,
    message INTEGER NOT NULL REFERENCES message ON DELETE CASCADE,
    purpose TEXT NOT NULL
        CHECK (purpose IN ('encrypt', 'rewrap', 'rollback', 'decrypt', 'restore')),
    is_superseded INTEGER NOT NULL CHECK (is_superseded IN (0, 1)),
    old_folder TEXT NOT NULL,
    old_key TEXT NOT NULL,
    old_revision TEXT NOT NULL,
    intended_folder TEXT NOT NULL,
    intended_where TEXT NOT NULL,
    new_folder TEXT,
    new_key TEXT,
    new_digest TEXT NOT NULL,
    new_size INTEGER NOT NULL,
    new_identity TEXT NOT NULL,
    new_opens_to TEXT NOT NULL
) STRICT;

CREATE TABLE purging (
    message INTEGER PRIMARY KEY REFERENCES message
) STRICT;

CREATE TABLE restarted (
    message INTEGER PRIMARY KEY REFERENCES message
) STRICT;

CREATE TABLE tombstone (
    kind TEXT NOT NULL CHECK (kind IN ('checkpoint', 'original')),
    digest TEXT NOT NULL,
    step TEXT NOT NULL CHECK (step IN ('intended', 'removed')),
    PRIMARY KEY (kind, digest)
) STRICT, WITHOUT ROWID;

CREATE TABLE migration (
    to_version INTEGER PRIMARY KEY,
    from_version INTEGER NOT NULL,
    at TEXT NOT NULL
) STRICT;

CREATE TABLE acknowledgement (
    identity TEXT NOT NULL,
    state TEXT NOT NULL,
    PRIMARY KEY (identity, state)
) STRICT, WITHOUT ROWID;

CREATE TABLE reader (
    content_digest TEXT NOT NULL,
    address TEXT NOT NULL,
    PRIMARY KEY (content_digest, address)
) STRICT, WITHOUT ROWID;

CREATE TABLE binding (
    issuer TEXT NOT NULL,
    serial_number TEXT NOT NULL,
    subject_key_identifier TEXT NOT NULL,
    public_key TEXT NOT NULL,
    at TEXT NOT NULL,
    PRIMARY KEY (issuer, serial_number, subject_key_identifier, public_key)
) STRICT, WITHOUT ROWID;

CREATE TABLE give_up (
    identity TEXT NOT NULL,
    public_key TEXT NOT NULL,
    reason TEXT NOT NULL,
    by_whom TEXT NOT NULL,
    at TEXT NOT NULL,
    PRIMARY KEY (identity, public_key)
) STRICT, WITHOUT ROWID;

CREATE TABLE step (
    step INTEGER PRIMARY KEY,
    at TEXT NOT NULL,
    message INTEGER NOT NULL,
    name TEXT NOT NULL
) STRICT;
"""

SCHEMA_DIGEST_NAME = "schema"
"""Row of ``job`` that holds the digest of the schema the file was made with."""


def schema_digest(definitions: list[str]) -> str:
    """Names a schema by its ``sqlite_schema`` texts; a trigger or view added later shows."""
    return hashlib.sha256("\n".join(sorted(definitions)).encode()).hexdigest()


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

_UNDOING = frozenset({State.ROLLED_BACK, State.CHANGED, State.PURGED})
"""Where undoing or purging a replacement may lead."""

_ANEW = frozenset({State.CHECKPOINTED, State.READABLE, State.DECRYPTED, State.FAILED, State.CLEAR})
"""Where an encryption may have to begin once more."""

LEGAL_STEPS: dict[State | None, frozenset[State]] = {
    # Decrypted: a further copy of a plaintext that lies in the mailbox.
    None: _EXAMINED | _FOUND_LATER | {State.DECRYPTED},
    **dict.fromkeys(
        _EXAMINED - {State.CHECKPOINTED, State.READABLE},
        _EXAMINED,
    ),
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
            State.PURGED,
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
    # What was given up before it was replaced can be decrypted once more.
    State.PURGED: _EXAMINED | {State.PURGED, State.FAILED},
}
"""For each state of a message the states one step may lead to; None: no row yet."""
